"""MNIST: 28x28 grey digits in the original idx files (LeCun, Cortes, Burges, 1998), compressed by gzip.

Of the training file a twelfth (5,000 of 60,000), drawn with a fixed seed, is the valid partition.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from export.datasets.labelled import TEST, LabelledSamples, held_out
from privsdk.errors import TrainingDataError, UsageError
from privsdk.samples.digits import SIDE, read_idx

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
DIGITS = tuple(f"Digit {digit}" for digit in range(10))
ATTRIBUTES = (*DIGITS, "Circle", "Even", "At least 5")
WITH_A_CIRCLE = (0, 6, 8, 9)
VALID_SHARE = 1 / 12
SPLIT_SEED = 0


def load(folder: Path) -> LabelledSamples:
    """The digits in ``folder``: samples uint8 [N, 28, 28], 0 (paper) to 255 (ink).

    The labels are "Digit 0" to "Digit 9", "Circle" (0, 6, 8 and 9 are drawn with one), "Even" and "At least 5".
    Raises TrainingDataError if a file is missing, damaged or of another form.
    """
    samples, digits = read_pair(folder / FILES[0], folder / FILES[1])
    test_samples, test_digits = read_pair(folder / FILES[2], folder / FILES[3])
    return LabelledSamples(
        samples=np.concatenate([samples, test_samples]),
        labels=labels_of(np.concatenate([digits, test_digits])),
        attributes=ATTRIBUTES,
        groups={"Digit": DIGITS},
        partition=np.concatenate(
            [held_out(len(samples), VALID_SHARE, SPLIT_SEED), np.full(len(test_samples), TEST, np.uint8)]
        ),
    )


def labels_of(digits: np.ndarray) -> np.ndarray:
    """The labels of digits, uint8 [N]: uint8 [N, 13]."""
    columns = [*(digits == digit for digit in range(10)), np.isin(digits, WITH_A_CIRCLE), digits % 2 == 0, digits >= 5]
    return np.stack(columns, axis=1).astype(np.uint8)


def read_pair(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 28, 28] and their digits uint8 [N], 0 to 9."""
    samples, digits = read_array(images, (SIDE, SIDE)), read_array(labels, ())
    if len(samples) != len(digits):
        raise TrainingDataError(
            f"{images} holds {len(samples)} images and {labels} {len(digits)} labels; get both again"
        )
    if digits.max() > 9:
        raise TrainingDataError(f"{labels} holds the label {digits.max()}, which is no digit; get it again")
    return samples, digits


def read_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The array in an idx file of bytes, uint8 [N, *shape], N at least 1."""
    if not path.is_file():
        raise TrainingDataError(f"{path} is missing; MNIST is the four files {', '.join(FILES)}")
    try:
        return read_idx(path, shape)
    except UsageError as error:
        raise TrainingDataError(str(error)) from error
