"""Where the scores of a label lie: functions of them that sum to 1, which a filter's tables are read between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.scores import probabilities

Floats = NDArray[np.float32]

SMALL = 1e-3


@dataclass(frozen=True)
class Basis:
    """Q functions of the scores of one label, which stand in ``columns`` of all scores.

    A label that is true or not has one score, and hat functions about ``knots`` [Q]: piecewise linear, one at their
    own knot, zero at the others, constant beyond the outermost.  A label of C classes has C scores, no knots, and the
    probabilities of its classes.
    """

    columns: tuple[int, ...]
    knots: Floats

    @classmethod
    def about(cls, columns: Sequence[int], scores: Floats, ranks: Sequence[float]) -> Basis:
        """For people with ``scores`` [N, K]; knots lie where so many of them are below.

        People are weighted so that the label is as often believed true as false: a rare one needs its knots where it
        is.
        """
        if len(columns) > 1:
            return cls(tuple(columns), np.empty(0, np.float32))
        score = scores[:, columns[0]]
        likely = 1 / (1 + np.exp(-score.astype(np.float64)))
        order = np.argsort(score)
        weight = np.cumsum((likely / likely.sum() + (1 - likely) / (1 - likely).sum())[order]) / 2
        places = np.minimum(np.searchsorted(weight, ranks), len(score) - 1)
        knots = score[order][places].astype(np.float32)
        knots += SMALL * np.arange(len(knots), dtype=np.float32)  # where scores end, several knots may coincide
        return cls(tuple(columns), knots)

    def weights(self, scores: Floats) -> Floats:
        """The functions of all scores, float32 [N, K]: float32 [N, Q]."""
        own = scores[:, list(self.columns)]
        return hats(own[:, 0], self.knots) if len(self.knots) else probabilities(own)

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """What :meth:`from_arrays` needs, under this name."""
        return {f"{name}.columns": np.array(self.columns, np.int64), f"{name}.knots": self.knots}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], name: str) -> Basis:
        """The basis that was stored under this name."""
        columns = tuple(int(column) for column in arrays[f"{name}.columns"])
        return cls(columns, np.asarray(arrays[f"{name}.knots"], np.float32))


def hats(score: Floats, knots: Floats) -> Floats:
    """Piecewise linear in the score [N], one at its own knot of ``knots`` [Q] and zero at the others: [N, Q]."""
    position = np.clip(score, knots[0], knots[-1])
    rising = np.clip((position[:, None] - knots[:-1]) / np.diff(knots), 0, 1)
    edge = np.ones((len(score), 1), np.float32)
    steps = np.concatenate([edge, rising, 0 * edge], axis=1)
    return (steps[:, :-1] - steps[:, 1:]).astype(np.float32)


def cells(bases: Sequence[Basis], scores: Floats) -> Floats:
    """The products of one function of each basis, which sum to 1 too: float32 [N, Q1 * Q2 * ...], [N, 1] of none."""
    return reduce(crossed, (basis.weights(scores) for basis in bases), np.ones((len(scores), 1), np.float32))


def crossed(left: Floats, right: Floats) -> Floats:
    """The products of each of ``left`` [N, R] with each of ``right`` [N, B]: float32 [N, R * B]."""
    return (left[:, :, None] * right[:, None, :]).reshape(len(left), left.shape[1] * right.shape[1])
