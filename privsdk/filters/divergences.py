"""How far a filter moves the posterior of a sample: the distortion budgets of the min-max filters.

A sample's posterior is N(mu, S) with S diagonal.  A filter moves it by d and, where it adds noise
G eps of its own, widens it to N(mu + d, S + G G').
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def l2(shift: NDArray[np.floating], noise: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
    """Expected squared distance E ||z~ - z||^2 = ||d||^2 + tr(G G') of each sample, float64 [N].

    ``shift`` is d, [N, Z]; ``noise`` is G, [Z, E].  Without noise this is the plain form of (10).
    """
    distance = np.sum(np.square(shift, dtype=np.float64), axis=1)
    return distance if noise is None else distance + np.sum(np.square(noise, dtype=np.float64))


def kl(
    shift: NDArray[np.floating],
    variance: NDArray[np.floating],
    noise: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """KL(N(mu + d, S + G G') || N(mu, S)) of each sample in nats, float64 [N].

    ``shift`` is d and ``variance`` the diagonal of S, both [N, Z]; ``noise`` is G, [Z, E].
    Without noise this is d' S^-1 d / 2, (10) with the shared covariance S; with noise

        (d' S^-1 d + tr(S^-1 G G') - ln det(I + S^-1/2 G G' S^-1/2)) / 2.
    """
    variance = variance.astype(np.float64)
    moved = np.sum(np.square(shift, dtype=np.float64) / variance, axis=1)
    if noise is None:
        return moved / 2
    precision = 1 / np.sqrt(variance)
    covariance = np.matmul(noise, noise.T, dtype=np.float64)
    relative = precision[:, :, None] * covariance * precision[:, None, :]
    added = np.trace(relative, axis1=1, axis2=2)
    return moved / 2 + (added - np.linalg.slogdet(np.eye(len(noise)) + relative)[1]) / 2
