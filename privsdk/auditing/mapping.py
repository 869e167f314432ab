"""Latents in the plane."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def mapped(groups: Sequence[NDArray], seed: int) -> list[NDArray[np.float32]]:
    """UMAP (McInnes, Healy, Melville 2018) of several groups of vectors [N, Z], fitted to all: float32 [N, 2] of each.

    The axes mean nothing; whoever lies near is alike.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own threads, and of what it calls
        from umap import UMAP

        together = np.concatenate(groups).astype(np.float32)
        places = UMAP(random_state=seed, n_jobs=1).fit_transform(together)
    return np.split(places.astype(np.float32), np.cumsum([len(group) for group in groups])[:-1])
