"""Image files to samples of one size; what cannot be used is named, never silently dropped."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from privsdk.errors import Refusal, TrainingDataError
from privsdk.samples import images
from privsdk.samples.images import Pixels

SIDE = 64


def read_samples(
    folder: Path, names: Sequence[str], sample_of: Callable[[Pixels], Pixels]
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Pixels uint8 [N, 64, 64, 3] and names of the files that could be used, and a sentence for each other one.

    ``sample_of`` takes the sample out of an image, or raises a Refusal.  Raises TrainingDataError if no file at all
    could be used.
    """

    def read(name: str) -> Pixels | str:
        try:
            return sample_of(images.read(folder / name))
        except Refusal as refusal:
            return f"{name}: {refusal.detail}"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(read, names))
    refused = tuple(one for one in found if isinstance(one, str))
    used = [(one, name) for one, name in zip(found, names, strict=True) if not isinstance(one, str)]
    if not used:
        raise TrainingDataError(f"none of the {len(names)} images named could be used from {folder}")
    if refused:
        print(f"{len(refused)} of {len(names)} images left out:", *refused, sep="\n  ", file=sys.stderr)
    return np.stack([pixels for pixels, _ in used]), tuple(name for _, name in used), refused
