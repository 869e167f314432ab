"""What the pool tells of what devices hide, by attackers trained afresh on other devices' releases.

An attacker knows what is true of some devices' releases, and seeks it of others': people are never split.  Scores of
its five folds are taken to have one scale: few devices hide one label, and within a fold there would be few to compare.
  One kind
knows no wishes, and learns from everybody's releases; the other is told which devices hide the label, and learns from
those alone.  Both are sent out, and the stronger counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from examples.fleet.pool import Pool
from privsdk.auditing.attackers import Attacker, LogisticRegression, QuadraticDiscriminant, StandardisedPerceptron
from privsdk.auditing.intervals import CROSS_FITTED, auroc_influence, halfwidths
from privsdk.auditing.metrics import Estimate
from privsdk.auditing.parallel import each
from privsdk.auditing.protocols import FOLDS, Released, cross_fitted

Interval = tuple[float, float]
Rows = NDArray[np.bool_]

ATTACKERS: tuple[type[Attacker], ...] = (LogisticRegression, StandardisedPerceptron, QuadraticDiscriminant)
NO_WISHES, WHO_HIDES = "knows no wishes", "is told who hides"
LEAST_TOLD = 2 * FOLDS  # devices of each class, for an attacker that learns from those that hide it alone


@dataclass(frozen=True, eq=False)
class Found:
    """What one attacker found of one label: ``scores`` float64 of the ``rows`` (places in the pool) that hide it.

    ``knows`` is which kind of attacker it was.
    """

    label: str
    attacker: str
    knows: str
    rows: NDArray[np.int64]
    scores: NDArray[np.float64]

    @property
    def kind(self) -> str:
        return f"{self.attacker}, {self.knows}"


def found(pool: Pool, seed: int, processes: int) -> list[Found]:
    """What every attacker finds of every label that somebody hides and enough devices show each class of."""
    kinds, tasks = [], []
    for label in pool.attributes:
        hidden, everyone = pool.hides(label), np.ones(len(pool.device), bool)
        for learned_from, knows, least in ((everyone, NO_WISHES, FOLDS), (hidden, WHO_HIDES, LEAST_TOLD)):
            if hidden.any() and pool.told_apart(label, learned_from, least):
                part = of(pool, pool.released, label)[learned_from]
                kinds += [(label, knows, np.flatnonzero(learned_from), hidden[learned_from])] * len(ATTACKERS)
                tasks += [(attacker, part, seed) for attacker in ATTACKERS]
    sought: list[Found | None] = [None] * len(tasks)
    for number, attack in each(cross_fitted, tasks, processes):
        label, knows, places, hidden = kinds[number]
        sought[number] = Found(label, attack.attacker, knows, places[hidden], attack.scores[hidden])
    return [one for one in sought if one is not None]


def of(pool: Pool, z: NDArray[np.float32], label: str) -> Released:
    """Latents of the pool's samples, with what is true of them and whose they are."""
    return Released(z, pool.classes(label), pool.device)


@dataclass(frozen=True)
class Leakage:
    """An AUROC from .5 up, and an interval that holds for all that the strongest was chosen from."""

    value: float
    interval: Interval
    by: str


Told = tuple[float, NDArray[np.float64]]
"""An AUROC, and what each device adds to its error, float64 [D]."""


def leakage(pool: Pool, sought: Sequence[Found], within: Rows) -> Leakage:
    """Of single releases, over all hidden labels: a release is compared with those that hide the same one."""
    return strongest({kind: _of_releases(pool, those, within) for kind, those in by_kind(sought).items()})


def of_each_label(pool: Pool, sought: Sequence[Found], within: Rows) -> dict[str, Leakage]:
    """Of single releases, for each label of which some devices show either class, and hide it.

    The intervals hold for all labels and attackers at once.
    """
    many = [one for one in sought if pool.told_apart(one.label, within & pool.hides(one.label), FOLDS)]
    told = {(one.label, one.kind): _of_releases(pool, [one], within) for one in many}
    if not told:
        return {}
    widths = _widths(list(told.values()))
    ends: dict[str, list[Leakage]] = {}
    for ((label, kind), (area, _)), width in zip(told.items(), widths, strict=True):
        ends.setdefault(label, []).append(_leakage(area, width, kind))
    return {label: _most(those) for label, those in ends.items()}


def strongest(told: Mapping[str, Told]) -> Leakage:
    """The largest leakage of several attackers, whose names are the keys."""
    widths = _widths(list(told.values()))
    return _most([_leakage(area, width, by) for (by, (area, _)), width in zip(told.items(), widths, strict=True)])


def by_kind(sought: Sequence[Found]) -> dict[str, list[Found]]:
    """What each attacker found, of all labels."""
    kinds: dict[str, list[Found]] = {}
    for one in sought:
        kinds.setdefault(one.kind, []).append(one)
    return kinds


@dataclass(frozen=True, eq=False)
class Devices:
    """What one attacker says of M devices that hide a label, from all releases of each together.

    ``truth`` is what most of its photos show; ``score`` the mean of its releases' scores; ``usual`` what is true of
    most devices of the pool; ``label`` numbers the labels.  All are [M].
    """

    device: NDArray[np.int64]
    truth: NDArray[np.int64]
    score: NDArray[np.float64]
    usual: NDArray[np.int64]
    label: NDArray[np.int64]

    @classmethod
    def of(cls, pool: Pool, sought: Sequence[Found], within: Rows) -> Devices:
        rows = []
        for number, one in enumerate(sought):
            classes = pool.classes(one.label)
            truth = majority(classes, pool.device, len(pool.owned))
            usual = int(truth.mean() >= 0.5)
            for device in np.unique(pool.device[one.rows[within[one.rows]]]):
                own = pool.device[one.rows] == device
                rows.append((device, truth[device], one.scores[own].mean(), usual, number))
        return cls(*(np.array(column) for column in zip(*rows, strict=True)))

    @property
    def right(self) -> NDArray[np.bool_]:
        return (self.score > 0) == (self.truth == 1)

    def told(self, devices: int) -> Told:
        return told_of_devices(devices, self.truth, self.score, self.label, self.device)

    def share(self, right: NDArray[np.bool_], weights: NDArray) -> Estimate:
        """The share of devices of which a guess is ``right``; ``weights`` float64 [draws, D] resample devices."""
        own = weights[:, self.device]
        return Estimate(float(right.mean()), own @ right / own.sum(axis=1))


def majority(classes: NDArray[np.int64], device: NDArray[np.int64], devices: int) -> NDArray[np.int64]:
    """What most samples of each device show, and 1 where as many show either: int64 [D]."""
    shares = np.bincount(device, classes, devices) / np.bincount(device, minlength=devices)
    return (shares >= 0.5).astype(np.int64)


def _of_releases(pool: Pool, sought: Sequence[Found], within: Rows) -> Told:
    """One attacker, on several labels."""
    labels, scores, strata, device = [], [], [], []
    for number, one in enumerate(sought):
        own = within[one.rows]
        rows = one.rows[own]
        labels.append(pool.classes(one.label)[rows])
        scores.append(one.scores[own])
        strata.append(np.full(len(rows), number))
        device.append(pool.device[rows])
    found = (np.concatenate(part) for part in (labels, scores, strata, device))
    return told_of_devices(len(pool.owned), *found)


def told_of_devices(
    devices: int,
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    strata: NDArray[np.int64],
    device: NDArray[np.int64],
) -> Told:
    """The AUROC of scores [M] of labels [M], compared within ``strata`` [M]; ``device`` [M] is below ``devices``."""
    area, influence = auroc_influence(labels, scores, strata)
    return area, CROSS_FITTED * np.bincount(device, influence, devices).astype(np.float64)


def _widths(told: Sequence[Told]) -> NDArray[np.float64]:
    influences = np.stack([influence for _, influence in told])
    return halfwidths(influences, np.arange(influences.shape[1]))


def _leakage(area: float, width: float, by: str) -> Leakage:
    off = abs(area - 0.5)
    return Leakage(0.5 + off, (max(0.5, 0.5 + off - width), min(1.0, 0.5 + off + width)), by)


def _most(those: Sequence[Leakage]) -> Leakage:
    """The strongest, with the largest of both ends: each interval holds."""
    most = max(those, key=lambda one: one.value)
    low, high = (max(one.interval[end] for one in those) for end in (0, 1))
    return replace(most, interval=(low, high))
