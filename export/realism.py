"""How real images look: their sharpness, and how their features are distributed."""

from __future__ import annotations

import numpy as np


def mean_gradient(pixels: np.ndarray) -> float:
    """Mean absolute difference between neighbouring pixels, in grey levels; pixels uint8 [N, H, W, 3]."""
    signed = pixels.astype(np.int16)
    across = np.abs(np.diff(signed, axis=2)).mean()
    down = np.abs(np.diff(signed, axis=1)).mean()
    return float((across + down) / 2)


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """||m1 - m2||^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two sets of features, float [N, D] and [M, D].

    The square root's trace is the sum of the square roots of the eigenvalues of C1 C2 (Heusel et al., 2017).
    """
    difference = first.mean(0) - second.mean(0)
    one, two = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(one)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ two @ root).clip(0)).sum()
    return float(difference @ difference + np.trace(one) + np.trace(two) - 2 * shared)
