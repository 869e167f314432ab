"""Intervals that hold for many figures at once, so that the largest of them may be looked for.

Whoever reports the strongest of forty attackers reports luck as well.  Each figure here comes with its influence: what
each sample adds to its error.  One bootstrap, of people, then says how far the worst of all figures strays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]

DRAWS = 2000
CONFIDENCE = 0.95
CROSS_FITTED = 1.5
"""How many times as large the error of a cross-fitted figure may be as that of one on samples set apart.

Each fold is scored by what was learned from the others, so how two folds differ by chance counts twice: where there is
nothing to find, and a linear attacker finds the direction from one fold to the other by chance, the variance is twice
that of its test samples alone.  With a share r of truth in that direction it is r (2 - r)^2 + 2 (1 - r) times as large,
at most 2.27; of a truth that all folds show it is 1, and intervals are then too wide.
"""


def auroc_influence(labels: NDArray, scores: NDArray, strata: NDArray | None = None) -> tuple[float, Floats]:
    """The AUROC, and what each sample adds to its error: float64 [N].

    The placements of DeLong, DeLong and Clarke-Pearson (1988): with V_i the share of the other class that sample i is
    on the right side of, the influence of one of n_c samples of its class is (V_i - AUROC) / n_c.  Its sums over people
    have the AUROC's variance.  ``strata`` as in :func:`privsdk.auditing.metrics.auroc`.
    """
    strata = np.zeros(len(labels), int) if strata is None else strata
    influence, concordant, pairs = np.zeros(len(labels)), 0.0, 0
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        positive = labels[rows] == 1
        ones, zeros = int(positive.sum()), int((~positive).sum())
        if not ones or not zeros:
            continue
        ranks = rankdata(scores[rows])
        among = np.empty(len(rows))
        among[positive], among[~positive] = rankdata(scores[rows][positive]), rankdata(scores[rows][~positive])
        placement = np.where(positive, (ranks - among) / zeros, 1 - (ranks - among) / ones)
        area = placement[positive].mean()
        # Each stratum weighs as many pairs as it has: (V - A) / n_c times ones * zeros.
        influence[rows] = (placement - area) * np.where(positive, zeros, ones)
        concordant += area * ones * zeros
        pairs += ones * zeros
    return (concordant / pairs, influence / pairs) if pairs else (float("nan"), influence)


def halfwidths(influences: Floats, people: NDArray, seed: int = 0) -> Floats:
    """For each of K figures half of its interval: together they hold K true values with 95%; float64 [K].

    ``influences`` is [K, N], ``people`` [N] says whose each sample is.  A multiplier bootstrap of the people finds the
    95% quantile of the largest error in units of its standard error (the max-t method: Romano and Wolf 2005).
    """
    members = np.unique(people, return_inverse=True)[1].reshape(-1)
    of_people = np.zeros((len(influences), members.max() + 1))
    np.add.at(of_people.T, members, influences.T)
    error = np.sqrt(np.square(of_people).sum(axis=1))
    known = error > 0
    if not known.any():
        return error
    scaled = (of_people[known] / error[known, None]).astype(np.float32)
    draws = np.random.default_rng(seed).standard_normal((of_people.shape[1], DRAWS), np.float32)
    farthest = np.zeros(DRAWS, np.float32)
    for start in range(0, len(scaled), 512):  # of many figures, a part at a time: they are small, their draws are not
        np.maximum(farthest, np.abs(scaled[start : start + 512] @ draws).max(axis=0), out=farthest)
    return error * float(np.quantile(farthest, CONFIDENCE))
