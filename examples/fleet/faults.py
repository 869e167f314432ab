"""What goes wrong with devices, on purpose: these are simulations of failures, written into a device's folder.

A device that ``drops-out`` never answers; one that ``comes-back`` does not answer its first call; one that ``is-late``
makes its releases in time and sends them a call later; one that ``repeats`` sends them with every call.  The others
send rubbish under their own name.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from flwr.app import Array
from numpy.typing import NDArray

DROPS_OUT, COMES_BACK, IS_LATE, REPEATS = "drops-out", "comes-back", "is-late", "repeats"

Releases = NDArray[np.uint8]

MOST_SENT = 64 * 1024 * 1024
"""Bytes that a server takes from one device."""

RUBBISH: dict[str, Callable[[Releases], Array]] = {
    "sends-another-shape": lambda releases: Array(releases[:, :-1]),
    "sends-another-dtype": lambda releases: Array(releases.astype(np.float32)),
    "sends-no-numbers": lambda releases: Array(np.full(releases.shape, np.nan)),
    "sends-too-much": lambda releases: Array(np.repeat(releases, 1 + MOST_SENT // releases.nbytes, axis=0)),
    "sends-what-is-no-array": lambda releases: Array("uint8", releases.shape, "numpy.ndarray", b"\x93NUMPY rubbish"),
    "sends-half": lambda releases: cut(Array(releases)),
}
FAULTS = (DROPS_OUT, COMES_BACK, IS_LATE, REPEATS, *RUBBISH)


def cut(array: Array) -> Array:
    """The same with half of its bytes."""
    return Array(array.dtype, array.shape, array.stype, array.data[: len(array.data) // 2])


class DroppedOutError(Exception):
    """The device is off: Flower tells the server that it gave no answer."""
