"""A data set of made-up images with two labels, as a folder with its labels.csv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

FEW = ("train",) * 2 + ("valid", "valid", "test")


def write_squares(root: Path, partitions: Sequence[str]) -> Path:
    """An image for each of ``partitions``, bright or not and red or not, and a labels.csv."""
    generator = np.random.default_rng(0)
    rows = ["file,partition,bright,red"]
    root.mkdir(exist_ok=True)
    for i, partition in enumerate(partitions):
        bright, red = generator.integers(0, 2, 2)
        pixels = generator.integers(0, 90, (64, 64, 3)) + 120 * bright + np.array([45, 0, 0]) * red
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / f"{i}.png")
        rows.append(f"{i}.png,{partition},{bright},{red}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root
