"""What a long measurement has finished, so that it goes on after it was killed."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from privsdk.arrays import Arrays, pack, unpack
from privsdk.errors import StoreError
from privsdk.store.folder import data_folder, write_atomically
from privsdk.store.key import device_key
from privsdk.store.sealed import seal, unseal


class Unfinished:
    """Named results of one measurement, in a folder of the user's data folder that is gone when it is done.

    They are sealed under the device key, and their names are keyed: a measurement knows private labels.
    """

    def __init__(self, measurement: str, folder: Path | None = None) -> None:
        """``measurement`` tells one from another; ``folder`` as in :func:`privsdk.store.folder.data_folder`.

        Raises StoreError where it cannot be used.
        """
        self._key = device_key(folder)
        self._folder = data_folder(folder) / "unfinished" / self._keyed(measurement)

    def get(self, name: str) -> tuple[Arrays, dict[str, Any]] | None:
        """Arrays and notes as they were put; None where there are none, or damaged ones, which are measured again."""
        try:
            path = self._path(name)
            return unpack(unseal(self._key, path.name, path.read_bytes()))
        except (OSError, ValueError):
            return None

    def put(self, name: str, arrays: Mapping[str, NDArray[Any]], notes: Mapping[str, Any]) -> None:
        """Keep arrays and notes (JSON), whole or not at all; raises StoreError."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._path(name)
            write_atomically(path, seal(self._key, path.name, pack(arrays, notes)), mode=0o600)
        except OSError as error:
            raise StoreError(
                f"what is finished cannot be kept in {self._folder} ({error.strerror}): make room there, or set "
                "PRIVSDK_HOME to another folder"
            ) from error

    def clear(self) -> None:
        """Take the folder away: the measurement is done."""
        with suppress(OSError):  # what is left is taken up again, or is in nobody's way
            for path in self._folder.iterdir():
                path.unlink()
            self._folder.rmdir()

    def _path(self, name: str) -> Path:
        return self._folder / f"{self._keyed(name)}.sealed"

    def _keyed(self, name: str) -> str:
        return hmac.digest(self._key, f"unfinished {name}".encode(), hashlib.sha256).hex()[:32]
