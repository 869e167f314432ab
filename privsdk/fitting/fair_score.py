"""The fair score's tables, and what each strength of it costs and leaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.fair_score import FairScore, moved

Floats = NDArray[np.float32]

GROUPS = 16
# How often the private scores are gone through, where there are several.
ROUNDS = 3
LEVELS = 257
HALF_STRENGTH = 0.04
BINS = 16


@dataclass(frozen=True, eq=False)
class Candidate:
    """A fair score and the lambda it was made with.

    ``lost`` is the most that a utility label's accuracy falls when t is read in place of s_u, ``leakage`` the
    AUROC with which t alone tells a private label.
    """

    fairness: float
    lost: float
    leakage: float
    score: FairScore


def fair_score(scores: Floats, private: int, strength: float) -> FairScore:
    """The fair score of people with ``scores`` [N, P + V], the P = ``private`` private ones first."""
    ranks = np.linspace(0, 1, LEVELS)
    tables = []
    steps = private if private == 1 else ROUNDS * private
    for wanted in scores[:, private:].T:
        values = wanted.astype(np.float64)
        for step in range(steps):
            about = scores[:, step % private]
            groups = np.array_split(np.argsort(about, kind="stable"), GROUPS)
            centres = np.array([np.median(about[rows]) for rows in groups], np.float32)
            members = np.array([np.quantile(values[rows], ranks) for rows in groups], np.float32)
            everyone = np.quantile(values, ranks).astype(np.float32)
            values = moved(values, about, centres, members, everyone, strength)
            tables.append((centres, members, everyone))
    shape = scores.shape[1] - private, steps
    stacked = [np.stack(parts).reshape(*shape, *parts[0].shape) for parts in zip(*tables, strict=True)]
    return FairScore(np.array([strength], np.float32), *stacked)


def candidates(people: Floats, others: Floats, private: int, fairness: Sequence[float]) -> list[Candidate]:
    """A fair score for each lambda in ``fairness``, of strength lambda / (lambda + .04).

    Made from the scores of ``people`` [N, P + V], judged on those of ``others`` [M, P + V].
    """
    belief, other_belief = ((1 / (1 + np.exp(-scores))).astype(np.float32) for scores in (people, others))
    found = []
    for weight in fairness:
        score = fair_score(people, private, weight / (weight + HALF_STRENGTH))
        fair = score.fair(others)
        wanted = other_belief[:, private:]
        lost = _accuracy(others[:, private:], wanted) - _accuracy(fair, wanted)
        told = leakage(score.fair(people), belief, fair, other_belief, private)
        found.append(Candidate(weight, float(lost.max()), told, score))
    return found


def leakage(known: Floats, known_belief: Floats, fair: Floats, belief: Floats, private: int) -> float:
    """The AUROC with which any one fair score, ``fair`` [N, V], tells any private label believed with ``belief``.

    It is judged by how likely the label is among the people of ``known`` [M, V] in one of 16 bins, and not by
    its size: a score can be as high for all on average and still be of another shape.
    """
    areas = []
    for column in range(fair.shape[1]):
        edges = np.quantile(known[:, column], np.linspace(0, 1, BINS + 1)[1:-1])
        bins = np.searchsorted(edges, known[:, column])
        counts = np.maximum(np.bincount(bins, minlength=BINS), 1)
        for hidden in range(private):
            likely = np.bincount(bins, known_belief[:, hidden], BINS) / counts
            said = likely[np.searchsorted(edges, fair[:, column])]
            areas.append(expected_auroc(said, belief[:, hidden]))
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


def _accuracy(said: Floats, wanted: Floats) -> NDArray[np.float64]:
    """The expected accuracy of each utility label, 1 with probability ``wanted``, read from the sign of ``said``."""
    return np.where(said > 0, wanted, 1 - wanted).mean(axis=0, dtype=np.float64)
