"""The filters the default one is compared with: what is known of each, attacked afresh, and what holds for all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from privsdk import filters
from privsdk.arrays import pack, unpack
from privsdk.auditing.attackers import Attacker, LogisticRegression, QuadraticDiscriminant, StandardisedPerceptron
from privsdk.auditing.ceilings import label_ceiling
from privsdk.auditing.metrics import leakage
from privsdk.errors import PrivatizerError, UnworkablePairError, UsageError
from privsdk.filters.newton import onto
from privsdk.filters.scores import ScoreNetwork, draw_classes
from privsdk.fitting.barycentre import barycentre, transport
from privsdk.fitting.comparison import (
    fit_erasure,
    fit_gaussian_mechanism,
    fit_optimal_transport,
    fit_rank_resample,
    train_label_scores,
)
from privsdk.fitting.data import FitData

SIZE = 6
USED = np.arange(SIZE) != 4
VARIANCE = 0.02
ATTACKERS = (LogisticRegression, QuadraticDiscriminant, StandardisedPerceptron)
SHIFT = 1.5  # of the private classes along the first dimension, either way
TIE = 0.2  # how much likelier the utility label is in the second private class


def with_latents(x: NDArray[np.float64], private: NDArray[np.int64], classes: int, utility: NDArray) -> FitData:
    """Latents drawn about ``x``, whose last spread is the posterior's; one dimension is unused."""
    return FitData(
        np.where(USED, x, 0).astype(np.float32),
        np.where(USED, VARIANCE, 1).astype(np.float32) * np.ones((len(x), 1), np.float32),
        private,
        classes,
        utility.astype(np.float32)[:, None],
        USED,
    )


def shifted(count: int = 6000, seed: int = 0) -> FitData:
    """Gaussians of one covariance: private classes apart along the first dimension, utility classes along the second.

    With the posterior's variance each dimension has variance 1.
    """
    rng = np.random.default_rng(seed)
    private = rng.integers(0, 2, count)
    utility = rng.random(count) < np.where(private == 1, 0.5 + TIE, 0.5 - TIE)
    x = np.sqrt(1 - VARIANCE) * rng.normal(size=(count, SIZE))
    x[:, 0] += SHIFT * (2 * private - 1)
    x[:, 1] += 2 * (2 * utility - 1)
    return with_latents(x, private, 2, utility)


def stretched(count: int = 6000, seed: int = 0) -> FitData:
    """The private class tells in scale alone: twice the spread in two dimensions, and a correlation."""
    rng = np.random.default_rng(seed)
    private = rng.integers(0, 2, count)
    utility = rng.random(count) < 0.5
    x = rng.normal(size=(count, SIZE))
    x[private == 1, 0] *= 2
    x[private == 1, 2] = 1.6 * x[private == 1, 2] + x[private == 1, 0]
    x[:, 1] += 2 * (2 * utility - 1)
    return with_latents(x, private, 2, utility)


def three_classes(count: int = 6000, seed: int = 0) -> FitData:
    """Three private classes; the utility label is true of the first alone, so not every pair of classes occurs."""
    rng = np.random.default_rng(seed)
    private = rng.choice(3, count, p=[0.4, 0.3, 0.3])
    x = 0.7 * rng.normal(size=(count, SIZE))
    x[:, 0] += np.array([0.0, 2.0, -2.0])[private]
    x[:, 1] += np.where(private == 0, 2.5, -2.5)
    return with_latents(x, private, 3, private == 0)


def linear_scores(*columns: dict[int, float]) -> ScoreNetwork:
    """Scores that are sums of latent dimensions with these weights."""
    skip = np.zeros((SIZE, len(columns)), np.float32)
    for column, weights in enumerate(columns):
        for dimension, weight in weights.items():
            skip[dimension, column] = weight

    def zeros(*shape: int) -> NDArray[np.float32]:
        return np.zeros(shape, np.float32)

    ones = np.ones(len(columns), np.float32)
    return ScoreNetwork(
        zeros(SIZE),
        USED.astype(np.float32),
        skip,
        zeros(SIZE, 1),
        zeros(1),
        zeros(1, len(columns)),
        zeros(len(columns)),
        ones,
    )


# The log-odds of two Gaussians of variance 1 that are shifted by m either way are 2 m x.
SCORES = linear_scores({0: 2 * SHIFT}, {1: 4.0})


# Nearly the log-odds of each of the three classes against the rest, and of the utility label.
THREE_SCORES = linear_scores({1: 8.0}, {0: 8.0, 1: -4.0}, {0: -8.0, 1: -4.0}, {1: 8.0})


def released(fitted: filters.Filter, data: FitData, first: int = 0) -> NDArray[np.float32]:
    seeds = np.arange(first, first + len(data), dtype=np.uint64)
    return fitted.perturb(data.mean, data.variance, seeds, data.private if fitted.label_aware else None)


def told(attacker: type[Attacker], z: NDArray[np.float32], labels: NDArray[np.integer]) -> float:
    """The leakage that an attacker trained afresh on the first half of the releases finds in the second."""
    half = len(z) // 2
    return float(leakage(labels[half:], attacker(0).fit(z[:half], labels[:half]).score(z[half:])))


def strongest(z: NDArray[np.float32], labels: NDArray[np.integer]) -> float:
    return max(told(attacker, z, labels) for attacker in ATTACKERS)


FITS: dict[str, Callable[[FitData], filters.Filter]] = {
    "gaussian-mechanism": lambda data: fit_gaussian_mechanism(data, 20.0, 1e-5),
    "erasure": fit_erasure,
    "optimal-transport": lambda data: fit_optimal_transport(data, SCORES),
    "optimal-transport drawn": lambda data: fit_optimal_transport(data, SCORES, within="drawn"),
    "optimal-transport everyone": lambda data: fit_optimal_transport(data, SCORES, within="everyone"),
    "optimal-transport label-aware": lambda data: fit_optimal_transport(data, SCORES, label_aware=True),
    "rank-resample": lambda data: fit_rank_resample(data, SCORES),
    "rank-resample label-aware": lambda data: fit_rank_resample(data, SCORES, label_aware=True),
}


@pytest.fixture(scope="module")
def data() -> FitData:
    return shifted(2000)


@pytest.fixture(scope="module", params=FITS)
def fitted(request: pytest.FixtureRequest, data: FitData) -> filters.Filter:
    return FITS[request.param](data)


def test_every_filter_comes_back_from_its_file(fitted: filters.Filter, data: FitData) -> None:
    arrays, settings = unpack(pack(fitted.arrays(), fitted.settings()))
    loaded = filters.load(fitted.kind, settings, arrays)
    assert loaded.label_aware == fitted.label_aware
    assert loaded.settings() == json.loads(json.dumps(fitted.settings()))
    z = released(fitted, data)
    assert z.dtype == np.float32
    assert np.array_equal(released(loaded, data), z)


def test_every_changed_file_is_refused(fitted: filters.Filter) -> None:
    arrays, settings = fitted.arrays(), fitted.settings()
    for name, array in arrays.items():
        for changed in (None, array[:-1], np.concatenate([array, array[:1]]), array[None]):
            others = {other: kept for other, kept in arrays.items() if other != name}
            with pytest.raises(PrivatizerError, match="again"):
                filters.load(fitted.kind, settings, others if changed is None else {**others, name: changed})
    if settings:
        with pytest.raises(PrivatizerError, match="damaged"):
            filters.load(fitted.kind, {}, arrays)


def test_a_row_is_released_alike_whatever_is_beside_it(fitted: filters.Filter, data: FitData) -> None:
    seeds = np.arange(len(data), dtype=np.uint64)
    together = released(fitted, data)
    for rows in (slice(7, 8), slice(100, 130)):
        alone = fitted.perturb(data.mean[rows], data.variance[rows], seeds[rows], data.private[rows])
        assert np.allclose(alone, together[rows], atol=1e-4)
    assert np.abs(released(fitted, data, first=5000) - together).max(axis=1).min() > 1e-3
    assert len(fitted.perturb(data.mean[:0], data.variance[:0], seeds[:0], data.private[:0])) == 0


def test_unused_dimensions_leave_as_fresh_noise(fitted: filters.Filter, data: FitData) -> None:
    telling = data.mean.copy()
    telling[:, ~USED] = 100
    seeds = np.arange(len(data), dtype=np.uint64)
    z = fitted.perturb(telling, data.variance, seeds, data.private)
    assert np.array_equal(z, fitted.perturb(data.mean, data.variance, seeds, data.private))
    assert z[:, ~USED].std() == pytest.approx(1, abs=0.06)


def test_inputs_that_do_not_fit_are_refused(fitted: filters.Filter, data: FitData) -> None:
    seeds = np.arange(len(data), dtype=np.uint64)
    with pytest.raises(UsageError, match="shape"):
        fitted.perturb(data.mean[:, 1:], data.variance[:, 1:], seeds, data.private)
    with pytest.raises(UsageError, match="seeds"):
        fitted.perturb(data.mean, data.variance, seeds[1:], data.private)
    if fitted.label_aware:
        with pytest.raises(UsageError, match="label-aware"):
            fitted.perturb(data.mean, data.variance, seeds)
        with pytest.raises(UsageError, match="must lie in"):
            fitted.perturb(data.mean, data.variance, seeds, data.private + 1)


@pytest.mark.parametrize("name", FITS)
def test_the_same_data_and_seed_give_the_same_filter(name: str, data: FitData) -> None:
    first, again = FITS[name](data), FITS[name](data)
    assert first.settings() == again.settings()
    assert all(np.array_equal(array, again.arrays()[key]) for key, array in first.arrays().items())


def test_leace_leaves_nothing_linear() -> None:
    data, others = shifted(), shifted(seed=1)
    fitted = fit_erasure(data)
    assert told(LogisticRegression, others.draw(0), others.private) > 0.95
    z = released(fitted, others)
    assert told(LogisticRegression, z, others.private) < 0.53
    # The one linear map to the label's mean that is left is none: exactly on the draw that it was fitted on.
    drawn = data.draw(0)
    kept = drawn - (drawn - fitted.mean) @ fitted.matrix
    apart = kept[data.private == 1].mean(axis=0) - kept[data.private == 0].mean(axis=0)
    assert np.abs(apart[USED]).max() < 1e-4
    assert told(LogisticRegression, z, others.utility[:, 0]) > 0.9
    assert np.linalg.matrix_rank(fitted.matrix) == 1


def test_leace_erases_of_a_rare_class_what_there_is() -> None:
    rng = np.random.default_rng(0)
    private = (rng.random(20_000) < 0.02).astype(np.int64)
    x = rng.normal(size=(len(private), SIZE))
    x[:, 0] += 0.4 * private
    data = with_latents(x, private, 2, rng.random(len(private)) < 0.5)
    fitted = fit_erasure(data)
    drawn = data.draw(0)
    kept = drawn - (drawn - fitted.mean) @ fitted.matrix
    assert np.abs((kept[private == 1].mean(axis=0) - kept[private == 0].mean(axis=0))[USED]).max() < 1e-4


def test_leace_leaves_what_is_told_by_scale_and_transport_does_not() -> None:
    data, others = stretched(), stretched(seed=1)
    before = told(QuadraticDiscriminant, others.draw(0), others.private)
    assert before > 0.75
    # Nothing linear is there: LEACE takes out one direction at random.
    assert told(QuadraticDiscriminant, released(fit_erasure(data), others), others.private) > before - 0.1
    fitted = fit_optimal_transport(data, linear_scores({}, {1: 4.0}), label_aware=True)
    z = released(fitted, others)
    assert strongest(z, others.private) < 0.53
    assert told(LogisticRegression, z, others.utility[:, 0]) > 0.97


@pytest.mark.parametrize("within", ["likeliest", "drawn"])
def test_transport_leaves_what_the_utility_class_tells(within: str) -> None:
    data, others = shifted(8000), shifted(8000, seed=1)
    ceiling = label_ceiling(others.private, others.utility)
    z = released(fit_optimal_transport(data, SCORES, True, within), others)
    assert ceiling == pytest.approx(0.5 + TIE, abs=0.02)
    assert ceiling - 0.05 < strongest(z, others.private) < ceiling + 0.02
    assert told(LogisticRegression, z, others.utility[:, 0]) > 0.97


def test_transport_of_everyone_leaves_nothing_of_gaussians() -> None:
    rng = np.random.default_rng(0)
    private = rng.integers(0, 2, 8000)
    x = rng.normal(size=(len(private), SIZE)) @ np.where(np.eye(SIZE) > 0, 1, rng.normal(0, 0.4, (SIZE, SIZE)))
    x[private == 1] = 1.5 * x[private == 1] + 1.0
    data = with_latents(x, private, 2, rng.random(len(x)) < 1 / (1 + np.exp(-4 * x[:, 1])))
    z = released(fit_optimal_transport(data, SCORES, True, "everyone"), data)
    assert strongest(data.draw(0), private) > 0.85
    assert strongest(z, private) < 0.53
    # The utility label loses what it has in common with the private one, and no more.
    before, after = (told(StandardisedPerceptron, latents, data.utility[:, 0]) for latents in (data.draw(0), z))
    assert before - 0.1 < after < before - 0.01


def test_transport_that_draws_the_class_leaves_what_theory_says() -> None:
    rng = np.random.default_rng(0)
    private = rng.integers(0, 2, 16_000)
    shift = 1.0
    x = np.sqrt(1 - VARIANCE) * rng.normal(size=(len(private), SIZE))
    x[:, 0] += shift * (2 * private - 1)
    variance = np.where(USED, 0, 1).astype(np.float32) * np.ones((len(x), 1), np.float32)
    data = replace(with_latents(x, private, 2, rng.random(len(x)) < 0.5), variance=variance)
    scale = 1 / (1 - VARIANCE)
    scores = linear_scores({0: 2 * shift * scale}, {})
    z = released(fit_optimal_transport(data, scores, within="everyone", floor=1e-6), data)

    # z~ ~ N(0, 1) came from z~ - shift or z~ + shift, with a half each, and the label was told by where it came from.
    spread = np.sqrt(1 - VARIANCE)
    grid = np.linspace(-5, 5, 2001)
    density = np.exp(-(grid**2) / 2)
    likely = sum(0.5 / (1 + np.exp(-2 * shift * scale * (spread * grid + side))) for side in (-shift, shift))
    ones, zeros = density * likely, density * (1 - likely)
    area = np.sum(ones * (np.cumsum(zeros) - zeros / 2)) / (ones.sum() * zeros.sum())
    assert area > 0.6
    assert told(LogisticRegression, z, private) == pytest.approx(area, abs=0.02)
    # The mean of the maps is z less a multiple of the probability: read by whoever inverts it.
    assert told(LogisticRegression, data.draw(0), private) > area + 0.1


def test_transport_knows_pairs_of_classes_that_do_not_occur() -> None:
    data, others = three_classes(), three_classes(seed=1)
    fitted = fit_optimal_transport(data, THREE_SCORES, label_aware=True, within="drawn")
    assert fitted.there.tolist() == [[False, True], [True, False], [True, False]]
    z = released(fitted, others)
    assert told(LogisticRegression, z, others.utility[:, 0]) > 0.99
    rest = others.private > 0
    assert strongest(z[rest], others.private[rest] - 1) < 0.54
    free = released(fit_optimal_transport(data, THREE_SCORES), others)
    assert strongest(free[rest], others.private[rest] - 1) < 0.7


def test_rank_resample_leaves_what_the_utility_score_tells() -> None:
    data, others = shifted(8000), shifted(8000, seed=1)
    fitted = fit_rank_resample(data, SCORES, label_aware=True)
    z = released(fitted, others)
    utility_score = SCORES.scores(others.mean)[:, 1]
    ceiling = float(leakage(others.private, utility_score))
    assert strongest(others.draw(0), others.private) > 0.97
    assert strongest(z, others.private) < ceiling + 0.02
    assert np.abs(SCORES.scores(z)[:, 1] - np.clip(utility_score, -12, 12)).max() < 0.01
    shares = [0.1, 0.3, 0.7, 0.9]
    assert np.quantile(SCORES.scores(z)[:, 0], shares) == pytest.approx(
        np.quantile(SCORES.scores(others.mean)[:, 0], shares), abs=0.8
    )
    # Of a label that nobody gives the least typical are taken for either class, and no more than that is left.
    assert strongest(released(fit_rank_resample(data, SCORES), others), others.private) < ceiling + 0.03


def test_a_rank_is_kept_within_the_class() -> None:
    data = shifted(4000)
    fitted = fit_rank_resample(data, SCORES, label_aware=True)
    scores = np.clip(SCORES.scores(data.mean), -12, 12)
    target = fitted.targets(scores, data.private, np.arange(len(data), dtype=np.uint64))
    typical = np.abs(scores[:, 0])
    assert np.corrcoef(typical, np.abs(target[:, 0]))[0, 1] > 0.9
    entered = target[:, 0] > 0
    assert 0.2 < np.mean(entered[data.private == 0]) < 0.5
    assert np.isin(target[:, 0], fitted.population[:, 0]).all()


def test_rank_resample_of_three_classes() -> None:
    data = three_classes(3000)
    fitted = fit_rank_resample(data, THREE_SCORES, label_aware=True)
    z = released(fitted, data)
    rest = data.private > 0
    assert strongest(data.draw(0)[rest], data.private[rest] - 1) > 0.99
    assert strongest(z[rest], data.private[rest] - 1) < 0.55


def test_steps_along_the_gradient_are_the_shortest() -> None:
    z = np.random.default_rng(0).normal(size=(50, SIZE)).astype(np.float32)
    target = SCORES.scores(z) + np.array([2.0, 0.0], np.float32)
    moved = onto(SCORES, z, target)
    assert np.allclose(SCORES.scores(moved), target, atol=2e-3)
    assert np.allclose(moved - z, [2 / (2 * SHIFT), 0, 0, 0, 0, 0], atol=1e-3)
    # Two scores that are one cannot both be had: the steps end midway.
    twice = linear_scores({0: 1.0}, {0: 1.0})
    moved = onto(twice, z, np.broadcast_to(np.array([1.0, 3.0], np.float32), (50, 2)))
    assert np.allclose(moved[:, 0], 2, atol=1e-3)


def test_classes_are_drawn_as_often_as_they_are_likely() -> None:
    uniform = (np.arange(10_000) + 0.5) / 10_000
    likely = np.broadcast_to([0.0, 1.0, 0.0, 3.0, 0.0], (len(uniform), 5))
    assert np.bincount(draw_classes(likely, uniform), minlength=5).tolist() == [0, 2500, 0, 7500, 0]
    edges = draw_classes(likely[:2], np.array([0.0, 1 - 2.0**-53]))
    assert edges.tolist() == [1, 3]


def test_the_barycentre_and_the_maps_to_it() -> None:
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(3, 4, 4))
    covariances = roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(4)
    weights = np.array([0.5, 0.3, 0.2])
    common = barycentre(covariances, weights)
    maps = [transport(covariance, common) for covariance in covariances]
    for covariance, to_common in zip(covariances, maps, strict=True):
        assert np.allclose(to_common @ covariance @ to_common, common)
    # At the barycentre the maps back average to the identity (Agueh and Carlier 2011).
    back = sum(weight * np.linalg.inv(to_common) for weight, to_common in zip(weights, maps, strict=True))
    assert np.allclose(back, np.eye(4), atol=1e-6)
    axes = np.exp(rng.normal(size=(3, 4)))
    straight = barycentre(np.stack([np.diag(one**2) for one in axes]), weights)
    assert np.allclose(straight, np.diag((weights @ axes) ** 2))


def test_scores_of_any_labels_can_be_trained() -> None:
    data, others = three_classes(3000), three_classes(2000, seed=1)
    scores = train_label_scores(data)
    assert scores.fits(SIZE, 4)
    said = scores.scores(others.mean)
    assert all(leakage((others.private == one).astype(int), said[:, one]) > 0.97 for one in range(3))
    assert np.array_equal(train_label_scores(data).scores(others.mean), said)
    assert train_label_scores(shifted(1000)).fits(SIZE, 2)


def test_labels_that_cannot_be_served_are_refused(data: FitData) -> None:
    rare = np.zeros_like(data.private)
    rare[:9] = 1
    never = np.zeros_like(data.utility)
    refused = {
        "nothing to hide": replace(data, private=0 * data.private),
        "9 samples": replace(data, private=rare),
        "has 0 samples": replace(data, private_classes=3),
        "nothing to keep": replace(data, utility=never),
        "the utility label has 9 samples": replace(data, utility=rare[:, None].astype(np.float32)),
        "utility label 2": replace(data, utility=np.concatenate([data.utility, never], axis=1)),
        "one cannot be kept": replace(data, utility=1 - data.private[:, None].astype(np.float32)),
    }
    for reason, unworkable in refused.items():
        for fit in FITS.values():
            with pytest.raises(UnworkablePairError, match=reason):
                fit(unworkable)
    replace(data, private=rare).check_workable(least=9)
    replace(data, private_classes=3).check_workable(least=0)
    # What the utility label follows from, but does not tell, can be hidden.
    three_classes(500).check_workable()


def test_arguments_that_do_not_fit_are_refused(data: FitData) -> None:
    with pytest.raises(UsageError, match="the scores must be"):
        fit_optimal_transport(data, SCORES.only([0]))
    with pytest.raises(UsageError, match="the scores must be"):
        fit_rank_resample(data, linear_scores({0: 1.0}, {1: 1.0}, {1: 1.0}))
    with pytest.raises(UsageError, match="noise floor"):
        fit_optimal_transport(data, SCORES, floor=0.0)
