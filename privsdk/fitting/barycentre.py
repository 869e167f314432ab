"""Gaussians under the Wasserstein distance: their barycentre, and the optimal maps to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

STEPS = 100
TOLERANCE = 1e-9


def barycentre(covariances: Doubles, weights: Doubles) -> Doubles:
    """The covariance S of the Wasserstein barycentre of N(0, S_c), float64 [D, D].

    ``covariances`` S_c are float64 [C, D, D], positive definite; ``weights`` w_c [C], at least 0, sum to 1.  The
    barycentre's mean is that of the means.  S is the fixed point of

        S <- S^(-1/2) (sum_c w_c (S^(1/2) S_c S^(1/2))^(1/2))^2 S^(-1/2)

    (Alvarez-Esteban, del Barrio, Cuesta-Albertos, Matran, "A fixed-point approach to barycenters in Wasserstein space",
    2016, Theorem 4.2), begun at the mean of the S_c and ended where a step changes S by less than 1 in 10^9.
    """
    found = np.einsum("c,cij->ij", weights, covariances)
    for _ in range(STEPS):
        root = _power(found, 0.5)
        inverse = _power(found, -0.5)
        mean = np.einsum("c,cij->ij", weights, _power(root @ covariances @ root, 0.5))
        before, found = found, inverse @ mean @ mean @ inverse
        if np.linalg.norm(found - before) <= TOLERANCE * np.linalg.norm(before):
            break
    return found


def transport(source: Doubles, target: Doubles) -> Doubles:
    """T, symmetric float64 [D, D], by which x ~ N(0, A) becomes x T ~ N(0, B) at the least mean squared distance.

        T = A^(-1/2) (A^(1/2) B A^(1/2))^(1/2) A^(-1/2)

    ``source`` A and ``target`` B are float64 [D, D], positive definite (Dowson and Landau, "The Frechet distance
    between multivariate normal distributions", 1982).
    """
    root, inverse = _power(source, 0.5), _power(source, -0.5)
    return inverse @ _power(root @ target @ root, 0.5) @ inverse


def _power(matrices: Doubles, exponent: float) -> Doubles:
    """A power of symmetric positive definite matrices [..., D, D]."""
    values, axes = np.linalg.eigh((matrices + np.swapaxes(matrices, -1, -2)) / 2)
    values = np.maximum(values, np.finfo(np.float64).tiny)
    return (axes * values[..., None, :] ** exponent) @ np.swapaxes(axes, -1, -2)
