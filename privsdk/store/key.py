"""The device key: 32 random bytes that make this device's random choices its own."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from pathlib import Path

from privsdk.errors import StoreError
from privsdk.files import read_regular
from privsdk.noise import KEY_BYTES
from privsdk.store.folder import data_folder, write_new

KEY_NAME = "device.key"
TRIES = 10


def device_key(folder: Path | None = None) -> bytes:
    """The key of this device, made at the first call: 32 bytes in a file that its owner alone can read.

    ``folder`` as in :func:`privsdk.store.folder.data_folder`.  Of two processes that make it at once one
    wins, and both get that one's.  Raises StoreError where the file is damaged or cannot be read or made.
    """
    path = data_folder(folder) / KEY_NAME
    try:
        if not path.exists():
            with suppress(FileExistsError):  # whoever comes second takes the first's key
                write_new(path, secrets.token_bytes(KEY_BYTES), mode=0o600)
        for _ in range(TRIES):
            key = read_regular(path, 2 * KEY_BYTES)
            if key:
                break
            time.sleep(0.05)  # where there are no links, another process may be about to write it
    except OSError as error:
        raise StoreError(
            f"the device key {path} cannot be read or made ({error.strerror}): mend its permissions, or set "
            "PRIVSDK_HOME to another folder"
        ) from error
    if len(key) != KEY_BYTES:
        raise StoreError(
            f"the device key {path} is damaged (it must have {KEY_BYTES} bytes): put back a copy of it, or "
            "delete it and a new one is made; what is released again then differs from the earlier release"
        )
    return key
