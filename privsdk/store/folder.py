"""The user's data folder, and writing into folders so that nothing half-done is ever seen."""

from __future__ import annotations

import errno
import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path

from privsdk.errors import StoreError
from privsdk.files import PART

CANNOT_SYNC = {
    *(errno.EACCES, errno.EPERM, errno.EISDIR, errno.EBADF, errno.EINVAL),
    *(errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP),
}
"""What a system says that lets no folder be opened (Windows), or none be synced (some network disks and phones)."""


def data_folder(folder: Path | None = None) -> Path:
    """The folder for what stays on this device; created, readable by its owner alone, where it does not
    exist.

    ``folder`` where it is given; else PRIVSDK_HOME; else ``privsdk`` in XDG_DATA_HOME or in the platform's
    folder for application data.  Raises StoreError where there can be none.
    """
    chosen = folder if folder is not None else _usual_folder()
    try:
        chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the data folder {chosen} cannot be made ({error.strerror}): "
            "set PRIVSDK_HOME to a folder that can be written"
        ) from error
    return chosen


def private_file(path: Path) -> None:
    """Make an empty file that its owner alone can read, where there is none; raises OSError."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def write_atomically(path: Path, data: bytes, mode: int = 0o666, modified: int | None = None) -> None:
    """Write ``data`` to ``path``: whoever looks sees the whole file or what was there before.

    The bytes are on the disk before the name is; the temporary file beside it is hidden and removed on
    failure. ``modified`` is the time of its modification that the file is to tell, in seconds since 1970, now without
    it.  Raises OSError; if the disk took the file but not its name, whoever looks may see the new file already.
    """
    temporary = write_beside(path, data, mode, modified)
    try:
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_new(path: Path, data: bytes, mode: int = 0o666, modified: int | None = None) -> None:
    """Write ``data`` to ``path`` as :func:`write_atomically` does, but never over what is there.

    Where the file system has no links, the file may be seen empty before it is whole.  Raises FileExistsError where
    something is, and OSError as :func:`write_atomically` does.
    """
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    temporary = write_beside(path, data, mode, modified)
    try:
        # A link, unlike a rename, fails where the name is taken meanwhile.
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # File systems without links (exFAT, some phones' storage): the name is taken first, for a moment by an empty
        # file.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        try:
            os.replace(temporary, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_beside(path: Path, data: bytes, mode: int = 0o666, modified: int | None = None) -> Path:
    """Write ``data`` to a new hidden file in the folder of ``path``, down to the disk, and return where.

    Raises OSError, also where no file can have this name; nothing is left then.
    """
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "no file can have this name")
    temporary = path.parent / f".{secrets.token_hex(8)}.part"  # files.PART
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if modified is not None:
                os.utime(temporary, (modified, modified))
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def clear_parts(folder: Path) -> None:
    """Remove what processes that were killed have left half-written in ``folder``; raises OSError."""
    for path in folder.iterdir():
        if PART.fullmatch(path.name):
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Bring the names in ``folder`` down to the disk, where the system can.  Raises OSError where the disk fails."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise


def _usual_folder() -> Path:
    if home := os.environ.get("PRIVSDK_HOME"):
        return Path(home)
    if data := os.environ.get("XDG_DATA_HOME"):
        return Path(data) / "privsdk"
    try:
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "privsdk"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Application Support" / "privsdk"
        return Path.home() / ".local" / "share" / "privsdk"
    except RuntimeError as error:
        raise StoreError("this user has no home folder: set PRIVSDK_HOME to a folder for privsdk's data") from error
