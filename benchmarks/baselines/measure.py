"""What fresh attackers read in a baseline's representations, of both labels, and what the baseline cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import BASELINES, FACE_BASELINES
from benchmarks.baselines.interface import Baseline, Samples
from benchmarks.cells import Cell, alone
from benchmarks.paper.classifier import PapersClassifier
from export.datasets import adult, celeba, mnist
from export.datasets.labelled import TEST, TRAIN, VALID, LabelledImages, LabelledSamples
from privsdk.auditing.attackers import HistGradientBoosting, LogisticRegression, StandardisedPerceptron
from privsdk.auditing.protocols import TRAINING_PARTITION, Attack, Released, attack

STRONGEST = (LogisticRegression, HistGradientBoosting, StandardisedPerceptron)
LABELS = ("private", "utility")
QUICK = 4000  # training samples


@dataclass(frozen=True)
class DataSet:
    """Two of its attributes are the labels; ``scale`` is that of its samples, which become rows in [0, 1].

    Images, of which there is no ``scale``, stay as they are.
    """

    load: Callable[[Path], LabelledSamples | LabelledImages]
    scale: float | None
    private: str
    utility: str
    baselines: Mapping[str, Baseline]


DATA_SETS: Mapping[str, DataSet] = {
    "adult": DataSet(adult.load, 1.0, "Sex", "Income", BASELINES),
    "mnist": DataSet(mnist.load, 255.0, "At least 5", "Even", BASELINES),
    "celeba": DataSet(celeba.load, None, "Male", "Smiling", FACE_BASELINES),
}


def partitions(name: str, folder: Path, quick: bool) -> tuple[Samples, Samples, Samples]:
    """Train (of a quick run its first rows), valid and test."""
    data_set = DATA_SETS[name]
    everything = data_set.load(folder / name)
    columns = [everything.attributes.index(label) for label in (data_set.private, data_set.utility)]

    def part(partition: int) -> Samples:
        rows = everything.part(partition)
        x = rows.samples
        if data_set.scale is not None:
            x = x.reshape(len(rows), -1).astype(np.float32) / np.float32(data_set.scale)
        return Samples(x, *rows.labels[:, columns].T.astype(np.int64))

    train, valid, test = part(TRAIN), part(VALID), part(TEST)
    return (train[:QUICK] if quick else train), valid, test


def measured(baseline: Baseline, parts: tuple[Samples, Samples, Samples], seed: int) -> Cell:
    """Accuracy, balanced accuracy and AUROC of "private" and of "utility", by the paper's classifier.

    With ", strongest" at the end the same by the others; cost and notes are in the cell's notes.
    """
    train, valid, _ = parts
    fitted = baseline(train, valid, seed)
    released = [fitted.represent(part) for part in parts]
    figures: dict[str, float] = {}
    for label in LABELS:
        classes = [getattr(part, label) for part in parts]
        figures |= read(label, "", released, classes, (PapersClassifier,), seed)
        figures |= read(label, ", strongest", released, classes, STRONGEST, seed)
    notes = {"cost": asdict(fitted.cost), "notes": dict(fitted.notes)}
    return Cell({name: alone(value) for name, value in figures.items()}, notes)


def read(
    label: str,
    by: str,
    released: list[NDArray[np.float32]],
    classes: list[NDArray[np.int64]],
    attackers: tuple[type, ...],
    seed: int,
) -> dict[str, float]:
    """The largest figures of these attackers, trained afresh on the train part; ``by`` ends their names."""
    parts = [Released(z, own, np.arange(len(z))) for z, own in zip(released, classes, strict=True)]
    found: list[Attack] = attack(*parts, attackers, seed, protocols=(TRAINING_PARTITION,))
    return {
        f"{label} accuracy{by}": max(one.accuracy for one in found),
        f"{label} balanced accuracy{by}": max(one.balanced_accuracy for one in found),
        f"{label} AUROC{by}": max(one.leakage for one in found),
    }
