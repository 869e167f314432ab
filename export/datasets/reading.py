"""Image files to crops of one size; what cannot be read is named, never silently dropped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from privsdk.errors import Refusal, TrainingDataError
from privsdk.samples import images

SIDE = 64

Crop = Callable[[int, int], tuple[float, float, float, float]]


def read_crops(folder: Path, names: Sequence[str], crop: Crop) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Pixels uint8 [N, 64, 64, 3] and names of the files that could be read, and a sentence for each other one.

    ``crop(height, width)`` gives the square (x0, y0, x1, y1) to cut out.  Raises TrainingDataError if no file
    at all could be read.
    """
    pixels, read, refused = [], [], []
    for name in names:
        try:
            image = images.read(folder / name)
        except Refusal as refusal:
            refused.append(f"{name}: {refusal.detail}")
            continue
        pixels.append(images.crop_resize(image, crop(*image.shape[:2]), SIDE))
        read.append(name)
    if not pixels:
        raise TrainingDataError(f"none of the {len(names)} images named could be read from {folder}")
    if refused:
        print(f"{len(refused)} of {len(names)} images left out:", *refused, sep="\n  ", file=sys.stderr)
    return np.stack(pixels), tuple(read), tuple(refused)
