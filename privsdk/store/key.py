"""The device key: 32 random bytes that make this device's random choices its own."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path

from privsdk.errors import StoreError
from privsdk.files import PART, read_regular
from privsdk.noise import KEY_BYTES
from privsdk.store.folder import data_folder, write_atomically, write_new
from privsdk.store.ledger import LEDGER_NAME

KEY_NAME = "device.key"
TRIES = 10
HOUR = 3600.0


def key_path(folder: Path | None = None) -> Path:
    """Where the key of this device is, or would be; ``folder`` as in :func:`privsdk.store.folder.data_folder`."""
    return data_folder(folder) / KEY_NAME


def device_key(folder: Path | None = None) -> bytes:
    """The key of this device, made at the first call: 32 bytes in a file that its owner alone can read.

    ``folder`` as in :func:`privsdk.store.folder.data_folder`.  Of two processes that make it at once one
    wins, and both get that one's.  Raises StoreError where the file is damaged, cannot be read or made, can be read by
    others, or is gone though something was released with it.
    """
    path = key_path(folder)
    try:
        _clear_copies(path.parent)
        if not path.exists():
            if (path.parent / LEDGER_NAME).exists():
                raise StoreError(
                    f"the device key {path} is gone, and what was released with it would get other noise now: put back "
                    "a copy of it, or make a new one (privsdk key rotate)"
                )
            with suppress(FileExistsError):  # whoever comes second takes the first's key
                write_new(path, secrets.token_bytes(KEY_BYTES), mode=0o600)
        for _ in range(TRIES):
            key = read_regular(path, 2 * KEY_BYTES)
            if key:
                break
            time.sleep(0.05)  # where there are no links, another process may be about to write it
        if os.name == "posix" and stat.S_IMODE(os.stat(path).st_mode) & 0o077:
            raise StoreError(
                f"the device key {path} can be read by others: take their permissions away (chmod 600), and make a "
                "new one (privsdk key rotate) if somebody may have read it"
            )
    except OSError as error:
        raise StoreError(
            f"the device key {path} cannot be read or made ({error.strerror}): mend its permissions, or set "
            "PRIVSDK_HOME to another folder"
        ) from error
    if len(key) != KEY_BYTES:
        raise StoreError(
            f"the device key {path} is damaged (it must have {KEY_BYTES} bytes): put back a copy of it, or make a new "
            "one (privsdk key rotate); what is released again then differs from the earlier release"
        )
    return key


def key_fingerprint(key: bytes) -> str:
    """16 hexadecimal digits by which its owner tells one key from another; they say nothing of the key."""
    return hmac.digest(key, b"fingerprint", hashlib.sha256)[:8].hex()


def rotate_key(folder: Path | None = None) -> str:
    """Put a new key in place of the device's, or of one that is gone or damaged; gives its fingerprint.

    Raises StoreError where it cannot be written.  The ledger knows nothing of earlier releases any more: a photo that
    is released again gets other noise, and what the two have in common can be told from both.
    """
    path = key_path(folder)
    key = secrets.token_bytes(KEY_BYTES)
    try:
        write_atomically(path, key, mode=0o600)
    except OSError as error:
        raise StoreError(
            f"the device key {path} cannot be written ({error.strerror}), and may be the old one or the new one now: "
            "mend its disk or its permissions, and rotate it again"
        ) from error
    return key_fingerprint(key)


def _clear_copies(folder: Path) -> None:
    """Remove what processes that were killed have left of a key; what is young may be another's, about to be named."""
    with suppress(OSError):
        for path in folder.iterdir():
            if PART.fullmatch(path.name):
                status = path.lstat()
                if status.st_size <= KEY_BYTES and time.time() - status.st_mtime > HOUR:
                    path.unlink()
