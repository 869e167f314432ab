"""The distortion budgets of the min-max filters, against integration and sampling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from privsdk.filters import divergences

CASES = range(10)
Doubles = NDArray[np.float64]


def log_density(x: Doubles, mean: Doubles, covariance: Doubles) -> Doubles:
    """Of N(mean, covariance) at x [N, Z]."""
    root = np.linalg.cholesky(covariance)
    standard = np.linalg.solve(root, (x - mean).T)
    constant = np.log(np.diag(root)).sum() + len(mean) * np.log(2 * np.pi) / 2
    return -np.sum(standard**2, axis=0) / 2 - constant


def integrated(integrand: Callable[[Doubles, Doubles], Doubles], moved: Doubles, plain: Doubles, cell: float) -> float:
    """Of what the two log densities give at each point of a grid whose cells are this large."""
    return float(integrand(moved, plain).sum() * cell)


INTEGRANDS: dict[str, Callable[[Doubles, Doubles], Doubles]] = {
    "kl": lambda moved, plain: np.exp(moved) * (moved - plain),
    "reverse-kl": lambda moved, plain: np.exp(plain) * (plain - moved),
    "chi-square": lambda moved, plain: np.exp(2 * moved - plain) - 2 * np.exp(moved) + np.exp(plain),
}
CLOSED = {
    "kl": divergences.kl,
    "reverse-kl": divergences.reverse_kl,
    "chi-square": lambda *given: np.expm1(divergences.log_chi_square(*given)),
}


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("divergence", INTEGRANDS)
@pytest.mark.parametrize("case", CASES)
def test_the_closed_form_is_the_integral(divergence: str, noisy: bool, size: int, case: int) -> None:
    rng = np.random.default_rng(case)
    shift, noise = rng.uniform(-0.8, 0.8, size=(1, size)), rng.normal(size=(size, size))
    variance = rng.uniform(0.3, 2, size=(1, size))
    # The chi-square divergence is finite only while the noise is smaller than the posterior.
    noise *= np.sqrt(0.5 * variance.min() / np.linalg.eigvalsh(noise @ noise.T).max())
    covariance = np.diag(variance[0]) + (noise @ noise.T if noisy else 0)

    axis = np.linspace(-20, 20, 4001 if size == 1 else 401)
    x = np.stack(np.meshgrid(*[axis] * size, indexing="ij"), axis=-1).reshape(-1, size)
    moved, plain = log_density(x, shift[0], covariance), log_density(x, np.zeros(size), np.diag(variance[0]))
    expected = integrated(INTEGRANDS[divergence], moved, plain, float(axis[1] - axis[0]) ** size)
    found = CLOSED[divergence](shift, variance, noise if noisy else None)
    assert found.shape == (1,)
    assert found[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_divergences_are_means_over_draws(case: int) -> None:
    rng = np.random.default_rng(case)
    size, count = 5, 20_000
    shift, noise = rng.normal(size=(1, size)) / 2, rng.normal(size=(size, size)) / 8
    variance = rng.uniform(0.5, 2, size=(1, size))
    plain, moved = (np.zeros(size), np.diag(variance[0])), (shift[0], np.diag(variance[0]) + noise @ noise.T)

    def agrees(values: Doubles, closed: Doubles) -> bool:
        return bool(abs(closed[0] - values.mean()) < 5 * values.std() / count**0.5)

    draws = rng.multivariate_normal(*moved, size=count)
    ratio = log_density(draws, *moved) - log_density(draws, *plain)
    assert agrees(ratio, divergences.kl(shift, variance, noise))
    assert agrees(np.expm1(ratio), np.expm1(divergences.log_chi_square(shift, variance, noise)))
    back = rng.multivariate_normal(*plain, size=count)
    ratio = log_density(back, *plain) - log_density(back, *moved)
    assert agrees(ratio, divergences.reverse_kl(shift, variance, noise))


@pytest.mark.parametrize("case", CASES)
def test_without_noise_all_are_functions_of_the_weighted_square_of_the_shift(case: int) -> None:
    rng = np.random.default_rng(case)
    shift, variance = rng.normal(size=(3, 4)), rng.uniform(0.2, 2, size=(3, 4))
    expected = np.array([move @ np.diag(1 / spread) @ move for move, spread in zip(shift, variance, strict=True)])
    for noise in (None, np.zeros((4, 4))):
        assert divergences.kl(shift, variance, noise) == pytest.approx(expected / 2)
        assert divergences.reverse_kl(shift, variance, noise) == pytest.approx(expected / 2)
        assert divergences.log_chi_square(shift, variance, noise) == pytest.approx(expected)


def test_chi_square_is_infinite_once_the_noise_is_as_large_as_the_posterior() -> None:
    shift, variance = np.zeros((1, 2)), np.array([[1.0, 0.25]])
    just_below, just_above = (np.diag([0.0, factor * 0.5]) for factor in (0.999, 1.001))
    assert np.isfinite(divergences.log_chi_square(shift, variance, just_below)).all()
    assert np.isinf(divergences.log_chi_square(shift, variance, just_above)).all()
    assert np.isinf(divergences.mean("chi-square", shift, variance, just_above)(1.0))


def test_chi_square_stays_a_number_where_its_exponential_would_not() -> None:
    shift, variance = np.array([[3.0], [2.0]]), np.full((2, 1), 1e-3)
    assert divergences.log_chi_square(shift, variance) == pytest.approx([9000, 4000])
    assert divergences.mean("chi-square", shift, variance)(1.0) == pytest.approx(6500)


@pytest.mark.parametrize("case", CASES)
def test_l2_is_the_mean_squared_distance_of_draws(case: int) -> None:
    rng = np.random.default_rng(case)
    shift, noise = rng.normal(size=(1, 4)), rng.normal(size=(4, 6))
    draws = shift + rng.normal(size=(20_000, 6)) @ noise.T
    squared = np.sum(draws**2, axis=1)
    assert abs(divergences.l2(shift, noise)[0] - squared.mean()) < 5 * squared.std() / len(draws) ** 0.5
    assert divergences.l2(shift) == pytest.approx(np.sum(shift**2, axis=1))


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("divergence", divergences.DIVERGENCES)
def test_the_mean_is_a_function_of_a_factor_on_shift_and_noise(divergence: divergences.Divergence, noisy: bool) -> None:
    rng = np.random.default_rng(0)
    shift, variance = rng.normal(size=(7, 3)), rng.uniform(0.5, 2, size=(7, 3))
    noise = rng.normal(size=(3, 3)) / 4 if noisy else None
    spent = divergences.mean(divergence, shift, variance, noise)
    for factor in (0.0, 0.3, 1.0):
        scaled = (
            factor * shift,
            *(() if divergence == "l2" else (variance,)),
            noise if noise is None else factor * noise,
        )
        values = (divergences.l2 if divergence == "l2" else CLOSED[divergence])(*scaled)
        assert spent(factor) == pytest.approx(np.mean(np.log1p(values) if divergence == "chi-square" else values))
