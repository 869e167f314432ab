"""Every figure that is promised of the faces bundle, measured on CelebA's test partition.

    PRIVSDK_DATA=... python -m benchmarks.faces [--bundle faces] [--seeds 3] [--labels ...] [--rows ...]

Filters are fitted from the bundle alone, as on a device; attackers are trained afresh under both protocols
of ``privsdk.audit.protocols`` and the strongest attack counts.  What is finished is kept in ``runs/``, so a
run that was killed goes on where it was.  docs/measuring.md says how each figure is defined.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import privsdk
from export.datasets import celeba
from export.datasets.labelled import TEST, TRAIN, VALID, LabelledImages
from export.realism import frechet_distance
from privsdk import bench, noise
from privsdk.audit import metrics
from privsdk.audit.attackers import ATTACKERS, LogisticRegression, StandardisedPerceptron
from privsdk.audit.ceilings import label_ceiling
from privsdk.audit.metrics import Estimate
from privsdk.audit.protocols import Released, attack, from_training_partition
from privsdk.codec import Codec, Latents
from privsdk.names import match
from privsdk.privatizer import Privatizer
from privsdk.store.folder import write_atomically

LABELS = (
    "Male",
    "Young",
    "Attractive",
    "High_Cheekbones",
    "Big_Lips",
    "Big_Nose",
    "Eyeglasses",
    "Wavy_Hair",
)
UTILITY = "Smiling"
MINMAX_SEEDS = 5
LARGE = 1.0  # a lambda at which the fair score is as good as independent of the private label
AVERAGED = 100  # releases of each face
AVERAGED_FACES = 300  # that are attacked,
AVERAGED_TRAINING = 600  # and that the attackers are trained on

FITS: Mapping[str, Mapping[str, Any]] = {
    "flow": {},
    "lambda large": {"fairness": LARGE},
    "lambda large, rho .8": {"fairness": LARGE, "rho": 0.8},
    "closed form": {},
    "min-max, linear": {"method": "minmax", "form": "linear", "label_aware": True},
    "min-max, nonlinear, label-aware": {"method": "minmax", "form": "nonlinear", "label_aware": True},
    "min-max, nonlinear, label-free": {"method": "minmax", "form": "nonlinear"},
}

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Goal:
    """What a figure should be: at most, or at least, ``limit``."""

    limit: float
    at_most: bool = True

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {_number(self.limit)}"

    def met_by(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit


@dataclass(frozen=True)
class Line:
    """One line of the table: a figure over several seeds, against its goal."""

    row: str
    what: str
    estimates: Sequence[Estimate]
    goal: Goal | None = None
    note: str = ""

    @property
    def mean(self) -> Estimate:
        return Estimate.mean(list(self.estimates))

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds."""
        values = [one.value for one in self.estimates]
        return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    @property
    def verdict(self) -> str:
        """Met or missed by the mean; "not decided" where the interval holds both."""
        if not self.estimates:
            return "not measured"
        if self.goal is None:
            return "-"
        mean = "met" if self.goal.met_by(self.mean.value) else "missed"
        if not len(self.mean.draws):
            return mean
        sides = {self.goal.met_by(side) for side in self.mean.interval}
        return mean if len(sides) == 1 else f"not decided (mean {mean})"

    def cells(self) -> tuple[str, ...]:
        """The line as text: row, what, goal, mean, spread, interval, verdict, note."""
        if not self.estimates:
            return self.row, self.what, str(self.goal or "-"), "-", "-", "-", self.verdict, self.note
        low_high = "-"
        if len(self.mean.draws):
            low_high = " to ".join(_number(side) for side in self.mean.interval)
        spread = "-" if np.isnan(self.spread) else _number(self.spread)
        return (
            self.row,
            self.what,
            str(self.goal or "-"),
            _number(self.mean.value),
            f"{spread} ({len(self.estimates)})",
            low_high,
            self.verdict,
            self.note,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "row": self.row,
            "what": self.what,
            "goal": None if self.goal is None else str(self.goal),
            "values": [one.value for one in self.estimates],
            "interval": list(self.mean.interval) if self.estimates and len(self.mean.draws) else None,
            "verdict": self.verdict,
            "note": self.note,
        }


@dataclass(frozen=True)
class Cell:
    """What one (row, label, seed) gave: figures with their bootstrap, and what else is worth keeping."""

    figures: dict[str, Estimate]
    notes: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def __getitem__(self, figure: str) -> Estimate:
        return self.figures[figure]

    def to_json(self) -> bytes:
        figures = {
            name: {"value": one.value, "draws": np.round(one.draws, 5).tolist()} for name, one in self.figures.items()
        }
        return json.dumps({"figures": figures, "notes": self.notes, "seconds": self.seconds}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Cell:
        stored = json.loads(data)
        figures = {name: Estimate(one["value"], np.array(one["draws"])) for name, one in stored["figures"].items()}
        return cls(figures, stored["notes"], stored["seconds"])


class Faces:
    """The bundle, the data, and every measurement made of them so far."""

    def __init__(self, bundle: str, data: Path, runs: Path, seeds: int, plain: Path | None, threads: int) -> None:
        self.bundle = privsdk.Bundle.open(bundle, threads)
        self.opened_as = bundle
        self.seeds = range(seeds)
        self.plain = plain
        self._celeba = data / "celeba"
        self._threads = threads
        self._folder = runs / f"faces-{self.bundle.digest[:12]}"
        for part in ("cells", "privatizers", "networks"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)

    # what is measured on

    @cached_property
    def images(self) -> LabelledImages:
        _say("reading CelebA")
        return celeba.load(self._celeba)

    @cached_property
    def latents(self) -> Latents:
        """Of every face, in the order of ``images``."""
        stored = self._folder / "latents.npz"
        if not stored.exists():
            _say("encoding all faces")
            latents = self.bundle.encode(self.images.pixels)
            temporary = stored.with_suffix(".part.npz")
            np.savez(temporary, mean=latents.mean, variance=latents.variance)
            os.replace(temporary, stored)
        with np.load(stored) as arrays:
            return Latents(arrays["mean"], arrays["variance"])

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """The same resamplings of the test partition's people for every figure: differences are paired."""
        return metrics.resampled(self.images.identity[self.rows(TEST)])

    def rows(self, partition: int) -> NDArray[np.int64]:
        return np.flatnonzero(self.images.partition == partition)

    def labels(self, name: str, rows: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.uint8]:
        return self.images.labels[rows, self.images.attributes.index(name)]

    def part(self, z: Floats, label: str, partition: int) -> Released:
        rows = self.rows(partition)
        return Released(z[rows], self.labels(label, rows), self.images.identity[rows])

    def parts(self, z: Floats, label: str) -> tuple[Released, Released, Released]:
        return self.part(z, label, TRAIN), self.part(z, label, VALID), self.part(z, label, TEST)

    # what is measured

    def cell(self, name: str, measure: Callable[[], Cell]) -> Cell:
        """The stored result of this name, or a new one."""
        path = self._folder / "cells" / f"{name.replace(' ', '-').replace(',', '').replace('/', '-')}.json"
        if path.exists():
            return Cell.from_json(path.read_bytes())
        _say(name)
        began = time.perf_counter()
        found = measure()
        found = Cell(found.figures, found.notes, time.perf_counter() - began)
        write_atomically(path, found.to_json())
        return found

    def privatizer(self, label: str, kind: str, seed: int) -> Privatizer:
        """Fitted from the bundle alone; kept, since several rows attack the same one."""
        path = self._folder / "privatizers" / f"{label}-{kind.replace(' ', '-')}-{seed}.privatizer"
        if not path.exists():
            with _without_torch() if kind == "closed form" else _as_it_is():
                fitted = privsdk.fit(self.bundle, label, UTILITY, seed=seed, **FITS[kind])
            fitted.save(path)
        return Privatizer.load(path, self.bundle)

    def seeds_of(self, pixels: Pixels, seed: int) -> NDArray[np.uint64]:
        """The draws of a device whose key depends on ``seed`` alone."""
        return noise.sample_seeds(hashlib.sha256(f"benchmark {seed}".encode()).digest(), pixels, "sample")

    def released(self, privatizer: Privatizer, seed: int) -> Floats:
        """The perturbed latent of every face."""
        private = self.labels(privatizer.private[0]) if privatizer.label_aware else None
        return privatizer.perturb(self.latents, private, self.seeds_of(self.images.pixels, seed))

    def classified(self, z: Floats, label: str, seed: int) -> tuple[Estimate, str]:
        """Accuracy of a fresh classifier of ``label`` trained on this form of latents, and which one it was.

        Logistic regression or two hidden layers, whichever does better on the valid partition: the same
        choice for every form of latents.
        """
        train, valid, test = self.parts(z, label)
        found = []
        for classifier in (LogisticRegression, StandardisedPerceptron):
            trained = classifier(seed).fit(train.z, train.labels)
            right = float(metrics.accuracy(valid.labels, trained.score(valid.z)))
            found.append((right, classifier.name, trained.score(test.z)))
        _, name, scores = max(found, key=lambda one: one[0])
        return self.accuracy(test.labels, scores), name

    def accuracy(self, labels: NDArray[np.uint8], scores: NDArray[np.float64]) -> Estimate:
        """On the test partition."""
        value = float(metrics.accuracy(labels, scores))
        return Estimate(value, metrics.accuracy(labels, scores, self.weights))

    def mean_of(self, values: NDArray[np.float64]) -> Estimate:
        """The mean of one number a test face."""
        return Estimate(float(values.mean()), self.weights @ values / self.weights.sum(1))

    def unfiltered(self, label: str, seed: int) -> Cell:
        """What is known of a label before anything is filtered, from posterior means."""

        def measure() -> Cell:
            accuracy, classifier = self.classified(self.latents.mean, label, seed)
            return Cell({"accuracy": accuracy}, {"classifier": classifier})

        return self.cell(f"unfiltered {label} {seed}", measure)

    def hidden(self, label: str, kind: str, seed: int) -> Cell:
        """One private label hidden, Smiling kept: leakage, Smiling's accuracy, distortion."""

        def measure() -> Cell:
            privatizer = self.privatizer(label, kind, seed)
            z = self.released(privatizer, seed)
            attacks = attack(*self.parts(z, label), seed=seed, threads=self._threads)
            kept, classifier = self.classified(z, UTILITY, seed)
            test = self.rows(TEST)
            moved = np.square(z[test] - self.latents.mean[test]).sum(1).astype(np.float64)
            apart = 2 * float(self.latents.mean[test].var(0).sum())
            return Cell(
                {
                    "leakage": attacks[0].estimate(self.weights),
                    "kept": kept,
                    "distortion": self.mean_of(moved / apart),
                },
                {
                    "attacks": [one.summary() for one in attacks],
                    "classifier": classifier,
                    "record": privatizer.record,
                },
            )

        return self.cell(f"hidden {label} {kind} {seed}", measure)

    def lost(self, found: Cell, seed: int) -> Estimate:
        """Smiling's accuracy lost, paired: unfiltered minus released, each with a classifier of its own."""
        return self.unfiltered(UTILITY, seed)["accuracy"] - found["kept"]

    @cached_property
    def detected(self) -> tuple[Pixels, NDArray[np.int64]]:
        """Test faces found and aligned in the original files, and their positions in the test partition."""
        _say("finding and aligning the test faces")
        names = [self.images.names[row] for row in self.rows(TEST)]
        found, refusals = privsdk.read_faces([self._celeba / "img_align_celeba" / name for name in names])
        refused = {refusal.position for refusal in refusals}
        return found, np.array([row for row in range(len(names)) if row not in refused])

    def through_detector(self, label: str, seed: int) -> Cell:
        """Attacks and classifier on detected test faces, and on the given crops of the same faces."""

        def measure() -> Cell:
            privatizer = self.privatizer(label, "flow", seed)
            z = self.released(privatizer, seed)
            pixels, found = self.detected
            aligned = privatizer.perturb(self.bundle.encode(pixels), draws=self.seeds_of(pixels, seed))
            test = self.rows(TEST)[found]
            weights = self.weights[:, found]
            identity = self.images.identity[test]
            figures: dict[str, Estimate] = {}
            for name, latents in (("aligned", aligned), ("crops", z[test])):
                train, valid, _ = self.parts(z, label)
                released = Released(latents, self.labels(label, test), identity)
                strongest = attack(train, valid, released, seed=seed, threads=self._threads)[0]
                figures[f"leakage, {name}"] = strongest.estimate(weights)
                train, valid, _ = self.parts(z, UTILITY)
                released = Released(latents, self.labels(UTILITY, test), identity)
                kept = from_training_partition(LogisticRegression, train, valid, released, seed)
                figures[f"kept, {name}"] = Estimate(kept.accuracy, metrics.accuracy(kept.labels, kept.scores, weights))
            return Cell(figures, {"found": len(found), "of": len(self.rows(TEST))})

        return self.cell(f"detected {label} {seed}", measure)

    def averaged(self, label: str, seed: int) -> Cell:
        """Attacks on the average of many releases of a face, its choices keyed to it or drawn anew each time.

        The attackers know the mechanism: they are trained on averages of other faces' releases.
        """

        def measure() -> Cell:
            privatizer = self.privatizer(label, "flow", seed)
            generator = np.random.default_rng(seed)
            training = generator.choice(self.rows(TRAIN), AVERAGED_TRAINING, replace=False)
            attacked = generator.choice(self.rows(TEST), AVERAGED_FACES, replace=False)
            faces = np.concatenate([training, attacked])
            latents = self.latents[faces]
            keyed = self.seeds_of(self.images.pixels[faces], seed)
            once = privatizer.perturb(latents, draws=keyed)
            again = privatizer.perturb(latents, draws=keyed)

            z_sum = np.zeros(once.shape)
            pixel_sum = np.zeros((len(faces), *self.bundle.sample_shape), np.uint32)
            for _ in range(AVERAGED):
                draws = generator.integers(0, 2**63, len(faces)).astype(np.uint64)
                z = privatizer.perturb(latents, draws=draws)
                z_sum += z
                pixel_sum += self.bundle.decode(z)
            average = np.rint(pixel_sum / AVERAGED).astype(np.uint8)
            forms = {
                "one": [once, self.bundle.encode(self.bundle.decode(once)).mean],
                "redrawn": [(z_sum / AVERAGED).astype(np.float32), self.bundle.encode(average).mean],
            }
            labels, identity = self.labels(label, faces), self.images.identity[faces]
            weights = metrics.resampled(identity[AVERAGED_TRAINING:])
            figures = {}
            for name, seen in forms.items():
                attacks = [
                    from_training_partition(attacker, train, train, test, seed)
                    for z in seen
                    for train, test in [_halves(Released(z, labels, identity), AVERAGED_TRAINING)]
                    for attacker in ATTACKERS
                ]
                strongest = max(attacks, key=lambda one: one.leakage)
                figures[name] = strongest.estimate(weights)
            same = bool((once == again).all())
            figures["keyed"] = figures["one"] if same else Estimate(1.0, np.ones(len(weights)))
            return Cell(figures, {"keyed releases are the same": same})

        return self.cell(f"averaged {label} {seed}", measure)

    def pixel_attack(self, name: str, pixels: Pixels, labels: Sequence[str], seed: int) -> Any:
        """A network trained afresh on these pixels of the training partition, for these labels."""
        from benchmarks.pixels import EPOCHS, LONG_EPOCHS, PixelAttacker

        train = self.rows(TRAIN)
        columns = [self.images.attributes.index(label) for label in labels]
        stored = self._folder / "networks" / f"{name}-{seed}.pt"
        attacker = PixelAttacker(len(labels), seed, LONG_EPOCHS if name.startswith("raw") else EPOCHS)
        if stored.exists():
            return attacker.load(stored)
        attacker.fit(pixels[: len(train)], self.images.labels[np.ix_(train, columns)], _progress)
        attacker.save(stored)
        return attacker

    def decoded(self, z: Floats) -> Pixels:
        """The images of these latents: of the training partition, then of the test partition."""
        return self.bundle.decode(z[np.concatenate([self.rows(TRAIN), self.rows(TEST)])])

    def from_pixels(self, form: str, label: str, seed: int) -> Cell:
        """What a network finds in "released" images, in "reconstructions" or in the "raw" faces."""

        def measure() -> Cell:
            test = self.rows(TEST)
            if form == "raw":
                pixels = self.images.pixels[np.concatenate([self.rows(TRAIN), test])]
                labels: Sequence[str] = self.images.attributes
            else:
                z = self.latents.mean
                if form == "released":
                    z = self.released(self.privatizer(label, "flow", seed), seed)
                pixels, labels = self.decoded(z), (label, UTILITY)
            attacker = self.pixel_attack(f"{form}-{label}", pixels, labels, seed)
            scores = attacker.score(pixels[-len(test) :])
            figures = {}
            for column, name in enumerate(labels):
                said = scores[:, column]
                truth = self.labels(name, test)
                figures[f"accuracy {name}"] = self.accuracy(truth, said)
                if name == label:
                    leakage = float(metrics.leakage(truth, said))
                    figures["leakage"] = Estimate(leakage, metrics.leakage(truth, said, self.weights))
            return Cell(figures)

        return self.cell(f"pixels {form} {label} {seed}", measure)

    def appearance(self, label: str, seed: int) -> Cell:
        """Squared error, sharpness, faces found, and Frechet distances of reconstructions and of releases."""
        from benchmarks.pixels import found_by
        from privsdk.samples.faces import Detector

        def measure() -> Cell:
            test = self.rows(TEST)
            real = self.images.pixels[test]
            made = self.bundle.decode(self.latents.mean[test])
            released = self.bundle.decode(self.released(self.privatizer(label, "flow", seed), seed)[test])
            self.from_pixels("raw", label, seed)  # trains the second attribute network
            network = self.pixel_attack(f"raw-{label}", real, self.images.attributes, seed)
            reference = network.features(real)
            error = np.square((made.astype(np.float32) - real) / 255).sum((1, 2, 3)).astype(np.float64)
            sharpness = _gradients(real).mean()
            detector = Detector()
            figures = {
                "squared error": self.mean_of(error),
                "gradient": self.mean_of(_gradients(released) / sharpness),
                "gradient of reconstructions": self.mean_of(_gradients(made) / sharpness),
                "faces found": self.mean_of(found_by(detector, released).astype(np.float64)),
                "faces found in crops": self.mean_of(found_by(detector, real).astype(np.float64)),
                "frechet": _alone(frechet_distance(network.features(released), reference)),
                "frechet of reconstructions": _alone(frechet_distance(network.features(made), reference)),
            }
            return Cell(figures)

        return self.cell(f"appearance {label} {seed}", measure)

    def plain_decoder(self, label: str, seed: int) -> Cell | None:
        """Frechet distance of a decoder trained on squared error and KL alone; None where there is none."""
        folder = self.plain
        if folder is None:
            return None

        def measure() -> Cell:
            graphs = [(folder / name).read_bytes() for name in ("encoder.onnx", "decoder.onnx")]
            codec = Codec(*graphs, self.bundle.sample_shape, self.bundle.latent_size, self._threads)
            real = self.images.pixels[self.rows(TEST)]
            self.from_pixels("raw", label, seed)
            network = self.pixel_attack(f"raw-{label}", real, self.images.attributes, seed)
            made = codec.decode(codec.encode(real).mean)
            distance = frechet_distance(network.features(made), network.features(real))
            return Cell({"frechet": _alone(distance)})

        return self.cell(f"plain decoder {label} {seed}", measure)


def row_unfiltered(faces: Faces, labels: Sequence[str]) -> Iterator[Line]:
    for label, least in (("Male", 0.975), (UTILITY, 0.885)):
        found = [faces.unfiltered(label, seed)["accuracy"] for seed in faces.seeds]
        yield Line("unfiltered", f"{label}: accuracy", found, Goal(least, at_most=False))


def row_against_pixels(faces: Faces, labels: Sequence[str]) -> Iterator[Line]:
    below = []
    for seed in faces.seeds:
        raw = faces.from_pixels("raw", "Male", seed)
        latents = Estimate.mean([faces.unfiltered(label, seed)["accuracy"] for label in LABELS])
        below.append(Estimate.mean([raw[f"accuracy {label}"] for label in LABELS]) - latents)
    yield Line("against-pixels", "mean accuracy of eight labels: CNN on raw pixels - latents", below, Goal(0.025))


def row_labels(faces: Faces, labels: Sequence[str]) -> Iterator[Line]:
    test = faces.rows(TEST)
    for label in labels:
        found = [faces.hidden(label, "flow", seed) for seed in faces.seeds]
        ceiling = label_ceiling(faces.labels(label, test), faces.labels(UTILITY, test))
        allowed = 0.60 if label == "Male" else ceiling + (0.05 if label == "Eyeglasses" else 0.04)
        yield Line(
            "labels",
            f"{label} hidden: leakage",
            [one["leakage"] for one in found],
            Goal(round(allowed, 4)),
            f"ceiling {_number(ceiling)}; {_strongest(found)}",
        )
        lost = [faces.lost(one, seed) for one, seed in zip(found, faces.seeds, strict=True)]
        most = 0.02 if label == "High_Cheekbones" else 0.005
        yield Line("labels", f"{label} hidden: {UTILITY}'s accuracy lost", lost, Goal(most))


def _both(faces: Faces, row: str, kind: str, label: str, leaks: float | None, loses: float | None) -> Iterator[Line]:
    """Leakage and accuracy lost of one kind of fit."""
    seeds = range(MINMAX_SEEDS) if kind.startswith("min-max") else faces.seeds
    found = [faces.hidden(label, kind, seed) for seed in seeds]
    lost = [faces.lost(one, seed) for one, seed in zip(found, seeds, strict=True)]
    leakage = [one["leakage"] for one in found]
    goal = None if leaks is None else Goal(leaks)
    yield Line(row, f"{kind}, {label} hidden: leakage", leakage, goal, _strongest(found))
    goal = None if loses is None else Goal(loses)
    yield Line(row, f"{kind}, {label} hidden: {UTILITY}'s accuracy lost", lost, goal)


def row_parity(faces: Faces, labels: Sequence[str]) -> Iterator[Line]:
    yield from _both(faces, "parity", "lambda large", "Male", 0.56, 0.020)
    yield from _both(faces, "parity", "lambda large, rho .8", "Male", 0.545, 0.020)


def row_closed_form(faces: Faces, labels: Sequence[str]) -> Iterator[Line]:
    for label, leaks in (("Male", 0.65), ("Young", 0.59), ("Eyeglasses", 0.64)):
        yield from _both(faces, "closed-form", "closed form", label, leaks, 0.008)


def row_distortion(faces: Faces, labels: Sequence[str]) -> Iterator[Line]:
    for label in ("Male", "Young", "Eyeglasses"):
        found = [faces.hidden(label, "flow", seed)["distortion"] for seed in faces.seeds]
        yield Line("distortion", f"{label} hidden: share of the distance to another's latent", found, Goal(0.15))


def row_minmax(faces: Faces, labels: Sequence[str]) -> Iterator[Line]:
    for kind in FITS:
        if kind.startswith("min-max"):
            yield from _both(faces, "minmax", kind, "Male", None, None)


def row_detected(faces: Faces, labels: Sequence[str]) -> Iterator[Line]:
    found = [faces.through_detector("Male", seed) for seed in faces.seeds]
    more = [one["leakage, aligned"] - one["leakage, crops"] for one in found]
    less = [one["kept, crops"] - one["kept, aligned"] for one in found]
    note = f"{found[0].notes['found']} of {found[0].notes['of']} faces found"
    yield Line("detected", "Male's leakage: detected faces - crops", more, Goal(0.02), note)
    yield Line("detected", f"{UTILITY}'s accuracy: crops - detected faces", less, Goal(0.02))


def row_pixels(faces: Faces, labels: Sequence[str]) -> Iterator[Line]:
    found = [faces.from_pixels("released", "Male", seed) for seed in faces.seeds]
    unfiltered = [faces.from_pixels("reconstructions", "Male", seed) for seed in faces.seeds]
    latents = [faces.hidden("Male", "flow", seed)["leakage"] for seed in faces.seeds]
    more = [one["leakage"] - other for one, other in zip(found, latents, strict=True)]
    note = f"CNN {_number(float(np.mean([one['leakage'].value for one in found])))}"
    yield Line("pixels", "Male's leakage: CNN on released pixels - latents", more, Goal(0.02), note)
    lost = [
        before[f"accuracy {UTILITY}"] - after[f"accuracy {UTILITY}"]
        for before, after in zip(unfiltered, found, strict=True)
    ]
    yield Line("pixels", f"{UTILITY}'s accuracy by CNN: reconstructions - released", lost, Goal(0.015))


def row_averaged(faces: Faces, labels: Sequence[str]) -> Iterator[Line]:
    found = [faces.averaged("Male", seed) for seed in faces.seeds]
    for form, most in (("keyed", 0.01), ("redrawn", 0.03)):
        more = [one[form] - one["one"] for one in found]
        what = f"Male's leakage, {AVERAGED} releases of {AVERAGED_FACES} faces, {form}: average - one"
        yield Line("averaged", what, more, Goal(most))


def row_appearance(faces: Faces, labels: Sequence[str]) -> Iterator[Line]:
    found = [faces.appearance("Male", seed) for seed in faces.seeds]

    def over(name: str) -> list[Estimate]:
        return [one[name] for one in found]

    def mean(name: str) -> str:
        return _number(float(np.mean([one.value for one in over(name)])))

    yield Line("appearance", "squared error of a reconstruction", over("squared error"), Goal(80))
    note = f"in crops {mean('faces found in crops')}"
    yield Line("appearance", "a detector finds a face", over("faces found"), Goal(0.99, at_most=False), note)
    note = f"of reconstructions {mean('gradient of reconstructions')}"
    yield Line("appearance", "pixel gradient against real", over("gradient"), Goal(0.85, at_most=False), note)
    plain = [faces.plain_decoder("Male", seed) for seed in faces.seeds]
    note = f"distance of releases {mean('frechet')}, of reconstructions {mean('frechet of reconstructions')}"
    shares = [
        _alone(one["frechet of reconstructions"].value / other["frechet"].value)
        for one, other in zip(found, plain, strict=True)
        if other is not None
    ]
    if not shares:
        note += "; needs --plain"
    yield Line("appearance", "Frechet distance against a plain decoder's", shares, Goal(0.5), note)


def row_latency(faces: Faces, labels: Sequence[str]) -> Iterator[Line]:
    opened = privsdk.Bundle.open(faces.opened_as, 1)
    sample = opened.decode(opened.public.mean[:1])
    taken = bench.timed(lambda: opened.decode(opened.encode(sample).mean), seconds=2)
    found = [_alone(1000 * float(np.median(taken)))]
    yield Line("latency", "encode + decode, one face, one thread, ms", found, Goal(5), bench.cpu_name())


Row = Callable[[Faces, Sequence[str]], Iterator[Line]]

ROWS: Mapping[str, Row] = {
    "unfiltered": row_unfiltered,
    "labels": row_labels,
    "parity": row_parity,
    "closed-form": row_closed_form,
    "distortion": row_distortion,
    "minmax": row_minmax,
    "detected": row_detected,
    "against-pixels": row_against_pixels,
    "pixels": row_pixels,
    "averaged": row_averaged,
    "appearance": row_appearance,
    "latency": row_latency,
}


def table(lines: Sequence[Line]) -> str:
    """Markdown."""
    head = ("row", "what", "goal", "mean", "spread (seeds)", "95% interval", "verdict", "note")
    texts = [head, ("---",) * len(head), *(line.cells() for line in lines)]
    return "\n".join("| " + " | ".join(text) + " |" for text in texts)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faces", description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="faces", help="a shipped bundle, or the folder of one")
    parser.add_argument("--seeds", type=int, default=3, help="of fit and attack; min-max takes five")
    parser.add_argument("--labels", nargs="+", default=LABELS, help="private labels of the row 'labels'")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="all by default")
    parser.add_argument("--plain", type=Path, help="a bundle whose decoder knew squared error and KL alone")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where finished parts are kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    asked = parser.parse_args(arguments)
    if not (data := os.environ.get("PRIVSDK_DATA")):
        parser.error("PRIVSDK_DATA is not set: it names the folder that holds celeba/ in its official layout")

    faces = Faces(asked.bundle, Path(data), asked.runs, asked.seeds, asked.plain, asked.threads)
    labels = [match(label, LABELS) for label in asked.labels]
    lines = [line for row in asked.rows for line in ROWS[row](faces, labels)]
    print(f"bundle {faces.bundle.name} {faces.bundle.digest[:12]}, {asked.seeds} seeds, {bench.cpu_name()}\n")
    print(table(lines))
    if asked.json is not None:
        write_atomically(asked.json, json.dumps([line.to_json() for line in lines], indent=1).encode())


def _strongest(found: Sequence[Cell]) -> str:
    """Who the strongest attackers were, over the seeds."""
    names = {f"{one['attacker']} ({one['samples']})" for one in (cell.notes["attacks"][0] for cell in found)}
    return "strongest: " + ", ".join(sorted(names))


def _halves(released: Released, first: int) -> tuple[Released, Released]:
    rows = np.arange(len(released))
    return released[rows[:first]], released[rows[first:]]


def _gradients(pixels: Pixels) -> NDArray[np.float64]:
    """Mean absolute difference between neighbouring pixels of each image, in grey levels; float64 ``[N]``."""
    signed = pixels.astype(np.int16)
    across = np.abs(np.diff(signed, axis=2)).mean((1, 2, 3))
    down = np.abs(np.diff(signed, axis=1)).mean((1, 2, 3))
    return (across + down) / 2


def _alone(value: float) -> Estimate:
    """A figure without a bootstrap."""
    return Estimate(value, np.empty(0))


@contextmanager
def _without_torch() -> Iterator[None]:
    """As on a device where torch is not installed."""
    import torch

    sys.modules["torch"] = None  # type: ignore[assignment]  # how Python marks what must not be found
    try:
        yield
    finally:
        sys.modules["torch"] = torch


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _progress(stage: str, done: int, total: int) -> None:
    _say(f"  {stage}: {done} of {total}")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
