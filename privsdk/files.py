"""Reading a file that somebody named: a regular one, and no larger than it may be."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_regular(path: str | Path, limit: int) -> bytes:
    """The bytes of a regular file with at most ``limit`` of them.

    Raises OSError, whose ``strerror`` says why, also where the name cannot be one, for what would never end (a pipe, a
    device) and for more bytes than that.
    """
    try:
        # Looked at before opening: opening a pipe waits for whoever writes into it.
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except ValueError as error:
        raise OSError(errno.EINVAL, "no file can have this name") from error
    if not regular:
        raise OSError(errno.EINVAL, "it is no regular file")
    with open(path, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes")
    return content
