"""What an attacker makes of a release who knows the filter: all its parameters, none of its random choices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.flow import FlowFilter
from privsdk.filters.scores import clipped

Floats = NDArray[np.float32]

# Of the spread of all releases, the share that is added to the spread of the filter's own noise.
BANDWIDTHS = (0.15, 0.3, 0.6)
BLOCK = 512


def code(filter: FlowFilter, z: Floats) -> Floats:
    """What a release [N, Z] of a flow filter comes apart into: its code and its scores, float32 [N, U + K].

    A release has the scores that were put in, and with them the code that was put in is found:
    e' = f(g(z~); s'_p, t').
    """
    scores = clipped(filter.scores.scores(z))
    without_noise = np.zeros((len(z), len(filter.code.affine)), np.float32)
    return np.concatenate([filter.code.forward(filter.flow.forward(z), scores, without_noise), scores], axis=1)


def log_likelihoods(z: Floats, draws: Floats, classes: NDArray[np.int64]) -> Floats:
    """log p(z~ | y) of releases [N, Z] for each class y, with each of three bandwidths: float32 [N, 3 C].

    ``draws``, float32 [D, M, Z], are D releases of each of M others with ``classes`` [M], the filter's random choices
    redrawn; whoever has the filter can make as many as it likes.  Each release is the centre of a Gaussian with the
    covariance of the filter's own noise, as it differs between the draws of one sample, and some of that of all::

        p(z~ | y) = 1 / (D n_y) sum_{d, i: y_i = y} N(z~; z~_di, S + h^2 C)
    """
    count, size = draws.shape[1], draws.shape[2]
    noise = (draws - draws.mean(axis=0)).reshape(-1, size)
    own = noise.T @ noise / max(count * (len(draws) - 1), 1)
    everyone = draws.reshape(-1, size)
    all_ = np.cov(everyone, rowvar=False) + 1e-6 * np.eye(size)
    of_class = np.tile(classes, len(draws))
    found = []
    for bandwidth in BANDWIDTHS:
        values, directions = np.linalg.eigh(own + bandwidth**2 * all_)
        whiten = (directions / np.sqrt(np.maximum(values, 1e-9))).astype(np.float32)
        sought, known = z @ whiten, everyone @ whiten
        for one in np.unique(classes):
            centres = known[of_class == one]
            lengths = np.square(centres).sum(axis=1) / 2
            blocks = (sought[start : start + BLOCK] for start in range(0, len(sought), BLOCK))
            log_sum = np.concatenate([_log_sum(rows @ centres.T - lengths) for rows in blocks])
            found.append(log_sum - np.square(sought).sum(axis=1) / 2 - np.log(len(centres)))
    return np.stack(found, axis=1).astype(np.float32)


def _log_sum(x: Floats) -> Floats:
    """log sum exp of each row."""
    largest = x.max(axis=1)
    x -= largest[:, None]
    np.exp(x, out=x)
    return largest + np.log(x.sum(axis=1))
