"""How the scores of people go together, two at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BINS = 24
LEVELS = 8 * BINS + 1
ROUNDS = 20
LARGEST_WEIGHT = 20.0
# The ends are not those of one person, but what one in 500 is beyond.
LEAST_RANK = 0.002


@dataclass(frozen=True)
class JointScores:
    """For each two of A scores, how many people have the one in this and the other in that bin.

    ``quantiles``, float32 [A, 193], are each score's own, from nearly the least to nearly the greatest; every eighth
    parts two of 24 bins.  ``shares``, float32 [A (A - 1) / 2, 24, 24], are those of people in each cell, over what
    they would be if the two scores were independent; the pairs are in the order of ``itertools.combinations``.
    """

    quantiles: Floats
    shares: Floats

    @classmethod
    def of(cls, scores: Floats) -> JointScores:
        """Of people with these scores, [N, A]."""
        ranks = np.linspace(0, 1, LEVELS).clip(LEAST_RANK, 1 - LEAST_RANK)
        quantiles = np.quantile(scores, ranks, axis=0).T.astype(np.float32)
        cells = _bins(scores, quantiles)
        shares = [
            np.bincount(cells[:, i] * BINS + cells[:, j], minlength=BINS**2) * (BINS**2 / len(scores))
            for i, j in combinations(range(scores.shape[1]), 2)
        ]
        return cls(quantiles, np.reshape(shares, (-1, BINS, BINS)).astype(np.float32))

    def draw(self, scores: Floats, columns: Sequence[int], rng: np.random.Generator) -> Floats:
        """As many rows as ``scores`` [N, K] has, in the same ``columns``, that go together two at a time as people do.

        The rows of ``scores``, which are anybody's, are weighted by iterative proportional fitting over all pairs
        (Deming and Stephan, 1940); of one that is drawn the cell alone is taken, and each score is drawn within it.
        """
        quantiles = self.quantiles[list(columns)]
        cells = _bins(scores, quantiles)
        weights = np.full(len(scores), 1 / len(scores))
        for _ in range(ROUNDS):
            for one, other in combinations(range(len(columns)), 2):
                cell = cells[:, one] * BINS + cells[:, other]
                found = np.bincount(cell, weights, BINS**2)
                wanted = self._pair(columns[one], columns[other]).ravel() / BINS**2
                # Never nothing: where strangers and people have no cell in common, all strangers count alike.
                weights *= (wanted[cell] + 1e-9) / np.maximum(found[cell], 1e-12)
        weights = np.minimum(weights, LARGEST_WEIGHT * weights.mean())
        chosen = cells[rng.choice(len(cells), len(cells), p=weights / weights.sum())]
        ranks = (chosen + rng.random(chosen.shape)) / BINS
        levels = np.linspace(0, 1, LEVELS)
        drawn = [np.interp(rank, levels, own) for rank, own in zip(ranks.T, quantiles, strict=True)]
        return np.stack(drawn, axis=1).astype(np.float32)

    def fits(self, attributes: int) -> bool:
        """Whether these are of so many attributes' scores."""
        pairs = attributes * (attributes - 1) // 2
        if self.quantiles.shape != (attributes, LEVELS) or self.shares.shape != (pairs, BINS, BINS):
            return False
        return bool((np.diff(self.quantiles, axis=1) >= 0).all() and (self.shares >= 0).all())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What :meth:`from_arrays` needs, by name; the shares in half precision, as they are nearly all of it."""
        return {"quantiles": self.quantiles, "shares": self.shares.astype(np.float16)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> JointScores:
        """The joint scores in ``arrays``."""
        return cls(np.asarray(arrays["quantiles"], np.float32), np.asarray(arrays["shares"], np.float32))

    def _pair(self, one: int, other: int) -> Floats:
        if one > other:
            return self._pair(other, one).T
        count = len(self.quantiles)
        return self.shares[one * count - one * (one + 1) // 2 + other - one - 1]


def _bins(scores: Floats, quantiles: Floats) -> NDArray[np.int64]:
    edges = quantiles[:, LEVELS // BINS : -1 : LEVELS // BINS]
    return np.stack([np.searchsorted(own, score) for own, score in zip(edges, scores.T, strict=True)], axis=1)
