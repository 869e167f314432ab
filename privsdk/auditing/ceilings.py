"""What the labels alone say that a release can be: leakage below which, and accuracy above which, none goes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from privsdk.auditing.metrics import leakage
from privsdk.auditing.report import Frontier

STEPS = 11


def label_ceiling(private: NDArray, utility: NDArray, weights: NDArray | None = None) -> NDArray[np.float64]:
    """Leakage of the true utility labels: what a release with perfect utility cannot go below.

    ``private`` is a class ``[N]``, of more than two that which is told best; ``utility`` ``[N]`` or ``[N, K]`` for
    several labels.  The best that labels can do is P(private = 1 | their combination), so that is what is scored.  For
    two binary labels it is .5 + |P(u | p = 1) - P(u | p = 0)| / 2.  With ``weights``, float ``[D, N]`` as in
    ``privsdk.auditing.metrics``, it is that of the same scores, and of the same class, in each of D resamplings.
    """
    columns = np.asarray(utility).reshape(len(private), -1)
    combination = np.unique(columns, axis=0, return_inverse=True)[1].reshape(-1)

    def scored(one: object) -> tuple[NDArray, NDArray]:
        labels = private == one
        return labels, (np.bincount(combination, weights=labels) / np.bincount(combination))[combination]

    classes = np.unique(private)
    told = max(classes[1:] if len(classes) == 2 else classes, key=lambda one: float(leakage(*scored(one))))
    return leakage(*scored(told), weights)


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


def frontier(
    private: str, utility: str, hidden: NDArray, kept: NDArray, told: float, accuracy: float, steps: int = STEPS
) -> Frontier:
    """The best accuracy for each leakage by decisions on true labels, and how far from it somebody is.

    ``hidden`` is a class [N], ``kept`` 0/1 [N]; ``told`` and ``accuracy`` are what is leaked and kept.  A decision says
    1 in class p at the rate r_p, and errs |q_p - r_p| of the time there; drawing all rates q_p to their weighted median
    (:func:`zero_leakage_accuracy`) by a share w costs w of the whole way, and of two classes nothing is cheaper.
    """
    _, classes, counts = np.unique(hidden, return_inverse=True, return_counts=True)
    shares = counts / counts.sum()
    rates = np.bincount(classes, weights=np.asarray(kept) == 1) / counts
    order = np.argsort(rates)
    median = rates[order][np.searchsorted(np.cumsum(shares[order]), 0.5)]
    leaks, right = [], []
    for way in np.linspace(1, 0, steps):
        drawn = rates + way * (median - rates)
        # AUROC of a decision about one class against the rest.
        rest = (shares @ drawn - shares * drawn) / (1 - shares)
        leaks.append(0.5 + float(np.abs(drawn - rest).max()) / 2)
        right.append(1 - way * float(shares @ np.abs(rates - median)))
    least = float(np.interp(accuracy, right, leaks))
    most = float(np.interp(told, leaks, right))
    return Frontier(private, utility, tuple(leaks), tuple(right), told - least, most - accuracy)
