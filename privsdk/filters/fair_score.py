"""The fair utility score t: the utility score, less what it tells of the private label, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.basis import Basis, cells, crossed
from privsdk.filters.rows import times
from privsdk.filters.scores import probabilities

Floats = NDArray[np.float32]

# By how much a rank is blurred.  Rows of a table lie on few points, each with people of one kind, and a map of
# points to points would tell who they are; what is blurred costs the utility label next to nothing.
BLUR = 0.05
LEAST_NEEDED = 1e-3
LEAST_WEIGHT = 1e-4


@dataclass(frozen=True)
class FairTable:
    """How one utility score is moved.

    ``previous`` are the bases of the fair scores that were made before it, with R cells; there are C classes of the
    private labels.  ``needed``, float32 [R, C], is how likely the utility label must be for a yes in each of them.
    What exceeds that is ranked on either side of zero, by ``levels`` [2, Q] first and then by each of S tables of
    ``balance`` [2, S, R, C, Q].  ``everyone`` [2, R, Q] are quantiles of the utility score on either side.
    """

    previous: tuple[Basis, ...]
    needed: Floats
    levels: Floats
    balance: Floats
    everyone: Floats

    def moved(self, values: Floats, previous: Floats, beliefs: Floats, blur: Floats) -> Floats:
        """t for utility scores ``values`` [N] of people in cells ``previous`` [N, R], of classes ``beliefs`` [N, C].

        ``blur``, of numbers in -1..1, is [N].
        """
        left = excess(values, previous, beliefs, self.needed)
        fair = np.empty(len(values), np.float32)
        for side, rows in enumerate((np.flatnonzero(left <= 0), np.flatnonzero(left > 0))):
            rank = np.interp(left[rows], self.levels[side], np.linspace(0, 1, self.levels.shape[1]))
            weights = crossed(previous[rows], beliefs[rows])
            for balance in self.balance[side]:
                rank = balanced(rank, weights, balance.reshape(-1, balance.shape[-1]))
            rank = np.abs(rank + BLUR * blur[rows])
            rank = np.where(rank > 1, 2 - rank, rank)
            fair[rows] = _at_rank(times(previous[rows], self.everyone[side]), rank)
        return fair


@dataclass(frozen=True)
class FairScore:
    """The utility scores s_u, each moved by what is believed of the private label, p_c the belief in class c.

    The sign of t is that of the best decision among those with the same rates of yes in every class (Menon and
    Williamson, "The cost of fairness in binary classification", 2018), or with rates so much more alike::

        t > 0    where    sigma(s_u) > sum_c p_c a_c

    The thresholds a_c, 1/2 at first and beyond 0 and 1 where beliefs are weak, are such that the share of t > 0 among
    the people of class c is (1 - strength) times what it was plus strength times that over all.  On either side of
    zero people keep their order as far as it tells nothing of their class: with G_c the distribution of the ranks r of
    class c,

        r <- sum_c p_c G_c(r),    over and over,

    after which r is as good as uniform in every class.  |t| has the distribution that |s_u| has over all on that side.
    So nothing but the sign of t tells of the class, and at full strength nothing does.

    Several private labels make one class of each combination.  Of several utility scores each is made given the fair
    ones before it (Rosenblatt's transformation), with thresholds and ranks of their own for each cell of these:
    together they tell no more than their signs do.

    ``private`` are the columns of each private label.
    """

    private: tuple[tuple[int, ...], ...]
    tables: tuple[FairTable, ...]

    def fair(self, scores: Floats, blur: Floats) -> Floats:
        """t for scores float32 [N, P + V], private ones first, and numbers in -1..1 [N, V]: float32 [N, V]."""
        believed = beliefs(scores, self.private)
        fair = scores[:, scores.shape[1] - len(self.tables) :].copy()
        for column, table in enumerate(self.tables):
            previous = cells(table.previous, fair)
            fair[:, column] = table.moved(fair[:, column], previous, believed, blur[:, column])
        return fair

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The tables by name, for :meth:`from_arrays`."""
        named: dict[str, NDArray[Any]] = {
            "sizes": np.array([len(own) for own in self.private], np.int64),
            "previous": np.array([len(table.previous) for table in self.tables], np.int64),
        }
        for column, table in enumerate(self.tables):
            for part in ("needed", "levels", "balance", "everyone"):
                named[f"{column}.{part}"] = getattr(table, part)
            for number, basis in enumerate(table.previous):
                named |= basis.arrays(f"{column}.previous.{number}")
        return named

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], scores: int) -> FairScore:
        """The fair score whose tables are in ``arrays``, of so many ``scores``; raises ValueError if of others."""
        sizes = arrays["sizes"].tolist()
        if min(sizes, default=1) < 1 or sum(sizes) + len(arrays["previous"]) != scores:  # before lists so long are made
            raise ValueError(f"its fair score is not of {scores} scores")
        ends = np.cumsum([0, *sizes]).tolist()
        private = tuple(tuple(range(begin, end)) for begin, end in zip(ends, ends[1:], strict=False))
        tables = []
        for column, count in enumerate(arrays["previous"].tolist()):
            previous = tuple(Basis.from_arrays(arrays, f"{column}.previous.{number}") for number in range(count))
            parts = (arrays[f"{column}.{part}"] for part in ("needed", "levels", "balance", "everyone"))
            tables.append(FairTable(previous, *(np.asarray(part, np.float32) for part in parts)))
        return cls(private, tuple(tables))


def beliefs(scores: Floats, private: Sequence[Sequence[int]]) -> Floats:
    """How likely each combination of classes is, taken as independent given the scores: float32 [N, C1 * C2 * ...]."""
    return reduce(crossed, (probabilities(scores[:, list(own)]) for own in private))


def excess(values: Floats, previous: Floats, beliefs: Floats, needed: Floats) -> NDArray[np.float64]:
    """The log-odds of the utility label, less those that are needed for a yes: float64 [N]."""
    likely = (times(previous, needed) * beliefs).sum(axis=1, dtype=np.float64)
    likely = np.clip(likely, LEAST_NEEDED, 1 - LEAST_NEEDED)
    return values - np.log(likely / (1 - likely))


def balanced(ranks: NDArray[np.float64], weights: Floats, tables: Floats) -> NDArray[np.float64]:
    """Each rank [N] by the tables [B, Q] of the cells that it belongs to with ``weights`` [N, B]: [N]."""
    grid = np.linspace(0, 1, tables.shape[1])
    found = np.zeros(len(ranks))
    for about, table in zip(weights.T, tables, strict=True):
        rows = np.flatnonzero(about > LEAST_WEIGHT)
        found[rows] += about[rows] * np.interp(ranks[rows], grid, table)
    return np.clip(found, 0, 1)


def _at_rank(quantiles: Floats, ranks: NDArray[np.float64]) -> Floats:
    """The value at a rank in 0..1, one [N] for each row of ``quantiles`` [N, Q]: float32 [N]."""
    levels = quantiles.shape[1]
    position = np.clip(ranks, 0, 1) * (levels - 1)
    below = np.minimum(position.astype(np.int64), levels - 2)
    low, high = (np.take_along_axis(quantiles, (below + step)[:, None], axis=1)[:, 0] for step in (0, 1))
    return (low + (position - below) * (high - low)).astype(np.float32)
