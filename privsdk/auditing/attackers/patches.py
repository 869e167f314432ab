"""Patches of images: how bright and how rough each is, and single pixels beside those around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn import ensemble

from privsdk.auditing.attackers.attacker import Attacker
from privsdk.auditing.attackers.bit_planes import correlation_ratio

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Pixels = NDArray[np.uint8]

SMALL, LARGE = 16, 8  # patches along a side: those of 64 x 64 pixels have 4 x 4 and 8 x 8
SEEN = 512  # statistics of patches that the trees see, and as many pixels
TREES = 500  # divided by the number of classes it is the number of rounds
AT_ONCE = 256  # images worked on at a time


class Patches(Attacker):
    """Gradient-boosted trees on patches of uint8 ``[N, H, W, C]`` or ``[N, H, W]``.

    They see the means and the spreads of patches that depend most on the label, and the pixels that do once the mean of
    the patch around them is taken away: a faint pattern in the same pixels of every image shows there first.
    """

    name = "trees on patches"
    limit = 2000

    def __init__(self, seed: int = 0, threads: int = 1, setting: int = 0) -> None:
        self._seed = seed

    def fit(self, x: NDArray, y: NDArray) -> Self:
        self._patches, self._pixels = _telling(x, y, _statistics), _telling(x, y, _details)
        self._model = ensemble.HistGradientBoostingClassifier(
            max_iter=TREES // (int(y.max()) + 1),
            max_leaf_nodes=8,
            max_bins=64,  # half the time of 255, and as much is found
            l2_regularization=1.0,
            early_stopping=False,
            random_state=self._seed,
        )
        return super().fit(self._features(x), y)

    def score(self, x: NDArray) -> NDArray[np.float64]:
        return super().score(self._features(x))

    def _features(self, x: Pixels) -> Floats:
        """float32 ``[N, K]``"""
        parts = (x[start : start + AT_ONCE] for start in range(0, len(x), AT_ONCE))
        return np.concatenate(
            [np.hstack([_statistics(part)[:, self._patches], _details(part)[:, self._pixels]]) for part in parts]
        )


def _telling(images: Pixels, classes: NDArray, features: Callable[[Pixels], Floats]) -> Integers:
    """The numbers of the features that depend most on the classes."""
    of_class = np.eye(int(classes.max()) + 1, dtype=np.float32)[classes]
    origin = features(images[:1])  # what hardly varies would be lost beside its size in 32 bits
    sums, squares = [], []
    for start in range(0, len(images), AT_ONCE):
        values = features(images[start : start + AT_ONCE]) - origin
        sums.append(of_class[start : start + AT_ONCE].T @ values)
        squares.append(np.square(values).sum(axis=0))
    ratios = correlation_ratio(np.bincount(classes), np.stack(sums).sum(axis=0), np.stack(squares).sum(axis=0))
    return np.argsort(-ratios, kind="stable")[:SEEN]


def _statistics(images: Pixels) -> Floats:
    """Means and spreads of all patches: ``[N, K]``."""
    values = _with_channels(images)
    found = []
    for along in (SMALL, LARGE):
        means = _means(values, along)
        found += [means, np.sqrt(np.maximum(_means(values**2, along) - means**2, 0))]
    return np.concatenate([one.reshape(len(images), -1) for one in found], axis=1)


def _details(images: Pixels) -> Floats:
    """All pixels less the mean of the small patch around them: ``[N, H * W * C]``."""
    values = _with_channels(images)
    rows, columns = (_patch_of(side, SMALL) for side in values.shape[1:3])
    return (values - _means(values, SMALL)[:, rows][:, :, columns]).reshape(len(images), -1)


def _means(values: Floats, along: int) -> Floats:
    """Of all patches, at most so many along a side: ``[N, H, W, C]`` to ``[N, P, Q, C]``."""
    count, height, width, channels = values.shape
    rows, columns = (_averages(_patch_of(side, along)) for side in (height, width))
    of_rows = rows @ values.reshape(count, height, width * channels)
    return columns @ of_rows.reshape(count, len(rows), width, channels)


def _averages(patch_of: Integers) -> Floats:
    """The matrix that takes the pixels along a side to the means of their patches."""
    members = np.eye(patch_of[-1] + 1, dtype=np.float32)[:, patch_of]
    return members / members.sum(axis=1, keepdims=True)


def _patch_of(side: int, along: int) -> Integers:
    """The number of each pixel's patch along a side; no patch has a single pixel."""
    return np.arange(side) * max(1, min(along, side // 2)) // side


def _with_channels(images: Pixels) -> Floats:
    return (images if images.ndim == 4 else images[..., None]).astype(np.float32)
