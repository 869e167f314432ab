"""Single bits of pixels: a label that is hidden there shows in no mean, shape or texture."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn import ensemble

from privsdk.auditing.attackers.attacker import Attacker

Pixels = NDArray[np.uint8]
Integers = NDArray[np.int64]

PLANES = 8  # of a pixel, the least significant bit first
SINGLE = 32  # bits of each plane that the trees see
AT_ONCE = 255  # images whose bits are counted at a time: as many as a uint8 can count

# Two bits may tell the label by their exclusive or, and neither alone.  All pairs in the two lowest planes for which
# that is so in a few images are found by sorting, and sought again in other images (Indyk and Motwani, 1998).  A pair
# that errs in a share e of all images is found in (1 - e)^32 of the rounds.
PAIRED_PLANES = 2
ROUNDS = 192
DRAWN = 32
CANDIDATES = 4096  # pairs that are then looked at in all images, those found most often
PAIRS = 16  # that the trees see


class BitPlanes(Attacker):
    """Gradient-boosted trees on bits of uint8 ``[N, H, W, C]`` or ``[N, H, W]``.

    They see the bits of each plane that depend most on the label, the pairs of bits whose exclusive or does, and, for
    each plane and channel, how many bits are set and whether that is odd.
    """

    name = "trees on bit planes"
    limit = 2000

    def __init__(self, seed: int = 0, threads: int = 1, setting: int = 0) -> None:
        self._generator = np.random.default_rng(seed)
        self._model = ensemble.HistGradientBoostingClassifier(
            max_iter=100, max_leaf_nodes=4, l2_regularization=1.0, early_stopping=False, random_state=seed
        )

    def fit(self, x: NDArray, y: NDArray) -> Self:
        pixels = x.reshape(len(x), -1)
        self._single = _telling(pixels, y)
        self._pairs = _telling_pairs(pixels, y, self._generator)
        return super().fit(self._features(x), y)

    def score(self, x: NDArray) -> NDArray[np.float64]:
        return super().score(self._features(x))

    def _features(self, x: Pixels) -> Integers:
        """int64 ``[N, K]``"""
        return np.concatenate([self._of(x[start : start + AT_ONCE]) for start in range(0, len(x), AT_ONCE)])

    def _of(self, x: Pixels) -> Integers:
        pixels = x.reshape(len(x), -1)
        channels = x.reshape(len(x), -1, x.shape[3] if x.ndim == 4 else 1)
        counts = np.stack([(channels >> plane & 1).sum(axis=1, dtype=np.int64) for plane in range(PLANES)], axis=1)
        odd = np.concatenate([counts, counts.sum(axis=2, keepdims=True)], axis=2) % 2
        return np.concatenate(
            [
                _bits(pixels, self._single),
                _exclusive_or(pixels, self._pairs),
                counts.reshape(len(x), -1),
                odd.reshape(len(x), -1),
            ],
            axis=1,
        )


def correlation_ratio(sizes: Integers, sums: NDArray, squares: NDArray) -> NDArray[np.float64]:
    """How much of each feature's variance is between the classes, 0 to 1: ``[K]``, 0 of a feature that is constant.

    ``sizes`` ``[C]`` are the numbers of samples in each class, ``sums`` ``[C, K]`` the sums of the features over these,
    ``squares`` ``[K]`` the sums of their squares over all samples.  For bits it is the chi-square statistic divided by
    the number of samples.
    """
    of_all = sums.sum(axis=0, dtype=np.float64) ** 2 / sizes.sum()
    between = (sums.astype(np.float64) ** 2 / sizes[:, None]).sum(axis=0) - of_all
    variance = squares - of_all
    return np.divide(between, variance, out=np.zeros(len(variance)), where=variance > 1e-9 * squares)


def _telling(pixels: Pixels, classes: NDArray) -> Integers:
    """The bits of each plane that depend most on the classes.

    A bit is named by its plane times the number of pixels, plus the place of its pixel.
    """
    sizes = np.bincount(classes)
    counts = np.zeros((PLANES, len(sizes), pixels.shape[1]), np.int64)
    for one in range(len(sizes)):
        rows = np.flatnonzero(classes == one)
        for start in range(0, len(rows), AT_ONCE):
            part = pixels[rows[start : start + AT_ONCE]]
            for plane in range(PLANES):
                counts[plane, one] += (part >> plane & 1).sum(axis=0, dtype=np.uint8)
    ratios = np.stack([correlation_ratio(sizes, of_plane, of_plane.sum(axis=0)) for of_plane in counts])
    places = np.argsort(-ratios, axis=1, kind="stable")[:, :SINGLE]
    return (places + np.arange(PLANES)[:, None] * pixels.shape[1]).ravel()


def _telling_pairs(pixels: Pixels, classes: NDArray, generator: np.random.Generator) -> Integers:
    """The pairs of bits whose exclusive or depends most on the classes: ``[P, 2]``."""
    sizes = np.bincount(classes)
    sought = range(len(sizes)) if len(sizes) > 2 else (1,)
    found = []
    for one in sought:
        inside, outside = np.flatnonzero(classes == one), np.flatnonzero(classes != one)
        for _ in range(ROUNDS // len(sought)):
            drawn = np.concatenate([generator.choice(rows, DRAWN // 2) for rows in (inside, outside)])
            found.append(_pairs_in(pixels[drawn]))
    pairs, times = np.unique(np.concatenate(found), axis=0, return_counts=True)
    pairs = pairs[np.argsort(-times, kind="stable")[:CANDIDATES]]
    bits = _exclusive_or(pixels, pairs)
    sums = np.stack([bits[classes == one].sum(axis=0, dtype=np.int64) for one in range(len(sizes))])
    ratios = correlation_ratio(sizes, sums, sums.sum(axis=0))
    return pairs[np.argsort(-ratios, kind="stable")[:PAIRS]]


def _pairs_in(drawn: Pixels) -> Integers:
    """All pairs of bits that are equal in one half of the drawn images and different in the other: ``[P, 2]``."""
    bits = np.concatenate([drawn >> plane & 1 for plane in range(PAIRED_PLANES)], axis=1)
    values = np.ascontiguousarray(np.packbits(bits, axis=0).T).view(np.uint32)[:, 0]  # of a bit in all 32 images
    values, places = np.unique(values, return_index=True)
    half = np.packbits(np.repeat(np.array([1, 0], np.uint8), DRAWN // 2)).view(np.uint32)[0]
    found = []
    for different in (half, ~half):
        _, first, second = np.intersect1d(values, values ^ different, assume_unique=True, return_indices=True)
        found.append(np.stack([places[first], places[second]], axis=1))
    return np.sort(np.concatenate(found), axis=1)


def _bits(pixels: Pixels, bits: Integers) -> Pixels:
    """The values of these bits: uint8 ``[N, K]``."""
    planes, places = np.divmod(bits, pixels.shape[1])
    return (pixels[:, places] >> planes.astype(np.uint8) & 1).astype(np.uint8)


def _exclusive_or(pixels: Pixels, pairs: Integers) -> Pixels:
    return _bits(pixels, pairs[:, 0]) ^ _bits(pixels, pairs[:, 1])
