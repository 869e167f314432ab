"""How far a filter moves the posterior of a sample: the distortion budgets (10) of the min-max filters.

A sample's posterior is N(mu, S) with S diagonal.  A filter moves it by d and, where it adds noise
G eps of its own, widens it to N(mu + d, A) with A = S + G G'.

The chi-square divergence grows with the exponential of what the others grow with: it soon leaves the range of
a float, and a few samples decide its mean.  So it is stated as ln(1 + chi-square) throughout, a budget of it too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Divergence = Literal["l2", "kl", "reverse-kl", "chi-square"]
DIVERGENCES: tuple[Divergence, ...] = get_args(Divergence)

Array = NDArray[np.floating]
Doubles = NDArray[np.float64]


def l2(shift: Array, noise: Array | None = None) -> Doubles:
    """Expected squared distance E ||z~ - z||^2 = ||d||^2 + tr(G G') of each sample, float64 [N].

    ``shift`` is d, [N, Z]; ``noise`` is G, [Z, E].  Without noise this is the plain form of (10).
    """
    distance = np.sum(np.square(shift, dtype=np.float64), axis=1)
    return distance if noise is None else distance + np.sum(np.square(noise, dtype=np.float64))


def kl(shift: Array, variance: Array, noise: Array | None = None) -> Doubles:
    """KL(N(mu + d, A) || N(mu, S)) of each sample in nats, float64 [N].

    ``shift`` is d and ``variance`` the diagonal of S, positive, both [N, Z]; ``noise`` is G, [Z, E].
    Without noise this is d' S^-1 d / 2, (10) with the shared covariance S; with noise

        (d' S^-1 d + tr(S^-1 G G') - ln det(S^-1 A)) / 2.
    """
    return _kl(*_along_axes(shift, variance, noise))


def reverse_kl(shift: Array, variance: Array, noise: Array | None = None) -> Doubles:
    """KL(N(mu, S) || N(mu + d, A)) of each sample in nats, float64 [N]; arguments as :func:`kl`.

    Without noise this is d' S^-1 d / 2 as well; with noise

        (d' A^-1 d + tr(A^-1 S) - Z + ln det(S^-1 A)) / 2.
    """
    return _reverse_kl(*_along_axes(shift, variance, noise))


def log_chi_square(shift: Array, variance: Array, noise: Array | None = None) -> Doubles:
    """ln(1 + chi-square) of N(mu + d, A) against N(mu, S) of each sample, float64 [N]; arguments as :func:`kl`.

    Without noise this is d' S^-1 d; with noise

        d' (2 S - A)^-1 d + ln(|S|^(1/2) |A|^-1 |2 A^-1 - S^-1|^(-1/2)),

    infinite unless S - G G' is positive definite.
    """
    return _log_chi_square(*_along_axes(shift, variance, noise))


def mean(divergence: Divergence, shift: Array, variance: Array, noise: Array | None = None) -> Callable[[float], float]:
    """The mean over samples of ``divergence`` (for "chi-square" ln(1 + chi-square)), as a function of a factor c >= 0.

    The factor is one on both ``shift`` and ``noise``, which are as for :func:`kl`.
    """
    if divergence == "l2":
        at_one = float(l2(shift, noise).mean())
        return lambda factor: factor**2 * at_one
    moved, widened = _along_axes(shift, variance, noise)
    of_axes = {"kl": _kl, "reverse-kl": _reverse_kl, "chi-square": _log_chi_square}[divergence]
    return lambda factor: float(of_axes(factor**2 * moved, factor**2 * widened).mean())


def _along_axes(shift: Array, variance: Array, noise: Array | None) -> tuple[Doubles, Doubles]:
    """Squared shift and added variance along axes in which S is I and G G' is diagonal, float64 [N, Z] both."""
    spread = np.sqrt(variance, dtype=np.float64)
    standard = shift / spread
    if noise is None:
        return standard**2, np.zeros((1, standard.shape[1]))
    relative = noise / spread[:, :, None]
    widened, axes = np.linalg.eigh(relative @ relative.transpose(0, 2, 1))
    along = (standard[:, None, :] @ axes)[:, 0]
    return along**2, np.maximum(widened, 0)


def _kl(moved: Doubles, widened: Doubles) -> Doubles:
    return np.sum(moved + widened - np.log1p(widened), axis=1) / 2


def _reverse_kl(moved: Doubles, widened: Doubles) -> Doubles:
    return np.sum((moved - widened) / (1 + widened) + np.log1p(widened), axis=1) / 2


def _log_chi_square(moved: Doubles, widened: Doubles) -> Doubles:
    finite = widened < 1
    inside = np.where(finite, widened, 0)
    values = np.sum(moved / (1 - inside) - np.log1p(-(inside**2)) / 2, axis=1)
    return np.where(finite.all(axis=1), values, np.inf)
