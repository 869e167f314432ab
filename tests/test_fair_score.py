"""The fair score: independent of the private score on either side of zero, by attackers of any shape."""

from __future__ import annotations

import numpy as np
import pytest

from privsdk.arrays import pack, unpack
from privsdk.auditing import metrics
from privsdk.auditing.attackers import HistGradientBoosting, NearestNeighbours
from privsdk.filters.fair_score import FairScore
from privsdk.fitting.fair_score import expected_auroc, fair_score, leakage

PEOPLE = 20_000
PRIVATE = ((0,),)


def blur_of(count: int, columns: int = 1) -> np.ndarray:
    return np.random.default_rng(9).uniform(-1, 1, (count, columns))


def made(scores: np.ndarray, strength: float, private: tuple = PRIVATE) -> FairScore:
    hidden = sum(len(own) for own in private)
    return fair_score(scores, private, strength, blur_of(len(scores), scores.shape[1] - hidden))


def applied(score: FairScore, scores: np.ndarray) -> np.ndarray:
    return score.fair(scores, blur_of(len(scores), len(score.tables)))


def scores_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Private and utility scores, float32 [N, 2], and the private label they are log-odds of."""
    rng = np.random.default_rng(seed)
    private = rng.normal(0, 4, PEOPLE)
    labels = rng.random(PEOPLE) < 1 / (1 + np.exp(-private))
    # With the private score the utility score changes its place and its spread.
    likely = 1 / (1 + np.exp(-private))
    utility = 1 - 2 * likely + (4 - 2.5 * likely) * rng.normal(0, 1, PEOPLE)
    return np.stack([private, utility], axis=1).astype(np.float32), labels


@pytest.fixture(scope="module")
def known() -> tuple[np.ndarray, np.ndarray]:
    return scores_of(0)


@pytest.fixture(scope="module")
def others() -> tuple[np.ndarray, np.ndarray]:
    return scores_of(1)


def told(fair: np.ndarray, labels: np.ndarray) -> float:
    """What a histogram attacker, trained on half of the people, finds in the other half."""
    half = len(fair) // 2
    belief = labels[:, None].astype(np.float32)
    return leakage(fair[:half], belief[:half], fair[half:], belief[half:])


def test_at_full_strength_nothing_is_told_of_people_never_seen(known: tuple, others: tuple) -> None:
    assert told(others[0][:, 1:], others[1]) > 0.65
    assert told(applied(made(known[0], 1.0), others[0]), others[1]) < 0.53


def test_at_no_strength_the_sign_stays_and_tells_all_that_is_told(known: tuple, others: tuple) -> None:
    fair = applied(made(known[0], 0.0), others[0])
    assert ((fair[:, 0] > 0) == (others[0][:, 1] > 0)).all()
    for side in (fair[:, 0] > 0, fair[:, 0] < 0):
        assert told(fair[side], others[1][side]) < 0.53


def test_strength_trades_the_sign_for_the_leakage(known: tuple, others: tuple) -> None:
    scores, labels = others
    strengths = (0.0, 0.25, 0.5, 0.75, 1.0)
    fair = [applied(made(known[0], strength), scores) for strength in strengths]
    changed = [((t[:, 0] > 0) != (scores[:, 1] > 0)).mean() for t in fair]
    found = [told(t, labels) for t in fair]
    assert changed == sorted(changed)
    assert found == sorted(found, reverse=True)
    least = np.abs(scores[:, 1])
    moved = (fair[1][:, 0] > 0) != (scores[:, 1] > 0)
    assert least[moved].mean() < least.mean() / 3


def test_no_other_decision_loses_less_for_the_same_rates(known: tuple) -> None:
    """Against thresholds of its own for each believed class, the usual way to equal rates."""
    scores = known[0]
    likely = 1 / (1 + np.exp(-scores[:, 1]))

    def right(decision: np.ndarray) -> float:
        return float(np.where(decision, likely, 1 - likely).mean())

    fair = applied(made(known[0], 1.0), scores)[:, 0] > 0

    def apart(decision: np.ndarray) -> float:
        belief = 1 / (1 + np.exp(-scores[:, 0]))
        return float(abs(belief @ decision / belief.sum() - (1 - belief) @ decision / (1 - belief).sum()))

    usual = np.empty(PEOPLE, bool)
    likely_male = scores[:, 0] > 0
    best = 0.0
    for first in np.linspace(0.3, 0.6, 121):
        second = (fair.mean() - likely_male.mean() * first) / (1 - likely_male.mean())
        for side, share in ((likely_male, first), (~likely_male, second)):
            usual[side] = scores[side, 1] > np.quantile(scores[side, 1], 1 - share)
        if apart(usual) < 0.003:
            best = max(best, right(usual))
    assert apart(fair) < 0.003
    assert right(fair) > best > 0.7


def test_it_has_the_distribution_of_the_utility_score_on_either_side(known: tuple) -> None:
    fair = applied(made(known[0], 0.5), known[0])[:, 0]
    ranks = np.linspace(0.02, 0.98, 25)
    for side in (1, -1):
        mine, all_ = (side * values[side * values > 0] for values in (fair, known[0][:, 1]))
        assert np.abs(np.quantile(mine, ranks) - np.quantile(all_, ranks)).max() < 0.35


def test_points_become_no_points() -> None:
    """Where scores lie on a few points, each of one kind of people, t must not tell which point it came from."""
    rng = np.random.default_rng(3)
    points = rng.normal(0, 3, (60, 2)).astype(np.float32)

    def people(seed: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = points[np.random.default_rng(seed).integers(0, len(points), PEOPLE)]
        return chosen, np.random.default_rng(seed + 1).random(PEOPLE) < 1 / (1 + np.exp(-chosen[:, 0]))

    half = PEOPLE // 2

    def found(blur: float) -> float:
        score, (scores, labels) = made(people(0)[0], 1.0), people(2)
        fair = score.fair(scores, blur * blur_of(PEOPLE))
        neighbours = NearestNeighbours().fit(fair[:half], labels[:half])
        return float(metrics.leakage(labels[half:], neighbours.score(fair[half:])))

    assert found(0) > 0.85
    assert found(1) < 0.65


def several(scores: np.ndarray) -> np.ndarray:
    """Two private and two utility scores that lean on one another."""
    rng = np.random.default_rng(2)
    second = 0.5 * scores[:, 1] + rng.normal(0, 1, len(scores))
    third = scores[:, 0] / 3 + second + rng.normal(0, 1, len(scores))
    return np.stack([scores[:, 0], second, scores[:, 1], third], axis=1).astype(np.float32)


def test_several_private_and_utility_scores(known: tuple, others: tuple) -> None:
    private = ((0,), (1,))
    fair = applied(made(several(known[0]), 1.0, private), several(others[0]))
    assert fair.shape == (PEOPLE, 2)
    second = np.random.default_rng(5).random(PEOPLE) < 1 / (1 + np.exp(-several(others[0])[:, 1]))
    half = PEOPLE // 2
    for labels in (others[1], second, others[1] & second, others[1] & ~second):
        for column in fair.T:
            assert told(column[:, None], labels) < 0.54
        # Nor do both together.
        trees = HistGradientBoosting().fit(fair[:half], labels[:half])
        assert metrics.leakage(labels[half:], trees.score(fair[half:])) < 0.56


def test_many_classes(others: tuple) -> None:
    rng = np.random.default_rng(4)
    classes = rng.integers(0, 4, PEOPLE)
    scores = np.concatenate(
        [10 * np.eye(4)[classes] - 5, 3 * (classes[:, None] - 1.5) + rng.normal(0, 3, (PEOPLE, 1))], axis=1
    ).astype(np.float32)
    score = made(scores, 1.0, ((0, 1, 2, 3),))
    fair = applied(score, scores)[:, 0]
    for one in range(4):
        assert told(fair[:, None], classes == one) < 0.54
    again = FairScore.from_arrays(unpack(pack(score.arrays(), {}))[0], scores.shape[1])
    assert np.array_equal(applied(again, scores)[:, 0], fair)


def test_leakage_sees_another_shape_where_no_rank_does() -> None:
    rng = np.random.default_rng(3)
    labels = rng.random(PEOPLE) < 0.5
    values = np.where(labels, rng.normal(0, 1, PEOPLE), rng.normal(0, 4, PEOPLE))
    assert abs(expected_auroc(values, labels.astype(np.float32)) - 0.5) < 0.02
    assert told(values[:, None].astype(np.float32), labels) > 0.75


def test_ties_count_half() -> None:
    assert expected_auroc(np.zeros(4), np.array([0, 1, 0, 1], np.float32)) == 0.5
    assert expected_auroc(np.array([0, 1, 1, 2]), np.array([0, 0, 1, 1], np.float32)) == 0.875


def test_where_nobodys_score_says_yes_there_is_a_fair_score_still(known: tuple) -> None:
    never = known[0].copy()
    never[:, 1] = -np.abs(never[:, 1]) - 0.1
    for strength in (0.0, 0.5, 1.0):
        fair = applied(made(never, strength), never)
        assert np.isfinite(fair).all()
    assert (applied(made(never, 0.0), never) < 0).all()
