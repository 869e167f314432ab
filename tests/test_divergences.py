"""The distortion budgets of the min-max filters, against integration and sampling."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from privsdk.filters import divergences

CASES = range(10)


def log_density(
    x: NDArray[np.float64], mean: NDArray[np.float64], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of N(mean, covariance) at x [N, Z]."""
    root = np.linalg.cholesky(covariance)
    standard = np.linalg.solve(root, (x - mean).T)
    constant = np.log(np.diag(root)).sum() + len(mean) * np.log(2 * np.pi) / 2
    return -np.sum(standard**2, axis=0) / 2 - constant


@pytest.mark.parametrize("case", CASES)
def test_kl_is_the_integral_in_one_dimension(case: int) -> None:
    rng = np.random.default_rng(case)
    shift, noise = rng.normal(size=(1, 1)), rng.normal(size=(1, 1))
    variance = rng.uniform(0.1, 2, size=(1, 1))
    x = np.linspace(-40, 40, 40_001)[:, None]
    perturbed = log_density(x, shift[0], variance + noise**2)
    plain = log_density(x, np.zeros(1), variance)
    integral = np.trapezoid(np.exp(perturbed) * (perturbed - plain), x[:, 0])
    assert divergences.kl(shift, variance, noise)[0] == pytest.approx(integral, rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_kl_is_the_mean_log_ratio_of_draws(case: int) -> None:
    rng = np.random.default_rng(case)
    size, count = 5, 20_000
    shift, noise = rng.normal(size=(1, size)), rng.normal(size=(size, size)) / 2
    variance = rng.uniform(0.2, 2, size=(1, size))
    covariance = np.diag(variance[0]) + noise @ noise.T
    draws = rng.multivariate_normal(shift[0], covariance, size=count)
    ratio = log_density(draws, shift[0], covariance) - log_density(draws, np.zeros(size), np.diag(variance[0]))
    assert abs(divergences.kl(shift, variance, noise)[0] - ratio.mean()) < 5 * ratio.std() / count**0.5


@pytest.mark.parametrize("case", CASES)
def test_kl_without_noise_is_half_the_weighted_square_of_the_shift(case: int) -> None:
    rng = np.random.default_rng(case)
    shift, variance = rng.normal(size=(3, 4)), rng.uniform(0.2, 2, size=(3, 4))
    expected = [move @ np.linalg.inv(np.diag(spread)) @ move / 2 for move, spread in zip(shift, variance, strict=True)]
    assert divergences.kl(shift, variance) == pytest.approx(expected)
    assert divergences.kl(shift, variance, np.zeros((4, 4))) == pytest.approx(expected)


@pytest.mark.parametrize("case", CASES)
def test_l2_is_the_mean_squared_distance_of_draws(case: int) -> None:
    rng = np.random.default_rng(case)
    shift, noise = rng.normal(size=(1, 4)), rng.normal(size=(4, 6))
    draws = shift + rng.normal(size=(20_000, 6)) @ noise.T
    squared = np.sum(draws**2, axis=1)
    assert abs(divergences.l2(shift, noise)[0] - squared.mean()) < 5 * squared.std() / len(draws) ** 0.5
    assert divergences.l2(shift) == pytest.approx(np.sum(shift**2, axis=1))
