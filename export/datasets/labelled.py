"""What every data set becomes before training: samples, labels, and who is whose."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from privsdk.errors import TrainingDataError
from privsdk.names import folded
from privsdk.samples.tables import Table

TRAIN, VALID, TEST = 0, 1, 2
PARTITIONS = {"train": TRAIN, "valid": VALID, "test": TEST}


def check_names(names: Sequence[str], source: Path) -> None:
    """Raises TrainingDataError where an attribute's name is none that a bundle takes, or means two of ``names``."""
    meant: dict[str, str] = {}
    for name in names:
        if not folded(name) or not name.isprintable():
            raise TrainingDataError(
                f"{source}: a column is called {name!r}, which is no name for an attribute; use printable letters"
            )
        if folded(name) in meant:
            raise TrainingDataError(
                f"{source}: the columns {meant[folded(name)]!r} and {name!r} are one name, since case, spaces, "
                "underscores and hyphens are ignored; rename one"
            )
        meant[folded(name)] = name


@dataclass(frozen=True)
class LabelledImages:
    """N images with A labels each.

    pixels uint8 [N, H, W, 3]; labels uint8 [N, A], 0 or 1; partition uint8 [N], one of TRAIN, VALID, TEST;
    identity int32 [N], equal for images of one person (a number of its own for each image where nobody knows);
    names, the file names; refused, one sentence for each image that could not be used.
    """

    pixels: np.ndarray
    labels: np.ndarray
    attributes: tuple[str, ...]
    partition: np.ndarray
    identity: np.ndarray
    names: tuple[str, ...]
    refused: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def samples(self) -> np.ndarray:
        """The pixels, by the name that they have in every data set."""
        return self.pixels

    def __getitem__(self, rows: np.ndarray) -> LabelledImages:
        """These images alone; ``rows`` are their indices, or bool [N]."""
        return replace(
            self,
            pixels=self.pixels[rows],
            labels=self.labels[rows],
            partition=self.partition[rows],
            identity=self.identity[rows],
            names=tuple(np.asarray(self.names)[rows].tolist()),
        )

    def save(self, path: Path) -> None:
        """Into one file, whole or not at all."""
        partial = path.with_suffix(".partial.npz")
        arrays: dict[str, Any] = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        np.savez(partial, **arrays)
        os.replace(partial, path)

    @classmethod
    def load(cls, path: Path) -> LabelledImages:
        """What :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            found: dict[str, Any] = {field.name: stored[field.name] for field in fields(cls)}
        for name in ("attributes", "names", "refused"):
            found[name] = tuple(str(one) for one in found[name])
        return cls(**found)

    def part(self, partition: int) -> LabelledImages:
        """The images of one partition.

        Raises TrainingDataError if there are none.
        """
        keep = np.flatnonzero(self.partition == partition)
        if not len(keep):
            name = {number: name for name, number in PARTITIONS.items()}[partition]
            raise TrainingDataError(
                f"no image is in the {name} partition; training needs all three (train, valid, test): "
                "add rows for it to the partition file or column"
            )
        return self[keep]


@dataclass(frozen=True)
class LabelledSamples:
    """N samples of any shape with A labels each, of a data set with partitions of its own, each sample its own owner.

    samples uint8 [N, *shape]; labels uint8 [N, A], 0 or 1; partition uint8 [N], one of TRAIN, VALID, TEST; ``groups``
    names attributes of which exactly one holds; ``table`` has the columns where they are rows of one.
    """

    samples: np.ndarray
    labels: np.ndarray
    attributes: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    partition: np.ndarray
    table: Table | None = None

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def identity(self) -> np.ndarray:
        """A number of its own for each sample: int64 [N]."""
        return np.arange(len(self))

    def part(self, partition: int) -> LabelledSamples:
        """The samples of one partition."""
        keep = self.partition == partition
        return replace(self, samples=self.samples[keep], labels=self.labels[keep], partition=self.partition[keep])


def held_out(count: int, share: float, seed: int) -> np.ndarray:
    """TRAIN for ``count`` samples but VALID for a ``share`` of them, drawn with ``seed``: uint8 [count]."""
    partition = np.full(count, TRAIN, np.uint8)
    partition[np.random.default_rng(seed).permutation(count)[: round(share * count)]] = VALID
    return partition
