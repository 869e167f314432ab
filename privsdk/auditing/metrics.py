"""How well scores tell a binary label, and how sure one can be of it.

Every measure takes ``labels`` (bool or integer 0/1, ``[N]``), ``scores`` (float ``[N]``, larger means "more
likely 1") and, optionally, ``weights``: float ``[N]`` gives one figure, float ``[D, N]`` gives ``D`` of them
at once.  The bootstrap is nothing but weights: :func:`resampled` says how often each sample occurs in
each resampling of the identities, and two figures under the same weights are paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 1000


def resampled(identity: NDArray, draws: int = DRAWS, seed: int = 0) -> Floats:
    """Bootstrap weights that resample whole identities: float64 ``[draws, N]``, counts.

    ``identity`` is ``[N]``, any values that compare equal for the same person.  Photos of one person
    are not independent, so people are drawn with replacement and all their photos come along.
    """
    people, person = np.unique(identity, return_inverse=True)
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(len(people), np.full(len(people), 1 / len(people)), size=draws)
    return counts[:, person].astype(np.float64)


def auroc(labels: NDArray, scores: NDArray, weights: NDArray | None = None, strata: NDArray | None = None) -> Floats:
    """Area under the ROC curve: P(score of a 1 > score of a 0) + P(equal) / 2.

    With ``strata`` (``[N]``) only pairs within a stratum are compared: scores of attackers trained on
    different folds have no common scale.  NaN where no pair is left.
    """
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    strata = np.zeros(len(labels), int) if strata is None else strata
    concordant = np.zeros(weights.shape[:-1])
    pairs = np.zeros(weights.shape[:-1])
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        rows = rows[np.argsort(scores[rows], kind="stable")]
        ordered = scores[rows]
        positive = np.where(labels[rows] == 1, weights[..., rows], 0.0)
        negative = np.where(labels[rows] == 1, 0.0, weights[..., rows])
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # one group for equal scores
        positive = np.add.reduceat(positive, starts, axis=-1)
        negative = np.add.reduceat(negative, starts, axis=-1)
        below = np.cumsum(negative, axis=-1) - negative / 2
        concordant += (positive * below).sum(-1)
        pairs += positive.sum(-1) * negative.sum(-1)
    with np.errstate(invalid="ignore"):
        return concordant / pairs


def leakage(labels: NDArray, scores: NDArray, weights: NDArray | None = None, strata: NDArray | None = None) -> Floats:
    """max(AUROC, 1 - AUROC): an attacker who is wrong dependably is as well informed as one who is right."""
    area = auroc(labels, scores, weights, strata)
    return np.maximum(area, 1 - area)


def accuracy(
    labels: NDArray, scores: NDArray, weights: NDArray | None = None, threshold: float | NDArray = 0.0
) -> Floats:
    """Share of samples on the right side of ``threshold`` (a number, or one a sample)."""
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    right = (scores > threshold) == (labels == 1)
    return weights @ right / weights.sum(-1)


def balanced_accuracy(
    labels: NDArray, scores: NDArray, weights: NDArray | None = None, threshold: float | NDArray = 0.0
) -> Floats:
    """Mean of the accuracies among the 1s and among the 0s; NaN where one of them is empty."""
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    right = (scores > threshold) == (labels == 1)
    with np.errstate(invalid="ignore"):
        among = [weights @ (right & (labels == side)) / (weights @ (labels == side)) for side in (0, 1)]
    return (among[0] + among[1]) / 2


def best_threshold(labels: NDArray, scores: NDArray) -> float:
    """The threshold of the largest balanced accuracy; to be found on validation data, never on the test's."""
    order = np.argsort(scores, kind="stable")
    ordered, positive = scores[order], labels[order] == 1
    missed = np.cumsum(positive) / max(positive.sum(), 1)  # of the 1s, when all up to here are called 0
    cleared = np.cumsum(~positive) / max((~positive).sum(), 1)
    balanced = (1 - missed + cleared) / 2
    balanced[:-1][ordered[1:] == ordered[:-1]] = -1  # no threshold lies between equal scores
    best = int(np.argmax(balanced))
    above = ordered[best + 1] if best + 1 < len(ordered) else ordered[best]
    return float((ordered[best] + above) / 2)


def calibration_error(labels: NDArray, log_odds: NDArray, bins: int = 15) -> float:
    """Expected calibration error: mean |P(label) said - P(label) found|, over bins of equal count (Naeini et al. 2015).

    ``log_odds`` are the scores s with P(label = 1) = 1 / (1 + exp(-s)).
    """
    probability = 1 / (1 + np.exp(-np.asarray(log_odds, np.float64)))
    order = np.argsort(probability, kind="stable")
    gaps = [
        len(rows) * abs(probability[rows].mean() - (labels[rows] == 1).mean())
        for rows in np.array_split(order, min(bins, len(order)))
    ]
    return float(sum(gaps) / len(order))


@dataclass(frozen=True)
class Estimate:
    """A figure, and its value under each bootstrap draw (float64 ``[D]``)."""

    value: float
    draws: Floats

    @property
    def interval(self) -> tuple[float, float]:
        """The bootstrap's central 95%."""
        low, high = np.nanpercentile(self.draws, [2.5, 97.5])
        return float(low), float(high)

    def __sub__(self, other: Estimate) -> Estimate:
        """The paired difference: both must come from the same bootstrap weights."""
        return Estimate(self.value - other.value, self.draws - other.draws)

    @staticmethod
    def mean(estimates: list[Estimate]) -> Estimate:
        """The mean over seeds or labels that were all measured on the same samples under the same weights."""
        return Estimate(
            float(np.mean([one.value for one in estimates])),
            np.mean([one.draws for one in estimates], axis=0),
        )
