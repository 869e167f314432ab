"""The fair score: independent of the private score on either side of zero, by attackers of any shape."""

from __future__ import annotations

import numpy as np
import pytest

from privsdk.fitting.fair_score import expected_auroc, fair_score, leakage

PEOPLE = 20_000


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
    return leakage(fair[:half], belief[:half], fair[half:], belief[half:], private=1)


def test_at_full_strength_nothing_is_told_of_people_never_seen(known: tuple, others: tuple) -> None:
    score = fair_score(known[0], private=1, strength=1.0)
    assert told(others[0][:, 1:], others[1]) > 0.65
    assert told(score.fair(others[0]), others[1]) < 0.53


def test_at_no_strength_the_sign_stays_and_tells_all_that_is_told(known: tuple, others: tuple) -> None:
    fair = fair_score(known[0], private=1, strength=0.0).fair(others[0])
    assert ((fair[:, 0] > 0) == (others[0][:, 1] > 0)).mean() > 0.99
    for side in (fair[:, 0] > 0, fair[:, 0] < 0):
        assert told(fair[side], others[1][side]) < 0.55


def test_strength_trades_the_sign_for_the_leakage(known: tuple, others: tuple) -> None:
    scores, labels = others
    strengths = (0.0, 0.25, 0.5, 0.75, 1.0)
    fair = [fair_score(known[0], 1, strength).fair(scores) for strength in strengths]
    changed = [((t[:, 0] > 0) != (scores[:, 1] > 0)).mean() for t in fair]
    found = [told(t, labels) for t in fair]
    assert changed == sorted(changed)
    assert found == sorted(found, reverse=True)
    least = np.abs(scores[:, 1])
    moved = (fair[1][:, 0] > 0) != (scores[:, 1] > 0)
    assert least[moved].mean() < least.mean() / 3


def test_it_has_the_distribution_of_the_utility_score(known: tuple) -> None:
    fair = fair_score(known[0], private=1, strength=0.5).fair(known[0])
    ranks = np.linspace(0.02, 0.98, 25)
    assert np.abs(np.quantile(fair[:, 0], ranks) - np.quantile(known[0][:, 1], ranks)).max() < 0.25


def test_several_private_and_utility_scores(known: tuple, others: tuple) -> None:
    rng = np.random.default_rng(2)

    def more(scores: np.ndarray) -> np.ndarray:
        second = 0.5 * scores[:, 1] + rng.normal(0, 1, PEOPLE)
        third = scores[:, 0] / 3 + second + rng.normal(0, 1, PEOPLE)
        return np.stack([scores[:, 0], second, scores[:, 1], third], axis=1).astype(np.float32)

    score = fair_score(more(known[0]), private=2, strength=1.0)
    fair = score.fair(more(others[0]))
    assert fair.shape == (PEOPLE, 2)
    # One private score after the other: what the second step stirs up of the first is small, not nothing.
    for column in fair.T:
        assert told(column[:, None], others[1]) < 0.56


def test_leakage_sees_another_shape_where_no_rank_does() -> None:
    rng = np.random.default_rng(3)
    labels = rng.random(PEOPLE) < 0.5
    values = np.where(labels, rng.normal(0, 1, PEOPLE), rng.normal(0, 4, PEOPLE))
    assert abs(expected_auroc(values, labels.astype(np.float32)) - 0.5) < 0.02
    assert told(values[:, None].astype(np.float32), labels) > 0.75


def test_ties_count_half() -> None:
    assert expected_auroc(np.zeros(4), np.array([0, 1, 0, 1], np.float32)) == 0.5
    assert expected_auroc(np.array([0, 1, 1, 2]), np.array([0, 0, 1, 1], np.float32)) == 0.875
