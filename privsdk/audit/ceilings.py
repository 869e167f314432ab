"""What a release should not exceed: leakage that the utility labels carry by themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from privsdk.audit.metrics import leakage


def label_ceiling(private: NDArray, utility: NDArray) -> float:
    """Leakage of the true utility labels: what a release with perfect utility cannot go below.

    ``private`` is 0/1 ``[N]``; ``utility`` 0/1 ``[N]`` or ``[N, K]`` for several labels.  The best that
    labels can do is P(private = 1 | their combination), so that is what is scored.  For two binary labels it
    is .5 + |P(u | p = 1) - P(u | p = 0)| / 2.
    """
    columns = np.asarray(utility).reshape(len(private), -1)
    _, combination = np.unique(columns, axis=0, return_inverse=True)
    combination = combination.reshape(-1)
    positives = np.bincount(combination, weights=np.asarray(private) == 1)
    share = positives / np.bincount(combination)
    return float(leakage(np.asarray(private), share[combination]))


def score_ceiling(private: NDArray, utility_score: NDArray) -> float:
    """Leakage of the unfiltered utility score s_u (float ``[N]``), read as it is."""
    return float(leakage(np.asarray(private), np.asarray(utility_score)))
