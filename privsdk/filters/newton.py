"""Moving a latent until it has the scores that are wanted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.scores import ScoreNetwork

Floats = NDArray[np.float32]

STEPS = 12
TOLERANCE = 1e-3
STRIDE = 4.0  # the length of the longest step: farther away a gradient says little of the scores
RIDGE = 1e-6  # of the gradients' squared lengths: where there are more scores than dimensions, as near as can be


def onto(network: ScoreNetwork, z: Floats, target: Floats) -> Floats:
    """``z`` [N, Z] moved as little as possible until its scores are ``target`` [N, K]: float32 [N, Z].

    By Gauss-Newton steps, each the shortest that brings the linearised scores to the target:
    z <- z + J' (J J')^-1 (target - s(z)), J the scores' gradients.
    """
    z = z.copy()
    moving = np.arange(len(z))
    for _ in range(STEPS):
        scores, gradient = network.gradient(z[moving])
        missing = target[moving] - scores
        open_ = np.abs(missing).max(axis=1) > TOLERANCE
        if not open_.any():
            break
        moving, missing, gradient = moving[open_], missing[open_], gradient[open_]
        gradient = gradient.astype(np.float64)  # of scores that are nearly one, float32 keeps too little
        gram = gradient @ gradient.transpose(0, 2, 1)
        gram += RIDGE * np.eye(gram.shape[1]) * np.trace(gram, axis1=1, axis2=2)[:, None, None]
        step = (np.linalg.solve(gram, missing[:, :, None]).transpose(0, 2, 1) @ gradient)[:, 0]
        length = np.linalg.norm(step, axis=1, keepdims=True)
        z[moving] += (step * np.minimum(1, STRIDE / np.maximum(length, 1e-12))).astype(np.float32)
    return z
