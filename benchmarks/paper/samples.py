"""Figures 1 and 6: a digit of each kind, before and after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import Cell
from benchmarks.domains import Domain
from benchmarks.paper.cases import SEED, Case, Version, versions
from benchmarks.paper.pictures import Picture, grid
from benchmarks.paper.place import Floats, Place
from benchmarks.paper.readings import names, read
from benchmarks.paper.sheet import Sheet

DIGIT = "Digit"
MAGNIFIED = 2
SOURCE = "Digits: MNIST, Y. LeCun, C. Cortes, C. Burges, CC BY-SA 3.0."


def shown(domain: Domain) -> NDArray[np.int64]:
    """The first sample of each digit in the test partition, as places within it: [10]."""
    return np.unique(domain.classes(DIGIT)[domain.test], return_index=True)[1]


def measure(place: Place, case: Case) -> Sequence[Sheet]:
    """What the paper's classifier reads in the digits of the picture."""
    domain = place.shipped("digits").domain
    places = shown(domain)
    rows = []
    for label in (case.private, case.utility):
        called = names(domain, label)
        told = {"truth": domain.classes(label)[domain.test]}
        told |= {version.name: read(version, case, label) for version in versions(place, case)}
        rows += [(label, name, *(called[one] for one in said[places])) for name, said in told.items()]
    caption = f"What the paper's classifier says of the ten digits in the picture, seed {SEED}."
    return (Sheet(caption, ("label", "release", *names(domain, DIGIT)), tuple(rows)),)


def pictures(place: Place, case: Case, name: str) -> Sequence[Picture]:
    domain = place.shipped("digits").domain
    samples = domain.data.samples[domain.test[shown(domain)]]
    rows = {"digit": samples} | {one.name: one.decode(released(one, case)) for one in versions(place, case)}
    caption = (
        "The first test digit of each kind, as each autoencoder decodes it, and as each filter releases it, seed "
        f"{SEED}. {SOURCE}"
    )
    return (Picture(name, caption, grid(rows, names(domain, DIGIT), MAGNIFIED), of_people=False),)


def released(version: Version, case: Case) -> Floats:
    """The latents of the digits in the picture: float32 [10, Z]."""
    domain = version.space.domain

    def measure() -> Cell:
        return Cell({}, {"z": version.z[domain.test[shown(domain)]].tolist()})

    cell = version.space.cells.cell(f"{case} {version.name} shown {SEED}", measure)
    return np.array(cell.notes["z"], np.float32)
