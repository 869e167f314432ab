"""Files and folders that somebody named: read whole, or looked at before they are written."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

PART = re.compile(r"\.[0-9a-f]{16}\.part")
"""The name of a file that is being written, or was when its process was stopped."""


class NotRegularError(OSError):
    """What was named is a folder, or a pipe, socket or device, which might never end."""


def read_regular(path: str | Path, limit: int) -> bytes:
    """The bytes of a regular file with at most ``limit`` of them.

    Raises OSError, whose ``strerror`` says why, also where no file can have this name and for more bytes than that;
    NotRegularError for what is no regular file.
    """
    try:
        # Looked at before opening: opening a pipe or a device waits, or does something.
        _check(os.stat(path), limit)
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:
        raise OSError(errno.EINVAL, "no file can have this name") from error
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)  # what was opened may be another by now
        _check(status, limit)
        return file.read(status.st_size)


def _check(status: os.stat_result, limit: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise NotRegularError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularError(errno.EINVAL, "it is no regular file")
    if status.st_size > limit:
        raise OSError(errno.EFBIG, f"it has {status.st_size} bytes, more than {limit}")


def why_not_writable(folder: Path) -> str | None:
    """Why nothing can be written into ``folder``, which need not be there yet; None where it can."""
    if "\0" in str(folder):
        return "no folder can have this name"
    there = next((place for place in (folder, *Path(os.path.abspath(folder)).parents) if os.path.lexists(place)), None)
    if there is None:
        return "nothing of its path is there"
    if not os.path.isdir(there):
        return f"{there} is no folder"
    return None if os.access(there, os.W_OK | os.X_OK) else f"{there} is closed"
