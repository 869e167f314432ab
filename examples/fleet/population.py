"""Whose devices they are: people of CelebA, and beside them people who are simulated from public latents.

This is the experiment's own knowledge.  A device is written into a folder (:mod:`examples.fleet.device`); what is true
of its photos stays here, and no server sees it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import privsdk
from examples.fleet.device import Device, Wish, named
from examples.fleet.faults import COMES_BACK, DROPS_OUT, IS_LATE, REPEATS, RUBBISH
from export.datasets import celeba
from export.datasets.labelled import PARTITIONS

LEAST_PHOTOS = 5
SIMULATED = "simulated"
SIMULATED_PHOTOS = 17  # what a person of CelebA with at least five has on average
LIKENESS = 0.8  # of two simulated photos of one person: how far their codes correlate

# What people hide: half of the time one of the labels that the paper's Table 3 hides, else any.
OFTEN_HIDDEN = (
    *("Male", "Young", "Attractive", "High_Cheekbones"),
    *("Big_Lips", "Big_Nose", "Eyeglasses", "Wavy_Hair"),
)
ALSO = 0.25  # how many hide, and how many keep, a second label

# Of each fifty devices one has each fault, all of them among the first twenty, so that a small fleet has them too.
BLOCK, FAULTY = 50, 20
FAILS = (DROPS_OUT, COMES_BACK, IS_LATE, REPEATS)


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody's photos, uint8 [N, 64, 64, 3], with what is true of them, uint8 [N, A] by attribute of the bundle.

    ``partition`` is CelebA's, or "simulated"; ``file_bytes`` what the photos' files take, None where there are none.
    """

    partition: str
    photos: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    file_bytes: int | None


@dataclass(frozen=True, eq=False)
class Owned:
    """A device, and what the experiment alone knows of its owner."""

    name: str
    person: Person
    wish: Wish
    fault: str | None


def people(bundle: privsdk.Bundle, data: Path | None, count: int, seed: int) -> Iterator[Person]:
    """People of CelebA's test, valid and train partition, in this order, then simulated ones."""
    left = count
    if data is not None and (folder := data / "celeba").is_dir():
        for person in _celeba(bundle, folder, count, seed):
            left -= 1
            yield person
    generator = np.random.default_rng([seed, 1])
    for _ in range(left):
        yield _simulated(bundle, generator)


def fleet(bundle: privsdk.Bundle, data: Path | None, count: int, seed: int, folder: Path) -> list[Owned]:
    """So many devices, each in a folder of its own in ``folder``: of two fleets the smaller is part of the larger."""
    owned = []
    for number, person in enumerate(people(bundle, data, count, seed)):
        name = named(number)
        wish, fault = _wish(bundle, np.random.default_rng([seed, 2, number])), _fault(number, seed)
        columns = [bundle.attributes.index(label) for label in wish.utility]
        key = hashlib.sha256(f"{name}, seed {seed}".encode()).digest()
        Device.made(folder / name, person.photos, wish, key, person.labels[:, columns], fault)
        owned.append(Owned(name, person, wish, fault))
    return owned


def _celeba(bundle: privsdk.Bundle, folder: Path, most: int, seed: int) -> Iterator[Person]:
    """Identities with at least five photos.  Photos that show no face stay out, as on a device."""
    attributes, rows = celeba.read_attributes(folder / celeba.ATTRIBUTES)
    partition, identity = (celeba.read_numbers(folder / name) for name in (celeba.PARTITION, celeba.IDENTITY))
    columns = [attributes.index(name) for name in bundle.attributes]
    photos: dict[tuple[int, int], list[str]] = {}
    for name, number in identity.items():
        photos.setdefault((partition[name], number), []).append(name)
    generator = np.random.default_rng([seed, 0])
    albums: list[tuple[str, list[str]]] = []
    for part in ("test", "valid", "train"):
        owners = sorted(
            key for key, names in photos.items() if key[0] == PARTITIONS[part] and len(names) >= LEAST_PHOTOS
        )
        for owner in generator.permutation(len(owners)):
            # The order in which photos lie in CelebA is no secret.
            albums.append((part, generator.permutation(sorted(photos[owners[owner]])).tolist()))

    def person(album: tuple[str, list[str]]) -> Person:
        part, names = album
        files = [folder / "img_align_celeba" / name for name in names]
        samples, refusals = privsdk.read_faces(files)
        refused = {refusal.position for refusal in refusals}
        kept = [number for number in range(len(names)) if number not in refused]
        labels = np.array([rows[names[number]] for number in kept], np.uint8)[:, columns]
        return Person(part, samples, labels, sum(files[number].stat().st_size for number in kept))

    # Photos are decoded in processes of their own and faces found in this one: of two albums one while the other waits.
    with ThreadPoolExecutor(2) as threads:
        yield from threads.map(person, albums[:most])


def _simulated(bundle: privsdk.Bundle, generator: np.random.Generator) -> Person:
    """Nobody: public latents whose codes lie near each other, decoded; labels are drawn from their scores."""
    flow = bundle.flow
    used = int(flow.used.sum())
    person, photo = generator.standard_normal(used), generator.standard_normal((SIMULATED_PHOTOS, used))
    codes = np.sqrt(LIKENESS) * person + np.sqrt(1 - LIKENESS) * photo
    z = np.zeros((SIMULATED_PHOTOS, bundle.latent_size), np.float32)
    z[:] = flow.inverse(codes.astype(np.float32))
    samples = bundle.decode(z)
    scores = bundle.scores.scores(bundle.encode(samples).mean)
    labels = generator.random(scores.shape) < 1 / (1 + np.exp(-scores))
    return Person(SIMULATED, samples, labels.astype(np.uint8), None)


def _wish(bundle: privsdk.Bundle, generator: np.random.Generator) -> Wish:
    often = [label for label in OFTEN_HIDDEN if label in bundle.attributes]
    first = str(generator.choice(often if generator.random() < 0.5 else bundle.attributes))
    others = [str(label) for label in generator.permutation(bundle.attributes) if label != first]
    private, utility = [first], [others.pop()]
    for labels in (private, utility):
        if generator.random() < ALSO:
            labels.append(others.pop())
    return Wish(bundle.name, tuple(private), tuple(utility))


def _fault(number: int, seed: int) -> str | None:
    """What goes wrong with the device of this number."""
    block, place = divmod(number, BLOCK)
    faulty = np.random.default_rng([seed, 3, block]).permutation(FAULTY)[: len(FAILS) + 1].tolist()
    if place not in faulty:
        return None
    return (*FAILS, list(RUBBISH)[block % len(RUBBISH)])[faulty.index(place)]
