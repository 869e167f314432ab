"""The parts of a flow filter that have a closed form, in NumPy: all of it, where torch is not installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.code import ConditionalAffine, context, features
from privsdk.filters.fair_score import FairScore
from privsdk.filters.scores import elu
from privsdk.fitting.material import Part

Floats = NDArray[np.float32]

KNOTS = (0.005, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.995)
SCORING_STEPS = 8
BINS = 16
HALF_STRENGTH = 0.04
SMALL = 1e-3


def conditional_affine(x: Floats, scores: Floats) -> ConditionalAffine:
    """The affine map that makes ``x`` [N, U] as normal as it can, given ``scores`` [N, K].

    The mean is a least-squares regression on the features of the scores; the log-scale maximises the normal
    likelihood of the residual by Fisher scoring (F^-1 phi'(r^2 / sigma^2 - 1) / 2, with F = phi'phi); the
    linear map whitens what is left.
    """
    knots = np.quantile(scores, KNOTS, axis=0).astype(np.float32)
    knots += SMALL * np.arange(len(knots), dtype=np.float32)[:, None]
    basis = features(scores, knots).astype(np.float64)
    gram = basis.T @ basis
    gram += SMALL * len(x) / len(gram) * np.eye(len(gram))
    mean = np.linalg.solve(gram, basis.T @ x)
    residual = x - basis @ mean
    log_scale = np.zeros_like(mean)
    for _ in range(SCORING_STEPS):
        excess = np.square(residual * np.exp(-(basis @ log_scale))) - 1
        log_scale += np.linalg.solve(gram, basis.T @ np.minimum(excess, 10)) / 2
    scaled = residual * np.exp(-(basis @ log_scale))
    variance, directions = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    spread = np.sqrt(variance)
    whiten = (directions / spread) @ directions.T
    colour = (directions * spread) @ directions.T
    parts = (knots, mean, log_scale, whiten, colour)
    return ConditionalAffine(*(part.astype(np.float32) for part in parts))


def fair_score(scores: Floats, private: int, strength: float, seed: int) -> FairScore:
    """A fair score without training: a utility score becomes its rank among those of a like private score.

    The rank is F(s_u | s_p), from a table of 16 bins; t is the score of that rank over all, for one private
    score after the other.  At strength 1, t is independent of the private scores; below it, the share of
    those with t < 0 goes only that far from what it is for s_p to what it is for all, and on each side of
    zero t is independent.  The map is then written as the network that ``FairScore`` applies, its hidden
    units random and its output fitted by least squares.
    """
    wanted = scores[:, private:].astype(np.float64)
    for column in range(private):
        for kept in range(wanted.shape[1]):
            wanted[:, kept] = _ranked(scores[:, column], wanted[:, kept], strength)
    rng = np.random.default_rng(seed)
    hidden = rng.normal(0, 1.5, (scores.shape[1], 96)).astype(np.float32)
    hidden_bias = rng.uniform(-3, 3, 96).astype(np.float32)
    basis = elu(context(scores) @ hidden + hidden_bias).astype(np.float64)
    basis = np.concatenate([basis, np.ones((len(basis), 1))], axis=1)
    gram = basis.T @ basis + SMALL * np.eye(basis.shape[1])
    out = np.linalg.solve(gram, basis.T @ (wanted - scores[:, private:])).astype(np.float32)
    return on_scale(hidden, hidden_bias, out[:-1], out[-1], scores)


@dataclass(frozen=True)
class Candidate:
    """A fair score and the lambda it was made with.

    ``lost`` is the most that a utility label's accuracy falls when t' is read in place of s_u, ``leakage``
    the AUROC with which t' alone tells a private label.
    """

    fairness: float
    lost: float
    leakage: float
    score: FairScore


def candidates(train: Part, validation: Part, private: int, fairness: Sequence[float], seed: int) -> list[Candidate]:
    """A fair score for each lambda in ``fairness``, with strength lambda / (lambda + .04).

    So a lambda means about the same here and where the fair score is trained.
    """
    found = []
    for weight in fairness:
        score = fair_score(train.scores, private, weight / (weight + HALF_STRENGTH), seed)
        found.append(candidate(weight, score, validation, private))
    return found


def candidate(fairness: float, score: FairScore, part: Part, private: int) -> Candidate:
    """What ``score`` costs and leaks on ``part``, judged by how likely each label is."""
    wanted = part.belief[:, private:]
    fair = score.rescaled(part.scores)

    def accuracy(said: Floats) -> Floats:
        return np.where(said > 0, wanted, 1 - wanted).mean(axis=0)

    lost = accuracy(part.scores[:, private:]) - accuracy(fair)
    leakage = [expected_auroc(t, belief) for t in fair.T for belief in part.belief[:, :private].T]
    return Candidate(fairness, float(lost.max()), max(max(area, 1 - area) for area in leakage), score)


def expected_auroc(said: Floats, belief: Floats) -> float:
    """The AUROC of ``said`` [N] for a label that is 1 with probability ``belief`` [N]."""
    likely = belief[np.argsort(said, kind="stable")].astype(np.float64)
    unlikely = 1 - likely
    below = np.cumsum(unlikely) - unlikely / 2
    return float((likely * below).sum() / (likely.sum() * unlikely.sum()))


def on_scale(hidden: Floats, hidden_bias: Floats, out: Floats, out_bias: Floats, scores: Floats) -> FairScore:
    """The fair score of these weights, with the quantiles that bring it back to the scale of s_u."""
    ranks = (np.arange(257) + 0.5) / 257
    empty = np.zeros((2, len(out_bias)), np.float32)
    raw = FairScore(hidden, hidden_bias, out, out_bias, empty, empty)
    fair = np.quantile(raw.fair(scores), ranks, axis=0).astype(np.float32)
    plain = np.quantile(scores[:, -len(out_bias) :], ranks, axis=0).astype(np.float32)
    return FairScore(hidden, hidden_bias, out, out_bias, fair, plain)


def _ranked(private: Floats, utility: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """t for one private and one utility score; ranks are read in the two nearest bins of s_p, and blended."""
    bins = np.array_split(np.argsort(private, kind="stable"), BINS)
    centres = [np.median(private[rows]) for rows in bins]
    members = [np.sort(utility[rows]) for rows in bins]
    position = np.clip(np.interp(private, centres, np.arange(BINS)), 0, BINS - 1.001)
    lower = position.astype(np.int64)
    share = position - lower
    everyone = np.arange(len(utility))

    def rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
        within = [np.interp(values, held, (np.arange(len(held)) + 0.5) / len(held)) for held in members]
        table = np.stack(within)
        return (1 - share) * table[lower, everyone] + share * table[lower + 1, everyone]

    overall = float((utility < 0).mean())
    edge = np.clip((1 - strength) * rank(np.zeros_like(utility)) + strength * overall, 0.02, 0.98)
    own = rank(utility)
    fair = np.where(own < edge, overall * own / edge, 1 - (1 - overall) * (1 - own) / (1 - edge))
    return np.quantile(utility, np.clip(fair, 0, 1))
