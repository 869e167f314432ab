"""Real faces, filters for them and attackers on their releases: what the trials of randomness have in common.

Where PRIVSDK_DATA names no CelebA, public latents of the shipped bundle stand for people; a trial says which it had.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.datasets.celeba import ATTRIBUTES, IDENTITY, PARTITION, read_attributes, read_numbers
from export.datasets.labelled import TEST, TRAIN
from privsdk import Bundle, Privatizer, Refusal, noise
from privsdk.auditing.attackers import Attacker
from privsdk.auditing.intervals import auroc_influence
from privsdk.auditing.protocols import TRAINING_PARTITION, Released, attack
from privsdk.filters import Filter
from privsdk.fitting.asked import Asked
from privsdk.fitting.comparison import fit_gaussian_mechanism
from privsdk.fitting.default import fit_flow
from privsdk.fitting.engines.closed_form import ClosedForm
from privsdk.fitting.material import Material, gather
from privsdk.fitting.wish import Wish, resolve
from privsdk.samples import images
from privsdk.samples.faces import Detector, faces_in
from privsdk.store import ledger
from privsdk.store.key import KEY_NAME
from tests.attacks.trial import REPOSITORY
from tests.make_bundle import record

PRIVATE, UTILITY = "Male", "Smiling"
BUNDLE = REPOSITORY / "models" / "faces"
FITTED_ON, CHOSEN_BY = 3000, 1000
"""Of the public latents, enough for a filter that hides; all of them would take most of a trial's time."""
EPSILON, DELTA = 40.0, 1e-5
"""Of the Gaussian mechanism: so little noise that one release tells some of the label, and an average most of it."""

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Faces:
    """N faces, uint8 [N, 64, 64, 3], whether each is male, int64 [N], and the photos, where there are any.

    They are of N people, or of as many as there are.
    """

    samples: Pixels
    male: NDArray[np.int64]
    photos: tuple[Path, ...]
    source: str

    def __len__(self) -> int:
        return len(self.samples)


@cache
def bundle() -> Bundle:
    return Bundle.open(BUNDLE)


def celeba() -> Path | None:
    """The folder of CelebA, if it is there."""
    named = os.environ.get("PRIVSDK_DATA")
    folder = REPOSITORY / named / "celeba" if named else None
    return folder if folder is not None and (folder / ATTRIBUTES).is_file() else None


def strangers(count: int) -> Faces:
    """People whom the encoder, the filters and the attackers have not seen: CelebA's test partition."""
    return _people(TEST, count)


def known(count: int) -> Faces:
    """People for attackers to learn from: CelebA's training partition."""
    return _people(TRAIN, count)


def _people(partition: int, count: int) -> Faces:
    folder = celeba()
    if folder is None:
        return _nobody(partition, count)
    names, rows, parts, identity = _lists(folder)
    column = names.index(PRIVATE)
    detector = Detector()
    samples, male, photos = [], [], []
    for name in _one_of_each_first(sorted((name for name in rows if parts[name] == partition), reverse=True), identity):
        if len(samples) == count:
            break
        try:
            face = faces_in(images.read(folder / "img_align_celeba" / name), "largest", False, detector)[0][0]
        except Refusal:
            continue
        samples.append(face)
        male.append(rows[name][column])
        photos.append(folder / "img_align_celeba" / name)
    said = "CelebA's test partition" if partition == TEST else "CelebA's training partition"
    return Faces(np.stack(samples), np.array(male, np.int64), tuple(photos), said)


def _one_of_each_first(names: Sequence[str], identity: Mapping[str, int]) -> list[str]:
    """The first photo of each person, then the second of each, and so on."""
    met: Counter[int] = Counter()
    nth = {}
    for name in names:
        nth[name] = met[identity[name]]
        met[identity[name]] += 1
    return sorted(names, key=lambda name: nth[name])


@cache
def _lists(folder: Path) -> tuple[tuple[str, ...], dict[str, list[int]], dict[str, int], dict[str, int]]:
    """Names of attributes; for each file's name its labels, its partition and whom it shows."""
    return (
        *read_attributes(folder / ATTRIBUTES),
        read_numbers(folder / PARTITION),
        read_numbers(folder / IDENTITY),
    )


def _nobody(partition: int, count: int) -> Faces:
    public = bundle().public
    rows = np.arange(count) if partition == TRAIN else len(public) - 1 - np.arange(count)
    samples = bundle().decode(public.mean[rows].astype(np.float32))
    male = public.labels[rows, bundle().attributes.index(PRIVATE)].astype(np.int64)
    return Faces(samples, male, (), "public latents, PRIVSDK_DATA being unset")


@cache
def _material() -> tuple[Wish, Material]:
    wish = resolve(PRIVATE, UTILITY, bundle().attributes, bundle().groups, ())
    whole = gather(bundle(), wish, None, 0, "public")
    return wish, replace(whole, train=whole.train[:FITTED_ON], validation=whole.validation[:CHOSEN_BY])


@cache
def flow_privatizer() -> Privatizer:
    """The default filter in closed form, without the check that ends a fit: nobody reads it here."""
    wish, material = _material()
    asked = Asked("flow", 0.2, 1.0, 1.0, None, None, False, "nonlinear", "l2", "dependable", 0)
    fitted, _ = fit_flow(bundle(), wish, material, asked, ClosedForm(), lambda stage, done, total: None)
    return _privatizer(fitted)


@cache
def noise_privatizer() -> Privatizer:
    """The Gaussian mechanism, whose noise is all that hides anything: what averages away shows here first."""
    wish, material = _material()
    return _privatizer(fit_gaussian_mechanism(material.for_minmax(wish, bundle().used), EPSILON, DELTA))


def _privatizer(fitted: Filter) -> Privatizer:
    return Privatizer(bundle(), fitted, record())


def put_key(home: Path, seed: int) -> bytes:
    """A device key that is the same in every run of a trial, in a new data folder; its 32 bytes."""
    key = np.random.default_rng([seed, 21]).bytes(noise.KEY_BYTES)
    home.mkdir(mode=0o700, parents=True)
    path = home / KEY_NAME
    path.touch(mode=0o600)
    path.write_bytes(key)
    return key


@dataclass(frozen=True, eq=False)
class Told:
    """What the strongest attacker found, and what each sample adds to the error of that: float64 [N]."""

    leakage: float
    influence: NDArray[np.float64]

    @classmethod
    def mean(cls, several: Sequence[Told]) -> Told:
        """Of what was found in several releases of the same samples, one at a time."""
        return cls(
            float(np.mean([one.leakage for one in several])), np.mean([one.influence for one in several], axis=0)
        )

    def error_beside(self, other: Told) -> float:
        """The standard error of the difference to what was found of the same samples otherwise."""
        return float(np.linalg.norm(self.influence - other.influence))


def told(
    learned: Floats | Pixels,
    labels: NDArray[np.int64],
    seen: Floats | Pixels,
    truth: NDArray[np.int64],
    attackers: Sequence[type[Attacker]],
    latents: Floats | None = None,
) -> Told:
    """What the strongest attacker, trained on ``learned``, tells of ``seen``.

    One more needs no training where ``latents`` of the same samples are given, [N, Z]: the bundle's own score of them,
    which is public.  Features that are one number for everybody are left out: to some attackers they are noise.
    """
    if learned.ndim == 2:
        varying = learned.std(axis=0) > 0
        learned, seen = learned[:, varying], seen[:, varying]
    train = Released(learned, labels, np.arange(len(labels)))
    test = Released(seen, truth, len(labels) + np.arange(len(truth)))
    scores = [one.scores for one in attack(train, train, test, attackers, protocols=(TRAINING_PARTITION,))]
    if latents is not None:
        scores.append(bundle().scores.scores(latents)[:, bundle().attributes.index(PRIVATE)].astype(np.float64))
    found = [auroc_influence(truth, one) for one in scores]
    return max(
        (Told(0.5 + abs(area - 0.5), influence if area >= 0.5 else -influence) for area, influence in found),
        key=lambda one: one.leakage,
    )


class Averaging:
    """The mean and the spread of releases of the same samples, one asking after another."""

    def __init__(self) -> None:
        self.count = 0
        self.first = np.empty(0)
        self._away, self._squares = np.zeros(1), np.zeros(1)
        self.differing = np.zeros(1, bool)

    def add(self, releases: Floats | Pixels) -> None:
        """One release of each sample, [N, ...]."""
        if not self.count:
            self.first = releases
        # From the first release: where all are the same the spread is 0 and not what rounding makes of it.
        away = releases.astype(np.float64) - self.first
        self._away, self._squares = self._away + away, self._squares + away**2
        self.differing = self.differing | (releases != self.first).reshape(len(releases), -1).any(axis=1)
        self.count += 1

    @property
    def mean(self) -> NDArray[np.float64]:
        return self.first + self._away / self.count

    @property
    def spread(self) -> NDArray[np.float64]:
        """The standard deviation; 0 where all releases are the same."""
        variance = self._squares / self.count - (self._away / self.count) ** 2
        return np.sqrt(np.maximum(variance, 0))


def digests_without_the_key() -> None:
    """A fault: seeds and digests are those of a key that everybody knows."""
    real = noise.sample_digests

    def sample_digests(key: bytes, samples: Any, purpose: str = "sample") -> list[bytes]:
        return real(bytes(noise.KEY_BYTES), samples, purpose)

    noise.sample_digests = sample_digests
    ledger.sample_digests = sample_digests
