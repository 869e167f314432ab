"""What is filtered: the latents of a data set through its bundle, with labels, in partitions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import privsdk
from benchmarks.cells import Cells, say
from export.bernoulli import PLANS
from export.datasets import celeba
from export.datasets.labelled import TEST, TRAIN, VALID, LabelledImages
from privsdk.auditing import metrics
from privsdk.auditing.protocols import BOTH, TRAINING_PARTITION, Released
from privsdk.codec import Latents
from privsdk.filters.scores import clipped

DATA = {"faces": "celeba", "digits": "mnist", "table": "adult"}
MOST_TRAINING = 20_000  # releases that attackers are trained on, of data sets that have more


@dataclass(frozen=True)
class Data:
    """Samples of one data set: labels uint8 [N, A], partition and identity [N]."""

    samples: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    attributes: tuple[str, ...]
    partition: NDArray[np.uint8]
    identity: NDArray[np.integer]


class Domain:
    """One data set through one bundle; what is made of it is kept in ``runs`` under the bundle's digest."""

    def __init__(self, name: str, bundle: str, data: Path, runs: Path, threads: int) -> None:
        self.name = name
        self.opened_as = bundle
        self.bundle = privsdk.Bundle.open(bundle, threads)
        self.folder = runs / f"frontier-{name}-{self.bundle.digest[:12]}"
        (self.folder / "cells").mkdir(parents=True, exist_ok=True)
        self.cells = Cells(self.folder / "cells")
        self.threads = threads
        self.protocols = BOTH if name == "faces" else (TRAINING_PARTITION,)
        self.source = data / DATA[name]

    def reopened(self, threads: int) -> privsdk.Bundle:
        """The bundle again, with so many threads."""
        return privsdk.Bundle.open(self.opened_as, threads)

    @cached_property
    def images(self) -> LabelledImages:
        """Of faces: every one of CelebA, found and aligned as on a device."""
        stored = self.folder / "images.npz"
        if not stored.exists():
            say("reading CelebA")
            celeba.load(self.source).save(stored)
        return LabelledImages.load(stored)

    @cached_property
    def data(self) -> Data:
        if self.name != "faces":
            rows = PLANS[self.name].load(self.source)
            return Data(rows.samples, rows.labels, rows.attributes, rows.partition, np.arange(len(rows)))
        images = self.images
        return Data(images.pixels, images.labels, images.attributes, images.partition, images.identity)

    @cached_property
    def latents(self) -> Latents:
        """Of every sample, in the order of ``data``."""
        stored = self.folder / "latents.npz"
        if not stored.exists():
            say(f"encoding {self.name}")
            latents = self.bundle.encode(self.data.samples)
            temporary = stored.with_suffix(".part.npz")
            np.savez(temporary, mean=latents.mean, variance=latents.variance)
            os.replace(temporary, stored)
        with np.load(stored) as arrays:
            return Latents(arrays["mean"], arrays["variance"])

    @cached_property
    def train(self) -> NDArray[np.int64]:
        """The rows that attackers are trained on the releases of."""
        rows = np.flatnonzero(self.data.partition == TRAIN)
        if len(rows) > MOST_TRAINING:
            rows = np.sort(np.random.default_rng(0).choice(rows, MOST_TRAINING, replace=False))
        return rows

    @cached_property
    def valid(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.data.partition == VALID)

    @cached_property
    def test(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.data.partition == TEST)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """The same resamplings of the test partition's people for every figure: differences are paired."""
        return metrics.resampled(self.data.identity[self.test])

    def classes(self, label: str) -> NDArray[np.int64]:
        """The class of every sample: int64 [N]."""
        if label in self.bundle.groups:
            columns = [self.data.attributes.index(name) for name in self.bundle.groups[label]]
            return self.data.labels[:, columns].argmax(axis=1)
        return self.data.labels[:, self.data.attributes.index(label)].astype(np.int64)

    def combined(self, labels: Sequence[str]) -> NDArray[np.int64]:
        """The combination of several labels as one class of its own, those that occur numbered in order: int64 [N]."""
        columns = np.stack([self.classes(label) for label in labels], axis=1)
        return np.unique(columns, axis=0, return_inverse=True)[1].reshape(-1)

    def sought(self, private: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """What attackers seek, by its name: the class of each label, and the combination of several; int64 [N]."""
        one_by_one = {label: self.classes(label) for label in private}
        return one_by_one | ({"combination": self.combined(private)} if len(private) > 1 else {})

    def scores(self, labels: Sequence[str]) -> NDArray[np.float32]:
        """The bundle's scores of these labels, of every sample: float32 [N, K]."""
        attributes = [name for label in labels for name in self.bundle.groups.get(label, (label,))]
        columns = [self.bundle.attributes.index(name) for name in attributes]
        return clipped(self.bundle.scores.only(columns).scores(self.latents.mean))

    def parts(self, z: NDArray[np.float32], classes: NDArray[np.int64]) -> tuple[Released, Released, Released]:
        """Releases ``z`` of all samples, by partition."""
        train, valid, test = (
            Released(z[rows], classes[rows], self.data.identity[rows]) for rows in (self.train, self.valid, self.test)
        )
        return train, valid, test

    def seeds(self, seed: int) -> NDArray[np.uint64]:
        """The draws of a device whose key depends on ``seed`` alone, one a sample."""
        digest = hashlib.sha256(f"frontier {seed}".encode()).digest()
        return np.random.default_rng(list(digest)).integers(0, 2**63, len(self.data.partition), dtype=np.uint64)
