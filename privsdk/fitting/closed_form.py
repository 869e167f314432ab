"""The code's conditional affine map, which has a closed form: all of the code, where torch is not installed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.code import SMALL, ConditionalAffine, features

Floats = NDArray[np.float32]

SCORING_STEPS = 8


def conditional_affine(x: Floats, scores: Floats, knots: Floats) -> ConditionalAffine:
    """The affine map that makes ``x`` [N, U] as normal as it can, given ``scores`` [N, K]; ``knots`` [Q, K].

    The mean is a least-squares regression on the features of the scores; the log-scale maximises the normal
    likelihood of the residual by Fisher scoring (F^-1 phi'(r^2 / sigma^2 - 1) / 2, with F = phi'phi); the
    linear map whitens what is left.
    """
    basis = features(scores, knots).astype(np.float64)
    gram = basis.T @ basis
    gram += SMALL * len(x) / len(gram) * np.eye(len(gram))
    mean = np.linalg.solve(gram, basis.T @ x)
    residual = x - basis @ mean
    log_scale = np.zeros_like(mean)
    for _ in range(SCORING_STEPS):
        excess = np.square(residual * np.exp(-(basis @ log_scale))) - 1
        log_scale += np.linalg.solve(gram, basis.T @ np.minimum(excess, 10)) / 2
    scaled = residual * np.exp(-(basis @ log_scale))
    variance, directions = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    spread = np.sqrt(variance)
    whiten = (directions / spread) @ directions.T
    colour = (directions * spread) @ directions.T
    parts = (knots, mean, log_scale, whiten, colour)
    return ConditionalAffine(*(part.astype(np.float32) for part in parts))
