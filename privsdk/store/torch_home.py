"""Where torch puts what it makes on its own account."""

from __future__ import annotations

import os

from privsdk.store.folder import data_folder


def keep_torch_at_home() -> None:
    """To be called before torch trains.

    It makes a folder for compiled code, also where it compiles nothing: by default in the system's folder for temporary
    files, where others look, under the name of the user, for which it asks the system through a socket.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(data_folder() / "torch"))
