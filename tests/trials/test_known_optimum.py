"""The default filter on made-up people whose best possible result is known: nothing told, and nothing lost.

Each private label is of another kind: a shift, a sign of a product, a spread, a rare group, two coordinates jointly.
The utility label lies elsewhere, so a perfect filter leaves attackers at one half and costs nothing.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from a_bundle import MadeUpBundle
from numpy.typing import NDArray

pytest.importorskip("torch")

from privsdk.auditing import metrics
from privsdk.auditing.attackers import (
    HistGradientBoosting,
    LogisticRegression,
    MultilayerPerceptron,
    QuadraticDiscriminant,
    RandomForest,
    SupportVectorMachine,
)
from privsdk.bundle import PublicLatents
from privsdk.filters.code import Moments
from privsdk.filters.couplings import Couplings, PublicFlow
from privsdk.filters.flow import FlowFilter
from privsdk.filters.joint_scores import JointScores
from privsdk.filters.scores import clipped
from privsdk.fitting import fit
from privsdk.fitting.classifiers import Recipe, train_scores
from privsdk.privatizer import Privatizer

Floats = NDArray[np.float32]

SIZE = 6
PUBLIC = 6000
STRANGERS = 5000
NAMES = ("Hidden", "Kept")
VARIANCE = 0.01
ATTACKERS = (
    LogisticRegression,
    MultilayerPerceptron,
    HistGradientBoosting,
    RandomForest,
    SupportVectorMachine,
    QuadraticDiscriminant,
)

LOG_ODDS = {
    "shift": lambda z: 4 * z[:, 0],
    "product": lambda z: 6 * z[:, 0] * z[:, 1],
    "spread": lambda z: 3 * (z[:, 0] ** 2 + z[:, 1] ** 2 - 1.4),
    "rare": lambda z: 8 * (z[:, 0] - 2.0),
    "jointly": lambda z: 4 * (z[:, 0] + z[:, 1]) * (1 + 0.5 * np.tanh(z[:, 3])),
}


def people(kind: str, count: int, seed: int) -> tuple[Floats, NDArray[np.uint8]]:
    """Latents, N(0, I), and their two labels."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((count, SIZE)).astype(np.float32)
    log_odds = np.stack([LOG_ODDS[kind](z), 4 * z[:, 2]], axis=1)
    return z, (rng.random(log_odds.shape) < 1 / (1 + np.exp(-log_odds))).astype(np.uint8)


@cache
def bundle_of(kind: str, public: int = PUBLIC) -> MadeUpBundle:
    """A bundle as the central trainer would make it of such people: scores are learned, the public flow is exact."""
    z, labels = people(kind, 40_000, seed=1)
    held_out, held_out_labels = people(kind, 4000, seed=2)
    used = np.ones(SIZE, bool)
    recipe = Recipe(hidden=64, dropout=0.0, noise=0.0, epochs=40)
    scores = train_scores(z, labels, held_out, held_out_labels, used, recipe)
    half = SIZE // 2

    def zeros(*shape: int) -> Floats:
        return np.zeros(shape, np.float32)

    nothing = (zeros(1, half, 2), zeros(1, 2), zeros(1, 2, 2), zeros(1, 2), zeros(1, 2, 2 * half), zeros(1, 2 * half))
    couplings = Couplings(np.eye(SIZE, dtype=np.float32)[None], *nothing)
    flow = PublicFlow(used, zeros(SIZE), np.eye(SIZE, dtype=np.float32), couplings)
    of_people = clipped(scores.scores(z))
    drawn = np.random.default_rng(3).standard_normal((public, SIZE)).astype(np.float32)
    likely = 1 / (1 + np.exp(-scores.scores(drawn)))
    drawn_labels = (np.random.default_rng(4).random(likely.shape) < likely).astype(np.uint8)
    return MadeUpBundle(
        scores,
        flow,
        Moments.of(z, of_people),
        JointScores.of(of_people),
        PublicLatents(drawn, np.full_like(drawn, VARIANCE), drawn_labels),
        attributes=NAMES,
    )


@cache
def privatizer_of(kind: str) -> Privatizer:
    return fit(bundle_of(kind), "Hidden", "Kept", fairness=0.04)


def released(kind: str, seed: int) -> tuple[Floats, NDArray[np.uint8], Floats]:
    """Releases of strangers, their labels, and the latents themselves."""
    z, labels = people(kind, STRANGERS, seed)
    seeds = np.random.default_rng(seed).integers(0, 2**63, len(z), dtype=np.uint64)
    return privatizer_of(kind).filter.perturb(z, np.full_like(z, VARIANCE), seeds), labels, z


@pytest.mark.parametrize("kind", list(LOG_ODDS))
def test_fresh_attackers_find_next_to_nothing_and_what_is_kept_is_kept(kind: str) -> None:
    known, known_labels, known_z = released(kind, seed=11)
    others, labels, others_z = released(kind, seed=12)

    def found(attacker: Any, train: Floats, test: Floats, label: int) -> float:
        trained = attacker(seed=1).fit(train, known_labels[:, label])
        return float(metrics.leakage(labels[:, label], trained.score(test)))

    before = max(found(attacker, known_z, others_z, 0) for attacker in ATTACKERS)
    after = max(found(attacker, known, others, 0) for attacker in ATTACKERS)
    assert before > 0.85
    positives = labels[:, 0].sum()
    error = np.sqrt(1 / (12 * positives) + 1 / (12 * (len(labels) - positives)))
    assert after < 0.54 + 3 * error
    assert found(LogisticRegression, known, others, 1) > found(LogisticRegression, known_z, others_z, 1) - 0.03


@pytest.mark.parametrize("kind", list(LOG_ODDS))
def test_the_code_is_independent_of_the_scores(kind: str) -> None:
    filter_ = privatizer_of(kind).filter
    assert isinstance(filter_, FlowFilter)
    z, _ = people(kind, 800, seed=13)
    scores = clipped(filter_.scores.scores(z))
    code = filter_.codes(z, np.full_like(z, VARIANCE), np.arange(len(z), dtype=np.uint64), scores)
    # Shown to have power: the latents themselves fail it by far, and so does a code with a tenth of the score in it.
    assert independent(z, scores) <= 0.01
    leaking = code.copy()
    leaking[:, 0] += 0.25 * scores[:, 0] / scores[:, 0].std()
    assert independent(leaking, scores) <= 0.01
    assert independent(code, scores) > 0.01


def independent(x: Floats, y: Floats, permutations: int = 99) -> float:
    """The p-value of no dependence, by distance correlation (Szekely, Rizzo, Bakirov, 2007) and permutations."""

    def centred(values: Floats) -> NDArray[np.float64]:
        squared = np.square(values).sum(axis=1)
        distances = np.sqrt(np.maximum(squared[:, None] + squared - 2 * values @ values.T, 0)).astype(np.float64)
        return distances - distances.mean(0) - distances.mean(1)[:, None] + distances.mean()

    first, second = centred(x), centred(y / y.std(axis=0))
    rng = np.random.default_rng(0)
    observed = (first * second).mean()
    orders = (rng.permutation(len(x)) for _ in range(permutations))
    larger = sum((first * second[np.ix_(order, order)]).mean() >= observed for order in orders)
    return (1 + larger) / (1 + permutations)


def test_the_inverse_is_exact_to_a_thousandth() -> None:
    filter_ = privatizer_of("jointly").filter
    assert isinstance(filter_, FlowFilter)
    z, _ = people("jointly", 1000, seed=14)
    scores = clipped(filter_.scores.scores(z))
    blind = replace(
        filter_.code, affine=tuple(replace(affine, along=0 * affine.along) for affine in filter_.code.affine)
    )
    code = blind.forward(z, scores, np.zeros((len(z), 2), np.float32))
    assert np.abs(blind.inverse(code, scores) - z).max() < 1e-3


def test_twenty_seeds_end_in_one_band() -> None:
    small = bundle_of("shift", 2000)
    found = [fit(small, "Hidden", "Kept", fairness=0.04, seed=seed).record["check"] for seed in range(20)]
    leakage = [one["private"]["Hidden"]["leakage"] for one in found]
    # What is lost, not what is kept: the accuracy of 500 people alone has a standard error of .015, and the spread of
    # twenty such hangs on who was drawn to check.
    lost = [one["utility"]["Kept"]["lost"] for one in found]
    assert max(leakage) < 0.62
    assert max(lost) - min(lost) < 0.06
