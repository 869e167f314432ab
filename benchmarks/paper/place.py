"""Where experiments work: the data sets, the latents of both autoencoders, and what is finished already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import Cells, say
from benchmarks.domains import Data, Domain
from benchmarks.paper.autoencoder import face_folder, face_latents_without_labels, latents_without_labels
from export.datasets import celeba
from export.datasets.labelled import TEST, TRAIN, VALID
from export.latents import Posteriors
from privsdk.auditing.attackers import ATTACKERS, QUICK, Attacker
from privsdk.auditing.forms import LATENTS
from privsdk.codec import Latents
from privsdk.filters import Filter
from privsdk.fitting.data import FitData

Item = TypeVar("Item")
Floats = NDArray[np.float32]
Release = Callable[[int], Floats]  # what is released of every sample with a seed of fit and noise, float32 [N, Z]

SHIPPED = {"digits": "mnist", "table": "adult"}
EPOCHS = {"digits": 12.0, "table": 20.0, "faces": 24.0}
QUICK_EPOCHS = {"digits": 4.0, "table": 40.0, "faces": 2.0}
NETWORK = "residual"  # that of the bundle which ships: on a processor the paper's own takes days
QUICK_SIZES = {TRAIN: 2000, VALID: 500, TEST: 1000}
QUICK_FACES = {TRAIN: 500, VALID: 150, TEST: 300}


def few_faces(data: Path, runs: Path) -> Path:
    """A folder whose celeba/ lists a few of the images in ``data``, by partition, and holds a link to all."""
    whole, few = data / "celeba", runs / "few" / "celeba"
    few.mkdir(parents=True, exist_ok=True)
    taken = dict.fromkeys(QUICK_FACES, 0)
    chosen = set()
    for line in (whole / celeba.PARTITION).read_text().splitlines():
        name, partition = line.split()
        taken[int(partition)] += 1
        if taken[int(partition)] <= QUICK_FACES[int(partition)]:
            chosen.add(name)
    for file in celeba.LISTS:
        lines = (whole / file).read_text().splitlines()
        heading = lines[:2] if file == celeba.ATTRIBUTES else []
        kept = [line for line in lines[len(heading) :] if line.split()[0] in chosen]
        (few / file).write_text("\n".join([*heading, *kept]) + "\n")
    if not (few / "img_align_celeba").exists():
        (few / "img_align_celeba").symlink_to(whole.resolve() / "img_align_celeba", target_is_directory=True)
    return few.parent


class Part(Domain):
    """A domain that is a small part of its data set."""

    @cached_property
    def data(self) -> Data:
        whole = super().data
        rows = np.concatenate([np.flatnonzero(whole.partition == one)[:size] for one, size in QUICK_SIZES.items()])
        return Data(
            whole.samples[rows], whole.labels[rows], whole.attributes, whole.partition[rows], np.arange(len(rows))
        )


@dataclass(frozen=True, eq=False)
class Space:
    """The latents of every sample of a domain by one autoencoder; what is measured of them is kept in ``cells``.

    ``used`` is bool [Z]: the dimensions in which the encoder says something.  ``attackers`` are those that are trained
    afresh on each release.  What is ``quick`` is fitted on the bundle alone.
    """

    domain: Domain
    latents: Latents
    used: NDArray[np.bool_]
    cells: Cells
    attackers: tuple[type[Attacker], ...]
    quick: bool

    def data(self, private: str, utility: Sequence[str], rows: NDArray[np.int64]) -> FitData:
        """These rows, to fit a filter on."""
        classes = self.domain.classes(private)
        columns = np.stack([self.domain.classes(label)[rows] for label in utility], axis=1).astype(np.float32)
        mean, variance = self.latents.mean[rows], self.latents.variance[rows]
        return FitData(mean, variance, classes[rows], int(classes.max()) + 1, columns, self.used)

    def means(self, seed: int) -> Floats:
        """The posterior means as they are: nothing is hidden."""
        return self.latents.mean

    def through(self, fit: Callable[[int], Filter], private: str) -> Release:
        """What comes of filters that ``fit`` makes, one a seed."""
        return lambda seed: self.perturbed(fit(seed), private, seed)

    def perturbed(self, filter_: Filter, private: str, seed: int) -> Floats:
        """What devices release whose keys depend on ``seed`` alone, of every sample: float32 [N, Z]."""
        labels = self.domain.classes(private) if filter_.label_aware else None
        return filter_.perturb(self.latents.mean, self.latents.variance, self.domain.seeds(seed), labels)


class Place:
    """``data`` holds the data sets, ``runs`` what is finished; ``quick`` takes a small part of both."""

    def __init__(self, data: Path, runs: Path, seeds: int, quick: bool) -> None:
        self.seeds, self.quick = range(seeds), quick
        self._data, self._runs = data, runs / "quick" if quick else runs
        self._domains: dict[str, Domain] = {}
        self._spaces: dict[tuple[str, str], Space] = {}

    def few(self, items: Iterable[Item]) -> list[Item]:
        """Of a quick run the first alone."""
        return list(items)[: 1 if self.quick else None]

    def shipped(self, kind: str) -> Space:
        """ "digits", "table" or "faces" by the bundle that ships, whose encoder was trained to show labels."""
        if (kind, "shipped") not in self._spaces:
            domain = self._domain(kind)
            self._spaces[kind, "shipped"] = self._space(
                domain, domain.latents, domain.bundle.used, domain.folder / "paper"
            )
        return self._spaces[kind, "shipped"]

    def published(self, kind: str) -> Space:
        """The same by an autoencoder as the paper's, which knows no label."""
        if (kind, "published") not in self._spaces:
            domain = self._domain(kind)
            epochs = (QUICK_EPOCHS if self.quick else EPOCHS)[kind]
            say(f"the autoencoder without labels, {kind}")
            if kind == "faces":
                folder = face_folder(self._runs, epochs, NETWORK)
                latents = face_latents_without_labels(domain.images, folder, epochs, NETWORK)
            else:
                folder = self._runs / f"paper-{kind}-{epochs:g}-epochs"
                latents = latents_without_labels(kind, domain.data, folder, epochs)
            used = Posteriors(latents.mean[domain.train], latents.variance[domain.train]).used
            self._spaces[kind, "published"] = self._space(domain, latents, used, folder / "cells")
        return self._spaces[kind, "published"]

    def faces(self) -> Domain:
        """CelebA through the bundle that ships, with what `benchmarks.frontier` has measured of it."""
        if "faces" not in self._domains:
            data = few_faces(self._data, self._runs) if self.quick else self._data
            self._domains["faces"] = Domain("faces", "faces", data, self._runs, threads=1)
        return self._domains["faces"]

    def folder(self, name: str) -> Path:
        """Where else something of this name is kept."""
        return self._runs / f"paper-{name}"

    def _domain(self, kind: str) -> Domain:
        if kind == "faces":
            return self.faces()
        if kind not in self._domains:
            form = Part if self.quick else Domain
            self._domains[kind] = form(kind, SHIPPED[kind], self._data, self._runs, threads=1)
        return self._domains[kind]

    def _space(self, domain: Domain, latents: Latents, used: NDArray[np.bool_], cells: Path) -> Space:
        cells.mkdir(exist_ok=True)
        return Space(domain, latents, used, Cells(cells), QUICK[LATENTS] if self.quick else ATTACKERS, self.quick)
