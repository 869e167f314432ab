"""What a release should not exceed: leakage that the utility labels carry by themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from privsdk.audit.metrics import leakage


def label_ceiling(private: NDArray, utility: NDArray, weights: NDArray | None = None) -> NDArray[np.float64]:
    """Leakage of the true utility labels: what a release with perfect utility cannot go below.

    ``private`` is a class ``[N]``, of more than two that which is told best; ``utility`` ``[N]`` or ``[N, K]`` for
    several labels.  The best that labels can do is P(private = 1 | their combination), so that is what is scored.  For
    two binary labels it is .5 + |P(u | p = 1) - P(u | p = 0)| / 2.  ``weights`` as in ``privsdk.audit.metrics``: float
    ``[D, N]`` gives the ceiling in each of D resamplings.
    """
    columns = np.asarray(utility).reshape(len(private), -1)
    combination = np.unique(columns, axis=0, return_inverse=True)[1].reshape(-1)
    classes = np.unique(private)
    told = []
    for one in classes[1:] if len(classes) == 2 else classes:
        share = np.bincount(combination, weights=private == one) / np.bincount(combination)
        told.append(leakage(private == one, share[combination], weights))
    return np.max(told, axis=0)


def zero_leakage_accuracy(private: NDArray, utility: NDArray) -> float:
    """The largest accuracy for a utility label that a decision of the same rate in every private class can have.

    ``private`` is a class ``[N]``, ``utility`` 0/1 ``[N]``.  With q_p = P(u = 1 | p), a decision of rate r errs in
    class p at least |q_p - r| of the time, which r = the weighted median of q makes least:
    1 - sum_p P(p) |q_p - r|.  For two classes that is Zhao and Gordon's bound (2019), err_0 + err_1 >= |q_0 - q_1|,
    with the whole error in the smaller class.
    """
    _, classes, counts = np.unique(private, return_inverse=True, return_counts=True)
    rates = np.bincount(classes, weights=np.asarray(utility) == 1) / counts
    shares = counts / counts.sum()
    order = np.argsort(rates)
    median = rates[order][np.searchsorted(np.cumsum(shares[order]), 0.5)]
    return float(1 - shares @ np.abs(rates - median))


def score_ceiling(private: NDArray, utility_score: NDArray) -> float:
    """Leakage of the unfiltered utility score s_u (float ``[N]``), read as it is."""
    return float(leakage(np.asarray(private), np.asarray(utility_score)))
