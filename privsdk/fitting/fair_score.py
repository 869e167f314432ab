"""The fair score's tables, and what each strength of it costs and leaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.basis import Basis, cells, crossed
from privsdk.filters.fair_score import FairScore, FairTable, balanced, beliefs, excess

Floats = NDArray[np.float32]
Columns = Sequence[Sequence[int]]

# Of the fair scores before it a utility score is made given the last of these, which share so many cells.
MOST_PREVIOUS, PREVIOUS_CELLS = 3, 9
LEVELS = 129
ROUNDS = 6
SWEEPS, HALVINGS = 8, 16
LEAST_THRESHOLD = -4.0
# So many people whatever their class stand in each cell beside its own: a rare one knows too few.
COMMON = 4.0
HALF_STRENGTH = 0.04
EDGE = 1e-3
BINS = 16


@dataclass(frozen=True, eq=False)
class Candidate:
    """A fair score and the lambda it was made with.

    ``lost`` is the most that a utility label's accuracy falls when t is read in place of s_u, ``leakage`` the
    largest AUROC with which all t together tell a class of a private label.
    """

    fairness: float
    lost: float
    leakage: float
    score: FairScore


def fair_score(scores: Floats, private: Columns, strength: float, blur: Floats) -> FairScore:
    """The fair score of people with ``scores`` [N, P + V]; those of each private label stand in ``private``.

    ``strength`` lies in 0..1, the numbers in ``blur`` [N, V] in -1..1.
    """
    hidden = sum(len(own) for own in private)
    believed = beliefs(scores, private)
    fair = scores[:, hidden:].copy()
    tables: list[FairTable] = []
    for column in range(fair.shape[1]):
        earlier = range(max(0, column - MOST_PREVIOUS), column)
        knots = int(PREVIOUS_CELLS ** (1 / max(len(earlier), 1)))
        middles = (np.arange(knots) + 0.5) / knots
        previous = tuple(Basis.about([one], fair, middles.tolist()) for one in earlier)
        before = cells(previous, fair)
        table = _table(fair[:, column], previous, before, believed, strength)
        fair[:, column] = table.moved(fair[:, column], before, believed, blur[:, column])
        tables.append(table)
    return FairScore(tuple(tuple(own) for own in private), tuple(tables))


def _table(values: Floats, previous: tuple[Basis, ...], before: Floats, believed: Floats, strength: float) -> FairTable:
    """The table for utility scores ``values`` [N] of people in the cells ``before`` [N, R], of ``believed`` classes."""
    needed = _needed(values, before, believed, strength)
    left = excess(values, before, believed, needed)
    grid = np.linspace(0, 1, LEVELS)
    levels, balance, everyone = [], [], []
    for rows, kept, edge in ((left <= 0, values <= 0, -EDGE), (left > 0, values > 0, EDGE)):
        levels.append(np.quantile(left[rows], grid) if rows.any() else grid)
        rank = np.interp(left[rows], levels[-1], grid)
        weights = crossed(before[rows], believed[rows])
        steps = []
        for _ in range(ROUNDS):
            steps.append(_distributions(rank, weights, grid))
            rank = balanced(rank, weights, steps[-1])
        balance.append(np.stack(steps).reshape(ROUNDS, before.shape[1], believed.shape[1], LEVELS))
        # Where nobody's score lies on a side, those who are moved there lie at its edge.
        nobody = np.full((before.shape[1], LEVELS), edge)
        everyone.append(_quantiles(values[kept], before[kept]) if kept.any() else nobody)
    parts = (np.asarray(part, np.float32) for part in (needed, levels, balance, everyone))
    return FairTable(previous, *parts)


def _needed(values: Floats, before: Floats, believed: Floats, strength: float) -> Floats:
    """The thresholds [R, C] at which the share of yes is, in every cell and class, so much nearer to that of the cell.

    One after the other is halved in, over and over: the share of a cell falls as its threshold rises.
    """
    needed = np.full((before.shape[1], believed.shape[1]), 0.5)
    if strength == 0:
        return needed.astype(np.float32)
    weights = crossed(before, believed)
    people = np.maximum(weights.sum(axis=0), 1e-6)
    yes = (values > 0).astype(np.float32)
    own = (yes @ weights / people).reshape(needed.shape)
    over_all = (yes @ before / np.maximum(before.sum(axis=0), 1e-6))[:, None]
    wanted = ((1 - strength) * own + strength * over_all).ravel()
    likely = 1 / (1 + np.exp(-values.astype(np.float64)))
    flat = needed.reshape(-1)
    for _ in range(SWEEPS):
        for cell in np.argsort(-people):
            about = weights[:, cell]
            rows = np.flatnonzero(about > 1e-3)
            others = likely[rows] - weights[rows] @ flat + about[rows] * flat[cell]
            low, high = LEAST_THRESHOLD, 1 - LEAST_THRESHOLD
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                share = about[rows] @ (others > about[rows] * middle) / people[cell]
                low, high = (middle, high) if share > wanted[cell] else (low, middle)
            flat[cell] = (low + high) / 2
    return needed.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Candidates:
    """The fair scores of a wish, one for each lambda: made from ``people`` [N, P + V], judged on ``others`` [M, P + V].

    Those of each private label stand in ``private``; ``seed`` decides how ranks are blurred.
    """

    people: Floats
    others: Floats
    private: Columns
    seed: int

    def __call__(self, fairness: float) -> Candidate:
        """The fair score of strength lambda / (lambda + .04)."""
        hidden = sum(len(own) for own in self.private)
        wished = self.others[:, hidden:]
        rng = np.random.default_rng([self.seed, 4])
        blurs = [
            rng.uniform(-1, 1, (len(one), wished.shape[1])).astype(np.float32) for one in (self.people, self.others)
        ]
        score = fair_score(self.people, self.private, fairness / (fairness + HALF_STRENGTH), blurs[0])
        fair = score.fair(self.others, blurs[1])
        likely = (1 / (1 + np.exp(-wished))).astype(np.float32)
        lost = _accuracy(wished, likely) - _accuracy(fair, likely)
        known = score.fair(self.people, blurs[0])
        told = leakage(known, beliefs(self.people, self.private), fair, beliefs(self.others, self.private))
        return Candidate(fairness, float(lost.max()), told, score)


def leakage(known: Floats, known_belief: Floats, fair: Floats, belief: Floats) -> float:
    """The largest AUROC with which the fair scores ``fair`` [N, V] tell a class believed with ``belief`` [N, C].

    They are judged by how likely the class is among the people of ``known`` [M, V] in one of 16 bins, of each alone and
    of the signs of all, and not by their size: a score can be as high for all on average and still be of another shape.
    """
    places: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for column in range(fair.shape[1]):
        edges = np.quantile(known[:, column], np.linspace(0, 1, BINS + 1)[1:-1])
        places.append((np.searchsorted(edges, known[:, column]), np.searchsorted(edges, fair[:, column])))
    if fair.shape[1] > 1:
        powers = 2 ** np.arange(min(fair.shape[1], 4))
        places.append(((known[:, : len(powers)] > 0) @ powers, (fair[:, : len(powers)] > 0) @ powers))
    areas = []
    for bins, own in places:
        counts = np.maximum(np.bincount(bins, minlength=BINS), 1)
        for column in range(belief.shape[1]):
            likely = np.bincount(bins, known_belief[:, column], BINS) / counts
            areas.append(expected_auroc(likely[own], belief[:, column]))
    return max(max(area, 1 - area) for area in areas)


def expected_auroc(said: NDArray[np.floating], belief: Floats) -> float:
    """The AUROC of ``said`` [N] for a label that is 1 with probability ``belief`` [N], ties counted half."""
    order = np.argsort(said, kind="stable")
    likely = belief[order].astype(np.float64)
    unlikely = 1 - likely
    _, start = np.unique(said[order], return_index=True)
    positives, negatives = np.add.reduceat(likely, start), np.add.reduceat(unlikely, start)
    below = np.cumsum(negatives) - negatives / 2
    return float((positives * below).sum() / (positives.sum() * negatives.sum()))


def _distributions(ranks: NDArray[np.float64], weights: Floats, grid: NDArray[np.float64]) -> Floats:
    """The share of people below each point of ``grid``, of ``ranks`` [N] under each column of ``weights`` [N, B]."""
    people = weights.sum(axis=0) ** 2 / np.maximum((weights**2).sum(axis=0), 1e-9)  # Kish's effective size
    shared = weights * (people / np.maximum(weights.sum(axis=0), 1e-9)) + COMMON / max(len(weights), 1)
    order = np.argsort(ranks, kind="stable")
    below = np.cumsum(shared[order], axis=0, dtype=np.float64)
    below = (below - shared[order] / 2) / below[-1:]
    places = np.concatenate([[0.0], ranks[order], [1.0]])
    edge = np.zeros((1, below.shape[1]))
    return np.stack([np.interp(grid, places, one) for one in np.concatenate([edge, below, edge + 1]).T])


def _quantiles(values: Floats, weights: Floats) -> Floats:
    """From the least to the greatest, of ``values`` [N] under each column of ``weights`` [N, B]: [B, 129]."""
    order = np.argsort(values, kind="stable")
    ordered = values[order].astype(np.float64)
    shared = weights[order] + COMMON / len(weights)
    below = np.cumsum(shared, axis=0, dtype=np.float64)
    below = (below - shared / 2) / below[-1]
    ranks = np.linspace(0, 1, LEVELS)
    return np.stack([np.interp(ranks, one, ordered) for one in below.T]).astype(np.float32)


def _accuracy(said: Floats, wanted: Floats) -> NDArray[np.float64]:
    """The expected accuracy of each utility label, 1 with probability ``wanted``, read from the sign of ``said``."""
    return np.where(said > 0, wanted, 1 - wanted).mean(axis=0, dtype=np.float64)
