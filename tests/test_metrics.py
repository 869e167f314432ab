"""The measures against their definitions, brute force and known values."""

from __future__ import annotations

import numpy as np
import pytest

from privsdk.auditing import metrics
from privsdk.auditing.ceilings import label_ceiling, zero_leakage_accuracy
from privsdk.auditing.metrics import Estimate


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    labels = (generator.random(300) < 0.3).astype(np.uint8)
    scores = np.round(generator.normal(size=300) + labels, 1)  # with equal scores among them
    return labels, scores


def by_pairs(labels: np.ndarray, scores: np.ndarray) -> float:
    difference = scores[labels == 1][:, None] - scores[labels == 0][None]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def test_auroc_counts_pairs(scored: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = scored
    assert metrics.auroc(labels, scores) == pytest.approx(by_pairs(labels, scores))


def test_auroc_with_weights_is_that_of_repeated_samples(scored: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = scored
    weights = np.random.default_rng(2).integers(0, 4, (3, len(labels)))
    expected = [by_pairs(labels.repeat(times), scores.repeat(times)) for times in weights]
    assert metrics.auroc(labels, scores, weights) == pytest.approx(expected)


def test_auroc_in_strata_ignores_their_scales(scored: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = scored
    strata = np.arange(len(labels)) % 3
    shifted = scores + 100 * strata
    assert metrics.auroc(labels, shifted, strata=strata) == pytest.approx(metrics.auroc(labels, scores, strata=strata))


def test_auroc_without_pairs_is_not_a_number() -> None:
    assert np.isnan(metrics.auroc(np.ones(4), np.arange(4.0)))


def test_a_wrong_attacker_leaks_as_much_as_a_right_one(scored: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = scored
    assert metrics.leakage(labels, -scores) == pytest.approx(metrics.leakage(labels, scores))
    assert metrics.leakage(labels, scores) > 0.5


def test_accuracies() -> None:
    labels = np.array([1, 1, 1, 0])
    scores = np.array([2.0, 1.0, -1.0, -1.0])
    assert metrics.accuracy(labels, scores) == pytest.approx(3 / 4)
    assert metrics.balanced_accuracy(labels, scores) == pytest.approx((2 / 3 + 1) / 2)
    assert metrics.accuracy(labels, scores, np.array([1, 1, 0, 0])) == 1
    assert metrics.balanced_accuracy(labels, scores, threshold=1.5) == pytest.approx((1 / 3 + 1) / 2)


def test_best_threshold_against_all_of_them(scored: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = scored
    candidates = np.r_[-100, np.unique(scores), 100]
    best = max(metrics.balanced_accuracy(labels, scores, threshold=one) for one in candidates)
    found = metrics.best_threshold(labels, scores)
    assert metrics.balanced_accuracy(labels, scores, threshold=found) == pytest.approx(best)


def test_calibration_error() -> None:
    generator = np.random.default_rng(3)
    log_odds = generator.normal(size=20_000) * 2
    labels = generator.random(20_000) < 1 / (1 + np.exp(-log_odds))
    assert metrics.calibration_error(labels, log_odds) < 0.015
    assert metrics.calibration_error(labels, 3 * log_odds) > 0.08


def test_people_are_resampled_whole() -> None:
    identity = np.array([7, 7, 7, 2, 2, 9])
    weights = metrics.resampled(identity, draws=50, seed=4)
    assert weights.shape == (50, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 4]).all()
    assert (weights[:, 0] + weights[:, 3] + weights[:, 5] == 3).all()


def test_interval_covers_the_truth() -> None:
    """Of 95% intervals about 95 in 100 hold the truth, where people are right or wrong as a whole."""
    generator = np.random.default_rng(5)
    identity = np.repeat(np.arange(100), 10)
    covered = 0
    for seed in range(60):
        right = generator.random(100)[identity] < 0.8
        draws = metrics.accuracy(np.ones(1000), np.where(right, 1.0, -1.0), metrics.resampled(identity, 200, seed))
        low, high = Estimate(float(right.mean()), draws).interval
        covered += low <= 0.8 <= high
    assert covered >= 50


def test_paired_differences_are_narrower() -> None:
    generator = np.random.default_rng(6)
    labels = generator.random(2000) < 0.5
    before = np.where(labels, 1.0, -1.0) + generator.normal(size=2000)
    after = before + 0.05 * generator.normal(size=2000)
    weights = metrics.resampled(np.arange(2000), 300)
    one, other = (
        Estimate(float(metrics.accuracy(labels, scores)), metrics.accuracy(labels, scores, weights))
        for scores in (before, after)
    )
    unpaired = one.interval[1] - one.interval[0]
    low, high = (one - other).interval
    assert high - low < unpaired / 2
    assert Estimate.mean([one, other]).value == pytest.approx((one.value + other.value) / 2)


def test_label_ceiling_is_the_closed_form_for_two_binary_labels() -> None:
    generator = np.random.default_rng(7)
    private = generator.random(5000) < 0.4
    utility = generator.random(5000) < np.where(private, 0.35, 0.6)
    expected = 0.5 + abs(utility[private].mean() - utility[~private].mean()) / 2
    assert label_ceiling(private, utility) == pytest.approx(expected)


def test_label_ceiling_of_two_labels_together() -> None:
    generator = np.random.default_rng(8)
    utility = generator.random((5000, 2)) < 0.5
    private = utility[:, 0] ^ utility[:, 1]
    assert label_ceiling(private, utility[:, 0]) < 0.53
    assert label_ceiling(private, utility) == 1


def test_label_ceiling_of_many_classes_is_that_of_the_class_told_best() -> None:
    private = np.repeat([0, 1, 2], 40)
    utility = (private == 2).astype(int)
    utility[:10] = 1
    assert label_ceiling(private, utility) == label_ceiling(private == 2, utility)
    drawn = label_ceiling(private, utility, np.ones((3, len(private))))
    assert drawn == pytest.approx([label_ceiling(private, utility)] * 3)


def test_zero_leakage_accuracy_is_that_of_the_best_decision_of_one_rate() -> None:
    generator = np.random.default_rng(5)
    private = generator.choice(3, 3000, p=[0.5, 0.3, 0.2])
    rates = np.array([0.2, 0.5, 0.9])
    utility = (generator.random(3000) < rates[private]).astype(int)
    shares = np.bincount(private) / len(private)
    found = np.array([utility[private == one].mean() for one in range(3)])
    of_each_rate = [1 - shares @ np.abs(found - rate) for rate in np.linspace(0, 1, 1001)]
    assert zero_leakage_accuracy(private, utility) == pytest.approx(max(of_each_rate), abs=1e-3)
    two = private[private > 0]
    differ = abs(found[1] - found[2])
    least = min(np.mean(two == 1), np.mean(two == 2)) * differ
    assert zero_leakage_accuracy(two, utility[private > 0]) == pytest.approx(1 - least)
