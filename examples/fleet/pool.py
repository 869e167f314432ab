"""What lies on the server, a row a release, beside what the experiment knows of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import privsdk
from examples.fleet.population import Owned
from examples.fleet.server_app import POOL

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Pool:
    """D devices whose releases were taken, with N releases.

    ``released`` float32 [N, Z] are latents of the ``releases``, encoded again as anybody can who has the bundle;
    ``unfiltered`` those of the photos, which no server has; ``labels`` uint8 [N, A] what is true of the photos, by
    ``attributes``; ``device`` int64 [N] whose each is, as a place in ``owned``.
    """

    owned: tuple[Owned, ...]
    attributes: tuple[str, ...]
    releases: NDArray[np.uint8]
    released: Floats
    unfiltered: Floats
    labels: NDArray[np.uint8]
    device: NDArray[np.int64]

    @classmethod
    def read(cls, bundle: privsdk.Bundle, server: Path, owned: Sequence[Owned]) -> Pool:
        """What a server wrote into its folder, of these devices."""
        with np.load(server / POOL) as arrays:
            taken = {name: arrays[name] for name in arrays.files}
        present = tuple(one for one in owned if one.name in taken)
        releases = np.concatenate([taken[one.name] for one in present])
        photos = np.concatenate([one.person.photos for one in present])
        return cls(
            present,
            bundle.attributes,
            releases,
            bundle.encode(releases).mean,
            bundle.encode(photos).mean,
            np.concatenate([one.person.labels for one in present]),
            np.repeat(np.arange(len(present)), [len(one.person.photos) for one in present]),
        )

    def classes(self, label: str) -> NDArray[np.int64]:
        """What is true of each release: int64 [N]."""
        return self.labels[:, self.attributes.index(label)].astype(np.int64)

    def hides(self, label: str) -> NDArray[np.bool_]:
        """The releases of devices that hide this label: bool [N]."""
        return np.array([label in one.wish.private for one in self.owned])[self.device]

    def keeps(self, label: str) -> NDArray[np.bool_]:
        """The releases of devices that keep this label: bool [N]."""
        return np.array([label in one.wish.utility for one in self.owned])[self.device]

    def of(self, partitions: Sequence[str]) -> NDArray[np.bool_]:
        """The releases of devices whose owners are in these partitions: bool [N]."""
        return np.array([one.person.partition in partitions for one in self.owned])[self.device]

    def told_apart(self, label: str, rows: NDArray[np.bool_], least: int) -> bool:
        """Whether among these releases at least so many devices show each class."""
        classes = self.classes(label)
        return all(len(np.unique(self.device[rows & (classes == one)])) >= least for one in (0, 1))
