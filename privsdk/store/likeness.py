"""Which photos are nearly equal, told by keyed marks alone: frames of a burst, re-encodings, small crops.

Of each face a small description is made: low frequencies of its brightness and its colours in the middle of the frame,
in units of its contrast.  The detector places one face a little differently in each nearly equal photo, turned by up to
five degrees, six percent larger or smaller.  So the face is first *settled*: a linear regression tells from such a
description how the face stands in its frame, the frame is moved against that, and again.  Where that comes to rest
depends on the face and hardly on where it began.

Locality-sensitive hashing (M. Datar, N. Immorlica, P. Indyk, V. Mirrokni, "Locality-sensitive hashing scheme based on
p-stable distributions", 2004) makes marks of the description: each of :data:`TABLES` tables looks at it along
:data:`LINES` random lines that are cut into cells, and a mark is an HMAC of the cells that it falls into.  Lines, cells
and HMAC are functions of the device key.

So whoever has marks and not the key sees which of them are equal, and thereby which samples are how nearly equal to
each other, and nothing of what they show: he can make the mark of no photo, not even of one that he has.  (Unless he
gets the device to release that one, and sees whether its marks were there before.)
"""

from __future__ import annotations

import hashlib
import hmac
from functools import cache
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from privsdk import noise
from privsdk.arrays import unpack

TABLES = 48
"""Marks of one sample."""

ENOUGH = 8
"""How many equal marks make two samples nearly equal.

``python -m benchmarks.likeness`` measures what comes of it, on real faces and through the detector: of frames of one
simulated burst 98 in 100 are told, of photos that were saved again 99, of those brightened or darkened by a quarter 89;
of 280 million pairs of different people three in a million are taken for nearly equal.  With one equal mark fewer it
were about twice as many, with one more half as many.
"""

LINES = 6
CELL = 20.0
"""The width of a cell along a line, in units of the description: of the frames of one burst 95 in 100 are less than 3.2
apart, half of all pairs of people more than 35.
"""

SIZE = 32
"""Width and height in pixels at which faces are looked at."""
WINDOW = 5.5
"""The standard deviation, in these pixels, of the bell within which a description looks."""
GREY, COLOUR = 8, 4
"""Below how many half waves across the picture a description looks, at its brightness and its colours."""

WEIGHTS = "settling.safetensors"
SETTLING_WINDOW = 7.0
SETTLING_GREY = 12
STEPS, STEP = 5, 0.6
FURTHEST = np.array([0.3, 0.3, 5.0, 5.0], np.float32)
"""No face stands further off than this, what has none may.  Units as in :func:`seen`."""

Floats = NDArray[np.float32]


class Settling(NamedTuple):
    """The regression from descriptions to poses: their ``mean``, float32 [D], and ``weights``, float32 [D, 4].

    ``benchmarks.likeness --learn`` learned them from portraits of people who do not exist.
    """

    mean: Floats
    weights: Floats


def marks(key: bytes, samples: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The marks of face samples, uint8 [N, 64, 64, 3]: uint64 [N, TABLES], one of each table.

    Two samples are nearly equal where at least :data:`ENOUGH` of their marks are the same.  Raises UsageError where the
    key is not 32 bytes long.
    """
    described = describe(samples)
    seeds = noise.sample_seeds(key, [b"lines", b"cells"], "likeness")
    lines = noise.normal(seeds[:1], described.shape[1] * TABLES * LINES, "lines").reshape(-1, TABLES * LINES)
    offsets = noise.uniforms(seeds[1:], TABLES * LINES, "cells")
    cells = np.floor(described @ lines / CELL + offsets).astype("<i4").reshape(-1, TABLES, LINES)
    prefixes = [b"likeness %d " % table for table in range(TABLES)]
    digests = [
        hmac.digest(key, prefix + cell.tobytes(), hashlib.sha256)
        for row in cells
        for prefix, cell in zip(prefixes, row, strict=True)
    ]
    found = np.array([int.from_bytes(digest[:8], "little") for digest in digests], np.uint64)
    return found.reshape(len(samples), TABLES)


def describe(samples: NDArray[np.uint8]) -> Floats:
    """What marks are made of, float32 [N, D]: samples are nearly equal where these are near each other."""
    return low_frequencies(settled(looked_at(samples)))


def looked_at(samples: NDArray[np.uint8]) -> Floats:
    """Brightness, and how much bluer and how much redder than that each place is: float32 [N, 3, SIZE, SIZE]."""
    block = samples.shape[1] // SIZE
    small = samples.reshape(-1, SIZE, block, SIZE, block, 3).mean((2, 4), dtype=np.float32)
    grey = small @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.stack([grey, small[..., 2] - grey, small[..., 0] - grey], axis=1)


def settled(pictures: Floats) -> Floats:
    """Pictures [N, 3, SIZE, SIZE] in frames moved to where the faces come to rest."""
    settling = _settling()
    pose = np.zeros((len(pictures), len(FURTHEST)), np.float32)
    for _ in range(STEPS):
        pose -= STEP * (stands(seen(pictures[:, :1], pose)) - settling.mean) @ settling.weights
        pose = np.clip(pose, -FURTHEST, FURTHEST)
    return seen(pictures, pose)


def stands(pictures: Floats) -> Floats:
    """The description from which :class:`Settling` tells how a face stands: of [N, 1 or more, SIZE, SIZE] [N, D]."""
    return _frequencies(_normal(pictures, SETTLING_WINDOW)[0], SETTLING_GREY)[:, 1:]


def low_frequencies(pictures: Floats) -> Floats:
    """Of brightness and colours within the bell of :data:`WINDOW`, in units of the contrast: float32 [N, D]."""
    brightness, window = _normal(pictures, WINDOW)
    colours = (_frequencies(pictures[:, plane] * window, COLOUR) for plane in (1, 2))
    return np.concatenate([_frequencies(brightness, GREY)[:, 1:], *colours], axis=1)


def seen(pictures: Floats, pose: Floats) -> Floats:
    """Pictures [N, P, SIZE, SIZE] through frames moved by ``pose`` [N, 4]: as much larger, turned by so many radians,
    and so many pixels to the right and down.
    """
    larger, turned, right, down = (part[:, None, None] for part in pose.T)
    across = (np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2)[None, None, :]
    along = across.transpose(0, 2, 1)
    last = np.float32(SIZE - 1.001)
    x = np.clip((1 + larger) * across - turned * along + right + (SIZE - 1) / 2, 0, last)
    y = np.clip(turned * across + (1 + larger) * along + down + (SIZE - 1) / 2, 0, last)
    left, top = x.astype(np.int64), y.astype(np.int64)
    x, y = (x - left)[:, None], (y - top)[:, None]
    flat = pictures.reshape(*pictures.shape[:2], SIZE * SIZE)

    def corner(rows: int, columns: int) -> Floats:
        places = ((top + rows) * SIZE + left + columns).reshape(len(pictures), 1, SIZE * SIZE)
        return np.take_along_axis(flat, places, axis=2).reshape(pictures.shape)

    upper = corner(0, 0) * (1 - x) + corner(0, 1) * x
    lower = corner(1, 0) * (1 - x) + corner(1, 1) * x
    moved: Floats = upper * (1 - y) + lower * y
    return moved


def _normal(pictures: Floats, width: float) -> tuple[Floats, Floats]:
    """Brightness within a bell of this width, with mean 0 and spread 1 there, and what brings colours to its units:
    both float32 [N, SIZE, SIZE].
    """
    bell = np.exp(-((np.arange(SIZE) - (SIZE - 1) / 2) ** 2) / (2 * width**2))
    weights = (np.outer(bell, bell) / bell.sum() ** 2).astype(np.float32)
    centred = pictures[:, 0] - np.einsum("nij,ij->n", pictures[:, 0], weights)[:, None, None]
    spread = np.sqrt(np.einsum("nij,ij->n", centred**2, weights))[:, None, None] + 1  # of a plain area it is 0
    window: Floats = SIZE * np.sqrt(weights) / spread
    return centred * window, window


def _frequencies(pictures: Floats, below: int) -> Floats:
    """Of each picture [N, SIZE, SIZE] the cosine transform at fewer half waves than this, the mean first."""
    angles = np.pi / SIZE * np.outer(np.arange(below), np.arange(SIZE) + 0.5)
    cosines = (np.sqrt(2 / SIZE) * np.cos(angles)).astype(np.float32)
    cosines[0] /= np.sqrt(2)
    low = np.hypot(*np.meshgrid(np.arange(below), np.arange(below))) < below
    found: Floats = (cosines @ pictures @ cosines.T)[:, low]
    return found


@cache
def _settling() -> Settling:
    arrays, _ = unpack(resources.files("privsdk.store").joinpath(WEIGHTS).read_bytes())
    return Settling(**{name: array.astype(np.float32) for name, array in arrays.items()})
