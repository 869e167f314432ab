"""Products of rows with a matrix that do not depend on what else is in the batch.

A product of two matrices is computed in blocks, and which block a row falls into changes its last bits: the same photo,
released alone and in a folder, would differ by a grey level here and there.  A product for each row takes two to three
times as long, and is the same whatever stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

_in_blocks = ContextVar("_in_blocks", default=False)


def times(rows: NDArray[Any], matrix: NDArray[Any]) -> NDArray[Any]:
    """``rows`` [N, D] times ``matrix`` [D, M], each row alone and however both lie in memory: [N, M]."""
    if _in_blocks.get():
        together: NDArray[Any] = rows @ matrix
        return together
    product: NDArray[Any] = np.matmul(np.ascontiguousarray(rows)[:, None, :], np.ascontiguousarray(matrix))[:, 0]
    return product


def slices(count: int, most: int) -> Iterator[slice]:
    """Of ``count`` rows at most so many at a time; of none an empty slice."""
    for start in range(0, max(count, 1), most):
        yield slice(start, start + most)


@contextmanager
def in_blocks() -> Iterator[None]:
    """Within it products are the ordinary ones: for a fit, whose batches are the same each time, and no release."""
    before = _in_blocks.set(True)
    try:
        yield
    finally:
        _in_blocks.reset(before)
