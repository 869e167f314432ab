"""Privatizers that were fitted on this device before, so that the same wish is not fitted twice."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from privsdk.errors import StoreError
from privsdk.store.folder import data_folder, write_atomically
from privsdk.store.key import device_key
from privsdk.store.sealed import seal, unseal


class Cache:
    """Files of fitted privatizers in the user's data folder.

    A file is named by a hash under the device key of everything that the fit depends on, and sealed under that key: who
    takes it alone can tell the wish neither from its name, by trying all of them, nor from what is in it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """``folder`` as in :func:`privsdk.store.folder.data_folder`; raises StoreError where it cannot be
        used.
        """
        self._folder = data_folder(folder) / "privatizers"
        self._key = device_key(folder)

    def path(self, bundle_digest: str, wish: Mapping[str, Any]) -> Path:
        """Where the privatizer for ``wish`` (JSON: labels, settings, versions) on that bundle is, or would
        be.
        """
        content = json.dumps(["privatizer", bundle_digest, wish], sort_keys=True).encode()
        return self._folder / f"{hmac.digest(self._key, content, hashlib.sha256).hex()}.privatizer"

    def get(self, bundle_digest: str, wish: Mapping[str, Any]) -> bytes | None:
        """The bytes as they were put, or None where there are none that can be read."""
        path = self.path(bundle_digest, wish)
        try:
            return unseal(self._key, path.name, path.read_bytes())
        except (OSError, ValueError):
            return None

    def put(self, bundle_digest: str, wish: Mapping[str, Any], privatizer: bytes) -> None:
        """Keep the bytes of a fitted privatizer, in place of what was kept for that wish before."""
        path = self.path(bundle_digest, wish)
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_atomically(path, seal(self._key, path.name, privatizer), mode=0o600)
        except OSError as error:
            raise StoreError(
                f"the privatizer cannot be kept in {self._folder} ({error.strerror}): make room there, or "
                "set PRIVSDK_HOME to another folder"
            ) from error
