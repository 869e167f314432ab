"""Information against closed forms: what is estimated, how far off, and what Fano's inequality makes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")

from scipy.integrate import quad
from scipy.special import log_softmax, xlogy
from scipy.stats import norm, rankdata

from privsdk import UsageError
from privsdk.auditing import information
from privsdk.auditing.information import at_least, entropy, from_cross_entropy, ksg, least_error, local

Sampler = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
"""x and y of so many samples."""
SEEDS = (0, 1, 2)
EXACT = 0.05  # nats


def of_shares(*shares: float) -> float:
    return -float(np.sum(xlogy(shares, shares)))


# x and y are numbers.


def gaussians(correlation: float, dimension: int = 1) -> tuple[Sampler, float]:
    def sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        x, noise = rng.standard_normal((2, count, dimension))
        return x, correlation * x + np.sqrt(1 - correlation**2) * noise

    return sample, -dimension / 2 * np.log(1 - correlation**2)


def uniform_noise(width: float) -> tuple[Sampler, float]:
    """y is x from 0 to 1 and noise up to ``width``, at most 1: H(y) = width / 2, H(y | x) = log(width)."""

    def sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        x, noise = rng.random((2, count))
        return x, x + width * noise

    return sample, width / 2 - np.log(width)


def spikes_and_gaussians(spike: float, correlation: float) -> tuple[Sampler, float]:
    """Both are 3 at once, with probability ``spike``, and else Gaussian."""
    smooth, told = gaussians(correlation)

    def sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = smooth(rng, count)
        spiked = rng.random((count, 1)) < spike
        return np.where(spiked, 3, x), np.where(spiked, 3, y)

    return sample, of_shares(spike, 1 - spike) + (1 - spike) * told


def steps_and_noise(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """x is one of five whole numbers, y up to 2 more (Gao et al. 2017)."""
    steps = rng.integers(0, 5, count)
    return steps.astype(float), steps + 2 * rng.random(count)


def lattice(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Two of thirty whole numbers each, as many pairs as a few samples show."""
    x, y = rng.integers(0, 30, (2, count)).astype(float)
    return x, y


NUMBERS: dict[str, tuple[Sampler, float]] = {
    "independent": gaussians(0.0),
    "correlation .6": gaussians(0.6),
    "correlation .9": gaussians(0.9),
    "correlation .99": gaussians(0.99),
    "correlation .6, 2-d each": gaussians(0.6, 2),
    "correlation .9, 2-d each": gaussians(0.9, 2),
    "independent, 2-d each": gaussians(0.0, 2),
    "uniform noise as wide": uniform_noise(1.0),
    "uniform noise .3": uniform_noise(0.3),
    "spikes and Gaussians": spikes_and_gaussians(0.4, 0.9),
    "steps and noise": (steps_and_noise, np.log(5) - 4 * np.log(2) / 5),
    "independent steps": (lattice, 0.0),
}


# y is a class.


def mixture(means: Sequence[float], shares: Sequence[float], spreads: Sequence[float]) -> tuple[Sampler, float]:
    """A Gaussian for each class, on a line."""

    def sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.choice(len(shares), count, p=shares)
        return np.take(means, y) + np.take(spreads, y) * rng.standard_normal(count), y

    def density_of_all(x: float) -> float:
        return float(np.sum(np.multiply(shares, norm.pdf(x, means, spreads))))

    ends = min(means) - 10 * max(spreads), max(means) + 10 * max(spreads)
    of_all = quad(lambda x: -xlogy(density_of_all(x), density_of_all(x)), *ends, limit=400)[0]
    return sample, of_all - sum(
        share * np.log(spread * np.sqrt(2 * np.pi * np.e)) for share, spread in zip(shares, spreads, strict=True)
    )


def another_spread(factor: float) -> tuple[Sampler, float]:
    """Two round Gaussians in the plane of which one is wider: only the distance from the middle tells."""

    def sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(0, 2, count)
        return rng.standard_normal((count, 2)) * np.where(y, factor, 1.0)[:, None], y

    def density_of_all(r: float) -> float:
        return float(sum(np.exp(-((r / s) ** 2) / 2) / (4 * np.pi * s**2) for s in (1, factor)))

    of_all = quad(lambda r: -2 * np.pi * r * xlogy(density_of_all(r), density_of_all(r)), 0, 12 * factor, limit=400)[0]
    return sample, of_all - np.mean([np.log(2 * np.pi * np.e * s**2) for s in (1, factor)])


def shifted(dimension: int, distance: float) -> tuple[Sampler, float]:
    """As on a line: what is at right angles to the shift tells nothing."""

    def sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(0, 2, count)
        return rng.standard_normal((count, dimension)) + (distance / np.sqrt(dimension) * y)[:, None], y

    return sample, mixture((0.0, distance), (0.5, 0.5), (1.0, 1.0))[1]


def spikes(by_class: tuple[float, float]) -> tuple[Sampler, float]:
    """0 with a probability for each class, else the same exponential distribution for both."""

    def sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(0, 2, count)
        return np.where(rng.random(count) < np.take(by_class, y), 0, rng.exponential(size=count)), y

    mean = float(np.mean(by_class))
    return sample, of_shares(mean, 1 - mean) - float(np.mean([of_shares(one, 1 - one) for one in by_class]))


def apart(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    y = rng.integers(0, 3, count)
    return 2 * y + rng.random(count), y


def several_opinions(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The same score on four scales, and a column that never varies."""
    y = rng.integers(0, 2, count)
    score = rng.standard_normal(count) + 2 * y
    return np.stack([score, np.exp(score), score**3, 5 * score, np.ones(count)], axis=1), y


CLASSES: dict[str, tuple[Sampler, float]] = {
    "two Gaussians": mixture((0, 2), (0.5, 0.5), (1, 1)),
    "one in ten": mixture((0, 1), (0.9, 0.1), (1, 1)),
    "three Gaussians": mixture((0, 2, 4), (0.5, 0.3, 0.2), (1, 1, 2)),
    "no difference": mixture((0, 0), (0.7, 0.3), (1, 1)),
    "another spread": another_spread(3.0),
    "shifted, 4-d": shifted(4, 1.5),
    "independent, 4-d": shifted(4, 0.0),
    "apart": (apart, np.log(3)),
    "spikes": spikes((0.7, 0.2)),
    "several opinions": (several_opinions, mixture((0, 2), (0.5, 0.5), (1, 1))[1]),
}


def errors(estimate: Callable[..., float], sample: Sampler, truth: float, count: int = 4000) -> np.ndarray:
    return np.array([estimate(*sample(np.random.default_rng(seed), count)) - truth for seed in SEEDS])


@pytest.mark.parametrize("estimate", [ksg, local])
@pytest.mark.parametrize("case", [*NUMBERS, *CLASSES])
def test_estimates_are_near_the_closed_form(estimate: Callable[..., float], case: str) -> None:
    sample, truth = (NUMBERS | CLASSES)[case]
    found = errors(estimate, sample, truth)
    assert abs(found.mean()) < EXACT
    assert np.abs(found).max() < 1.5 * EXACT


@pytest.mark.parametrize("width", [3e-4, 1e-4, 1e-6])
def test_a_narrow_band_needs_the_local_correction(width: float) -> None:
    sample, truth = uniform_noise(width)
    assert errors(ksg, sample, truth).max() < -1
    assert np.abs(errors(local, sample, truth)).max() < EXACT


def test_thin_layers_of_classes_need_the_local_axes() -> None:
    """Each class has a layer of its own, next to each other and much nearer than neighbours are."""

    def sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(0, 2, count)
        plane, across = rng.standard_normal((count, 2)), rng.standard_normal(count) + 2 * y
        return np.column_stack([plane, plane @ [1, 2] + 1e-3 * across]), y

    truth = CLASSES["two Gaussians"][1]
    assert errors(ksg, sample, truth).max() < -0.2
    assert np.abs(errors(local, sample, truth)).max() < EXACT


def test_thin_layers_that_are_curved_are_seen() -> None:
    def sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        y, along = rng.integers(0, 2, count), rng.random(count)
        return np.column_stack([along, np.sin(6 * along) + 1e-4 * (y + rng.random(count) / 2)]), y

    assert errors(ksg, sample, 0.0).max() < 0.02
    assert errors(local, sample, np.log(2)).min() > -0.1


@pytest.mark.parametrize("dimension", [1, 4, 8])
@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("estimate", [ksg, local])
def test_where_nothing_is_told_nothing_is_found(estimate: Callable[..., float], share: float, dimension: int) -> None:
    """Whatever columns have in common: as scores of attackers do, they share most of what they say."""
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((2000, 1)) + 0.2 * rng.standard_normal((2000, dimension))
        found.append(estimate(x, rng.random(2000) < share))
    assert np.mean(found) < 0.015


@pytest.mark.parametrize("estimate", [ksg, local])
def test_few_samples(estimate: Callable[..., float]) -> None:
    """In mean over many draws of 20: too small rather than too large."""
    sample, truth = shifted(4, 3.0)
    found = [estimate(*sample(np.random.default_rng(seed), 20)) for seed in range(40)]
    assert 0.3 * truth < np.mean(found) < truth + EXACT
    independent = [estimate(*shifted(4, 0.0)[0](np.random.default_rng(seed), 20)) for seed in range(40)]
    assert np.mean(independent) < 0.1


@pytest.mark.parametrize("estimate", [ksg, local])
def test_what_is_degenerate(estimate: Callable[..., float]) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    x = rng.standard_normal((60, 2))
    assert estimate(np.ones((60, 2)), y) == 0
    assert estimate(x, np.zeros(60, int)) == 0
    assert estimate(x, np.arange(60)) == 0  # nobody shares a class
    assert estimate(x, np.zeros(60)) == 0
    assert estimate(y.astype(float), y) == pytest.approx(entropy(y), abs=0.02)
    assert estimate(x[y], y) == pytest.approx(entropy(y), abs=0.02)  # two samples, many times each
    assert estimate(np.where(y, np.pi, 1e6), y == 1) == pytest.approx(entropy(y), abs=0.02)
    one_of_a_kind = np.r_[y[:-1], 2]
    assert 0 <= estimate(x, one_of_a_kind) <= entropy(one_of_a_kind)
    assert estimate(x[:2], y[:2]) >= 0
    assert estimate(x[:, 0], x[:, 0]) > 2  # there is no limit to what x tells of itself


@pytest.mark.parametrize("estimate", [ksg, local])
def test_the_same_input_gives_the_same_figure(estimate: Callable[..., float]) -> None:
    for sample in (NUMBERS["independent steps"][0], CLASSES["spikes"][0]):
        x, y = sample(np.random.default_rng(3), 500)
        assert estimate(x, y) == estimate(x.copy(), y.copy())
    x, y = NUMBERS["correlation .6, 2-d each"][0](np.random.default_rng(3), 500)
    assert estimate(y, x) == pytest.approx(estimate(x, y), abs=1e-3)


def test_ksg_does_not_mind_the_scale_of_a_column() -> None:
    x, y = CLASSES["shifted, 4-d"][0](np.random.default_rng(4), 1000)
    bent = np.column_stack([np.exp(x[:, 0]), 1e6 * x[:, 1], x[:, 2] ** 3, np.sinh(5 * x[:, 3])])
    assert ksg(bent, y) == ksg(x, y)


def test_local_does_not_mind_how_columns_are_mixed() -> None:
    rng = np.random.default_rng(5)
    x, y = CLASSES["shifted, 4-d"][0](rng, 2000)
    assert local(x @ rng.standard_normal((4, 6)), y) == pytest.approx(local(x, y), abs=0.02)


@pytest.mark.parametrize("estimate", [ksg, local])
def test_four_thousand_samples_take_less_than_three_seconds(estimate: Callable[..., float]) -> None:
    information._uniform.cache_clear()
    rng = np.random.default_rng(6)
    x = rng.standard_normal((4000, 4))
    y = (rng.random(4000) < 0.1).astype(int)
    began = time.perf_counter()
    estimate(x, y)
    estimate(x[:, :2], x[:, 2:])
    assert time.perf_counter() - began < 6


# What an attacker's scores tell at least.


def two_gaussians(seed: int, distance: float, share: float = 0.5, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and the true log-odds of each."""
    rng = np.random.default_rng(seed)
    y = (rng.random(count) < share).astype(int)
    x = rng.standard_normal(count) + distance * y
    return y, distance * x - distance**2 / 2 + np.log(share / (1 - share))


DISTORTED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "true log-odds": lambda scores: scores,
    "ten times as sure": lambda scores: 10 * scores,
    "ranks": rankdata,
    "probabilities": lambda scores: 1 / (1 + np.exp(-scores)),
    "exponential": np.exp,
    "other threshold": lambda scores: scores - 7,
    "always wrong": lambda scores: -scores,
}


@pytest.mark.parametrize("distortion", DISTORTED)
@pytest.mark.parametrize(("distance", "share"), [(0.5, 0.5), (2, 0.5), (4, 0.5), (8, 0.5), (1, 0.1), (3, 0.05)])
def test_scores_tell_what_there_is_on_any_scale(distortion: str, distance: float, share: float) -> None:
    truth = mixture((0, distance), (1 - share, share), (1, 1))[1]
    found = []
    for seed in SEEDS:
        y, log_odds = two_gaussians(seed, distance, share)
        found.append(from_cross_entropy(y, DISTORTED[distortion](log_odds)) - truth)
    assert np.abs(found).max() < EXACT
    assert np.mean(found) < 0.01  # a lower bound, in expectation


@pytest.mark.parametrize("distortion", ["log-probability", "probability", "ranks"])
def test_scores_of_three_classes(distortion: str) -> None:
    rng = np.random.default_rng(7)
    centres = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(0, 3, count)
        x = centres[y] + rng.standard_normal((count, 2))
        return y, log_softmax(-((x[:, None] - centres) ** 2).sum(axis=2) / 2, axis=1)

    y, scores = draw(400_000)
    truth = np.log(3) + scores[np.arange(len(y)), y].mean()
    y, scores = draw(4000)
    distorted = {"log-probability": scores, "probability": np.exp(scores), "ranks": rankdata(scores, axis=0)}
    assert from_cross_entropy(y, distorted[distortion]) == pytest.approx(truth, abs=EXACT)


def test_scores_of_folds_need_no_common_scale() -> None:
    y, scores = two_gaussians(8, 2)
    fold = np.arange(len(y)) % 5
    rescaled = scores * np.array([1, 10, 0.1, 3, 100])[fold] + np.array([0, 5, -5, 40, 0])[fold]
    within = from_cross_entropy(y, rescaled, fold)
    assert within == from_cross_entropy(y, scores, fold)
    assert within == pytest.approx(CLASSES["two Gaussians"][1], abs=EXACT)
    assert from_cross_entropy(y, rescaled) < within - 0.1


def test_scores_that_know_nothing_tell_nothing() -> None:
    rng = np.random.default_rng(9)
    few = [from_cross_entropy(rng.integers(0, 2, 200), rng.standard_normal(200)) for _ in range(40)]
    assert np.mean(few) < 0.01
    # So many classes that what a calibration has learned by heart would show.
    many = [from_cross_entropy(rng.integers(0, 10, 200), rng.standard_normal((200, 10))) for _ in range(10)]
    assert np.mean(many) < 0.01
    assert from_cross_entropy(rng.integers(0, 2, 4000), np.zeros(4000)) < 1e-3


def test_scores_of_twenty_samples() -> None:
    found = []
    for seed in range(40):
        y, scores = two_gaussians(seed, 3, count=20)
        found.append(from_cross_entropy(y, scores))
    truth = mixture((0, 3), (0.5, 0.5), (1, 1))[1]
    assert 0.5 * truth < np.mean(found) < truth
    only_once = np.r_[1, np.zeros(19, int)]
    assert from_cross_entropy(only_once, np.arange(20.0)) < entropy(only_once)


def test_scores_with_a_certain_attacker() -> None:
    y = np.arange(1000) % 2
    assert from_cross_entropy(y, np.where(y, np.inf, -np.inf)) == pytest.approx(np.log(2), abs=0.02)
    assert from_cross_entropy(y == 1, 2.0 * y - 1) == pytest.approx(np.log(2), abs=0.02)


def test_the_three_agree_on_what_one_score_tells() -> None:
    y, scores = two_gaussians(10, 1.5, 0.3)
    bound, *estimates = from_cross_entropy(y, scores), ksg(scores, y), local(scores, y)
    assert estimates == pytest.approx([bound, bound], abs=EXACT)


# Fano's inequality.


def test_entropy() -> None:
    assert entropy(np.arange(8)) == pytest.approx(np.log(8))
    assert entropy(np.array([3, 3, 3])) == 0
    assert entropy(np.array(["a", "b", "b", "b"])) == pytest.approx(of_shares(0.25, 0.75))


def test_least_error_has_known_values() -> None:
    assert least_error(0, np.log(2), 2) == pytest.approx(0.5)
    assert least_error(np.log(2), np.log(2), 2) == 0
    assert least_error(0.5 * np.log(2), np.log(2), 2) == pytest.approx(0.110028, abs=1e-6)  # h(.110028) = 1/2 bit
    assert least_error(0, np.log(10), 10) == pytest.approx(0.9)
    assert least_error(-0.01, np.log(10), 10) == pytest.approx(0.9)
    assert least_error(0, of_shares(0.9, 0.1), 2) == pytest.approx(0.1)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_fano_binds_where_every_wrong_guess_is_as_likely(classes: int) -> None:
    for error in np.linspace(0.01, 1 - 1 / classes, 9):
        truth = np.log(classes) - of_shares(1 - error, *[error / (classes - 1)] * (classes - 1))
        assert least_error(truth, np.log(classes), classes) == pytest.approx(error, abs=1e-6)
        assert at_least(error, np.log(classes), classes) == pytest.approx(truth, abs=1e-9)


@pytest.mark.parametrize(("classes", "share"), [(2, 0.5), (2, 0.2), (5, 0.2), (5, 0.5)])
def test_fano_both_ways_is_the_same(classes: int, share: float) -> None:
    there = of_shares(share, *[(1 - share) / (classes - 1)] * (classes - 1))
    told = np.linspace(0, there, 20)
    error = [least_error(one, there, classes) for one in told]
    assert np.all(np.diff(error) < 0)
    assert [at_least(one, there, classes) for one in error] == pytest.approx(list(told), abs=1e-9)


@pytest.mark.parametrize("distance", [0.1, 0.5, 1, 2, 4, 6])
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_nobody_errs_less_often_than_fano_says(distance: float, share: float) -> None:
    truth, there = mixture((0, distance), (1 - share, share), (1, 1))[1], of_shares(share, 1 - share)
    threshold = distance / 2 + np.log((1 - share) / share) / distance
    best = (1 - share) * norm.sf(threshold) + share * norm.cdf(threshold - distance)
    assert least_error(truth, there, 2) <= best + 1e-9
    assert at_least(best, there, 2) <= truth + 1e-9
    y, log_odds = two_gaussians(11, distance, share)
    found = float(np.mean((log_odds > 0) != y))
    assert least_error(ksg(log_odds, y), entropy(y), 2) <= found + 0.03


# What cannot be answered.


@pytest.mark.parametrize(
    "call",
    [
        lambda: entropy(np.zeros((3, 2))),
        lambda: entropy(np.array([])),
        lambda: ksg(np.zeros(3), np.zeros(4)),
        lambda: ksg(np.zeros((3, 2, 2)), np.zeros(3)),
        lambda: local(np.zeros(1), np.zeros(1)),
        lambda: local(np.array([0, np.nan, 1]), np.array([0, 1, 1])),
        lambda: ksg(np.arange(3.0), np.array([0, 1, 1]), neighbours=0),
        lambda: from_cross_entropy(np.array([0, 1, 2]), np.zeros(3)),
        lambda: from_cross_entropy(np.array([0, 1, -1]), np.zeros(3)),
        lambda: from_cross_entropy(np.array([0.0, 1.0]), np.zeros(2)),
        lambda: from_cross_entropy(np.array([0, 1]), np.zeros(3)),
        lambda: from_cross_entropy(np.array([0, 1]), np.array([0, np.nan])),
        lambda: from_cross_entropy(np.array([0, 1]), np.zeros(2), np.zeros(3)),
        lambda: least_error(0, 0.5, 1),
        lambda: least_error(0, 0.8, 2),
        lambda: at_least(1.1, 0.5, 2),
    ],
)
def test_what_cannot_be_answered_is_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(UsageError):
        call()
