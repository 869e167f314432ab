"""The Gaussian mechanism: its noise against numerical integration, its clipping against hostile latents."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from privsdk.errors import PrivatizerError, UsageError
from privsdk.filters import divergences
from privsdk.filters.gaussian_mechanism import (
    GaussianMechanism,
    analytic_sigma,
    delta_reached,
    least_budget,
    theorem_sigma,
)
from privsdk.fitting.comparison import fit_gaussian_mechanism
from privsdk.fitting.data import FitData

SIZE = 5
USED = np.arange(SIZE) != 3


def mechanism(epsilon: float = 0.8, delta: float = 1e-3, radius: float = 2.0) -> GaussianMechanism:
    centre = np.where(USED, 0.5, 0).astype(np.float32)
    return GaussianMechanism(centre, USED, radius, analytic_sigma(epsilon, delta, 2 * radius), epsilon, delta)


def at(*points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means at these points, and no variance."""
    mean = np.stack(points).astype(np.float32)
    return mean, np.zeros_like(mean)


@pytest.mark.parametrize("case", range(10))
def test_delta_is_the_hockey_stick_divergence(case: int) -> None:
    rng = np.random.default_rng(case)
    sigma, epsilon, sensitivity = (float(np.exp(rng.uniform(low, high))) for low, high in ((-1, 1), (-3, 1.5), (-1, 1)))

    def excess(x: float) -> float:
        return max(float(norm.pdf(x, sensitivity, sigma) - math.exp(epsilon) * norm.pdf(x, 0, sigma)), 0)

    crossing = sensitivity / 2 + epsilon * sigma**2 / sensitivity  # beyond it the first is the larger
    integral = quad(excess, crossing, max(crossing, sensitivity) + 12 * sigma, epsabs=1e-14, limit=200)[0]
    assert delta_reached(sigma, epsilon, sensitivity) == pytest.approx(integral, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("epsilon", [1e-3, 0.5, 0.99, 5.0, 800.0])
@pytest.mark.parametrize("delta", [1e-2, 1e-9])
def test_the_analytic_noise_is_enough_and_no_more(epsilon: float, delta: float) -> None:
    sigma = analytic_sigma(epsilon, delta, 3.0)
    assert delta_reached(sigma, epsilon, 3.0) <= delta < delta_reached(0.999 * sigma, epsilon, 3.0)
    assert analytic_sigma(epsilon, delta, 6.0) == pytest.approx(2 * sigma)
    if epsilon < 1:
        assert sigma < theorem_sigma(epsilon, delta, 3.0)


def test_theorem_6_1() -> None:
    assert theorem_sigma(0.5, 1e-5, 2.0) == pytest.approx(math.sqrt(2 * math.log(125_000)) * 2 / 0.5)
    with pytest.raises(UsageError, match="below 1"):
        theorem_sigma(1.0, 1e-5, 2.0)


@pytest.mark.parametrize("arguments", [(0, 1e-5, 1), (1, 0, 1), (1, 1, 1), (1, 1e-5, 0), (math.nan, 1e-5, 1)])
def test_what_is_out_of_range_is_refused(arguments: tuple[float, float, float]) -> None:
    for calibration in (analytic_sigma, theorem_sigma):
        with pytest.raises(UsageError, match="epsilon"):
            calibration(*arguments)


def test_the_budget_of_the_noise_is_its_divergence() -> None:
    rng = np.random.default_rng(0)
    variance = np.exp(rng.normal(size=(20, 4)))
    budget = least_budget(0.7, variance)
    assert np.allclose(budget, divergences.kl(np.zeros((20, 4)), variance, 0.7 * np.eye(4)))

    def integrand(x: float) -> float:
        wide = norm(0, math.sqrt(variance[0, 0] + 0.7**2))
        return float(wide.pdf(x) * (wide.logpdf(x) - norm.logpdf(x, 0, math.sqrt(variance[0, 0]))))

    assert least_budget(0.7, variance[:1, :1])[0] == pytest.approx(quad(integrand, -40, 40, limit=400)[0], rel=1e-6)


@pytest.mark.parametrize("huge", [10.0, 1e6, 1e30, 3e38])
def test_no_two_latents_are_farther_apart_than_the_sensitivity(huge: float) -> None:
    fitted = mechanism()
    mean, variance = at(np.full(SIZE, huge), np.full(SIZE, -huge), huge * np.eye(SIZE)[0])
    same = np.full(len(mean), 7, np.uint64)
    released = fitted.perturb(mean, variance, same)[:, USED].astype(np.float64)
    assert np.isfinite(released).all()
    for one in released:
        assert np.linalg.norm(released - one, axis=1).max() <= 2 * fitted.radius * (1 + 1e-5)
    assert np.linalg.norm(released[0] - released[1]) == pytest.approx(2 * fitted.radius, rel=1e-2)


def test_what_lies_in_the_ball_gets_the_noise_alone() -> None:
    fitted = mechanism()
    inside = fitted.centre + np.float32(0.5) * np.eye(SIZE, dtype=np.float32)[0]
    mean, variance = at(*[inside] * 8000)
    released = fitted.perturb(mean, variance, np.arange(len(mean), dtype=np.uint64))
    xi = (released - inside)[:, USED] / fitted.sigma
    assert np.abs(xi.mean(axis=0)).max() < 0.05
    assert np.abs(np.cov(xi.T) - np.eye(4)).max() < 0.06
    assert released[:, ~USED].std() == pytest.approx(1, abs=0.04)


def test_the_best_attacker_of_two_latents_tells_them_as_well_as_was_promised() -> None:
    fitted = mechanism(delta=0.2)
    count = 10_000
    told = []
    for point, first in ((9.0, 0), (-9.0, count)):
        mean, variance = at(*[np.full(SIZE, point)] * count)
        released = fitted.perturb(mean, variance, np.arange(first, first + count, dtype=np.uint64))
        # The likelihood ratio of two normals is a function of this projection (Neyman and Pearson).
        told.append((released - fitted.centre)[:, USED].sum(axis=1))
    thresholds = np.linspace(*np.quantile(told[0], [0.001, 0.999]), 200)
    right, wrong = (np.mean(values[:, None] > thresholds, axis=0) for values in told)
    assert np.max(right - math.exp(fitted.epsilon) * wrong) == pytest.approx(fitted.delta, abs=0.03)


def test_a_filter_that_promises_more_than_it_holds_is_refused() -> None:
    fitted = mechanism()
    for changed in (
        {"sigma": 0.9 * fitted.sigma},
        {"epsilon": 0.9 * fitted.epsilon},
        {"radius": 1.2 * fitted.radius},
        {"delta": 0.0},
        {"sigma": math.nan},
    ):
        with pytest.raises(PrivatizerError, match="fit the filter again"):
            replace(fitted, **changed)
    with pytest.raises(PrivatizerError, match="centre"):
        replace(fitted, centre=fitted.centre[1:])


def test_a_fit_has_room_for_most_samples() -> None:
    rng = np.random.default_rng(0)
    mean = np.where(USED, rng.normal(3, 2, (2000, SIZE)), 0).astype(np.float32)
    labels = rng.integers(0, 2, (2, 2000))
    variance = np.full_like(mean, 0.01)
    data = FitData(mean, variance, labels[0].astype(np.int64), 2, labels[1][:, None].astype(np.float32), USED)
    fitted = fit_gaussian_mechanism(data, 4.0, 1e-5)
    away = np.linalg.norm((mean - fitted.centre)[:, USED], axis=1)
    assert np.mean(away <= fitted.radius) == pytest.approx(0.95, abs=0.01)
    assert fitted.sigma == pytest.approx(analytic_sigma(4.0, 1e-5, 2 * fitted.radius))
    classical = fit_gaussian_mechanism(data, 0.5, 1e-5, "theorem", radius=3.0)
    assert classical.sigma == pytest.approx(theorem_sigma(0.5, 1e-5, 6.0))
