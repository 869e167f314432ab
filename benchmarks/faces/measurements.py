"""What is measured: each part once, kept under the bundle's digest."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import privsdk
from benchmarks.cells import Cell, Cells, alone, say
from benchmarks.face_template import crop
from export.datasets import celeba
from export.datasets.labelled import TEST, TRAIN, VALID, LabelledImages
from export.realism import frechet_distance
from privsdk import noise
from privsdk.audit import metrics
from privsdk.audit.attackers import ATTACKERS, LogisticRegression, StandardisedPerceptron
from privsdk.audit.metrics import Estimate
from privsdk.audit.protocols import Released, attack, from_training_partition
from privsdk.codec import Codec, Latents
from privsdk.privatizer import Privatizer
from privsdk.samples import images

UTILITY = "Smiling"
AVERAGED = 100  # releases of each face
AVERAGED_FACES = 300  # that are attacked,
AVERAGED_TRAINING = 600  # and that the attackers are trained on

FITS: Mapping[str, Mapping[str, Any]] = {
    "flow": {},
    "lambda .05": {"fairness": 0.05},
    "lambda .05, rho .8": {"fairness": 0.05, "rho": 0.8},
    # Here the fair score is as good as independent of the private label.
    "lambda 1": {"fairness": 1.0},
    "lambda 1, rho .8": {"fairness": 1.0, "rho": 0.8},
    "closed form": {},
    "min-max, linear": {"method": "minmax", "form": "linear", "label_aware": True},
    "min-max, nonlinear, label-aware": {"method": "minmax", "form": "nonlinear", "label_aware": True},
    "min-max, nonlinear, label-free": {"method": "minmax", "form": "nonlinear"},
}

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


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
        stored = self._folder / "images.npz"
        if not stored.exists():
            say("reading CelebA")
            celeba.load(self._celeba).save(stored)
        return LabelledImages.load(stored)

    @cached_property
    def latents(self) -> Latents:
        """Of every face, in the order of ``images``."""
        stored = self._folder / "latents.npz"
        if not stored.exists():
            say("encoding all faces")
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
        return Cells(self._folder / "cells").cell(name, measure)

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
    def crops(self) -> Pixels:
        """The test faces as CelebA's own alignment has them, not found and aligned as on a device."""
        say("cropping the test faces")
        names = [self.images.names[row] for row in self.rows(TEST)]
        return np.stack([crop(images.read(self._celeba / "img_align_celeba" / name)) for name in names])

    def through_detector(self, label: str, seed: int) -> Cell:
        """Attacks and classifier on the test faces as a device aligns them, and on their given crops."""

        def measure() -> Cell:
            privatizer = self.privatizer(label, "flow", seed)
            z = self.released(privatizer, seed)
            of_crops = privatizer.perturb(self.bundle.encode(self.crops), draws=self.seeds_of(self.crops, seed))
            test = self.rows(TEST)
            identity = self.images.identity[test]
            figures: dict[str, Estimate] = {}
            for name, latents in (("aligned", z[test]), ("crops", of_crops)):
                train, valid, _ = self.parts(z, label)
                released = Released(latents, self.labels(label, test), identity)
                strongest = attack(train, valid, released, seed=seed, threads=self._threads)[0]
                figures[f"leakage, {name}"] = strongest.estimate(self.weights)
                train, valid, _ = self.parts(z, UTILITY)
                released = Released(latents, self.labels(UTILITY, test), identity)
                kept = from_training_partition(LogisticRegression, train, valid, released, seed)
                right = metrics.accuracy(kept.labels, kept.scores, self.weights)
                figures[f"kept, {name}"] = Estimate(kept.accuracy, right)
            return Cell(figures)

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
                "frechet": alone(frechet_distance(network.features(released), reference)),
                "frechet of reconstructions": alone(frechet_distance(network.features(made), reference)),
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
            return Cell({"frechet": alone(distance)})

        return self.cell(f"plain decoder {label} {seed}", measure)


def _halves(released: Released, first: int) -> tuple[Released, Released]:
    rows = np.arange(len(released))
    return released[rows[:first]], released[rows[first:]]


def _gradients(pixels: Pixels) -> NDArray[np.float64]:
    """Mean absolute difference between neighbouring pixels of each image, in grey levels; float64 ``[N]``."""
    signed = pixels.astype(np.int16)
    across = np.abs(np.diff(signed, axis=2)).mean((1, 2, 3))
    down = np.abs(np.diff(signed, axis=1)).mean((1, 2, 3))
    return (across + down) / 2


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


def _progress(stage: str, done: int, total: int) -> None:
    say(f"  {stage}: {done} of {total}")
