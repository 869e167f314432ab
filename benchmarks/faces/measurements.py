"""What is measured: each part once, kept under the bundle's digest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import Cell, alone, say
from benchmarks.domains import Domain
from benchmarks.face_template import crop
from benchmarks.frontier.contenders import CONTENDERS
from benchmarks.frontier.measure import measured, unfiltered
from benchmarks.frontier.tasks import TASKS
from export.realism import frechet_distance
from privsdk import noise
from privsdk.auditing import metrics
from privsdk.auditing.attackers import ATTACKERS, LogisticRegression
from privsdk.auditing.metrics import Estimate
from privsdk.auditing.protocols import Released, attack, from_training_partition
from privsdk.codec import Codec
from privsdk.filters import Filter
from privsdk.samples import images

TASK = TASKS["male"]
(PRIVATE,), (UTILITY,) = TASK.private, TASK.utility
AVERAGED = 100  # releases of each face
AVERAGED_FACES = 300  # that are attacked,
AVERAGED_TRAINING = 600  # and that the attackers are trained on

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Faces:
    """What the bundle does to faces, and what the default filter does to their images; each part measured once."""

    def __init__(self, domain: Domain, seeds: int, plain: Path | None) -> None:
        self.domain = domain
        self.bundle = domain.bundle
        self.seeds = range(seeds)
        self.plain = plain
        self.filter = cache(self._filter)
        self._networks = domain.folder / "networks"
        self._networks.mkdir(exist_ok=True)

    def _filter(self, seed: int) -> Filter:
        return CONTENDERS["flow"](self.domain, TASK, seed)

    def released(self, seed: int) -> Floats:
        """The perturbed latent of every face."""
        latents = self.domain.latents
        return self.filter(seed).perturb(latents.mean, latents.variance, self.domain.seeds(seed))

    def labels(self, name: str) -> NDArray[np.int64]:
        """Of the test faces."""
        return self.domain.classes(name)[self.domain.test]

    def accuracy(self, labels: NDArray[np.int64], scores: NDArray[np.float64]) -> Estimate:
        """On the test partition."""
        value = float(metrics.accuracy(labels, scores))
        return Estimate(value, metrics.accuracy(labels, scores, self.domain.weights))

    def mean_of(self, values: NDArray[np.float64]) -> Estimate:
        """The mean of one number a test face."""
        weights = self.domain.weights
        return Estimate(float(values.mean()), weights @ values / weights.sum(1))

    def leakage(self, seed: int) -> Estimate:
        """Of the private label, from latents."""
        return measured(self.domain, TASK, "flow", seed)[f"leakage {PRIVATE}"]

    def unfiltered(self, label: str, seed: int) -> Estimate:
        """How accurately a label is read before anything is filtered."""
        return unfiltered(self.domain, label, seed)[f"accuracy {label}"]

    @cached_property
    def crops(self) -> Pixels:
        """The test faces as CelebA's own alignment has them, not found and aligned as on a device."""
        say("cropping the test faces")
        names = [self.domain.images.names[row] for row in self.domain.test]
        return np.stack([crop(images.read(self.domain.source / "img_align_celeba" / name)) for name in names])

    def through_detector(self, seed: int) -> Cell:
        """Attacks and classifier on the test faces as a device aligns them, and on their given crops."""

        def measure() -> Cell:
            domain, z, test = self.domain, self.released(seed), self.domain.test
            latents = self.bundle.encode(self.crops)
            of_crops = self.filter(seed).perturb(latents.mean, latents.variance, domain.seeds(seed)[test])
            identity = domain.data.identity[test]
            figures: dict[str, Estimate] = {}
            for name, seen in (("aligned", z[test]), ("crops", of_crops)):
                train, valid, _ = domain.parts(z, domain.classes(PRIVATE))
                released = Released(seen, self.labels(PRIVATE), identity)
                strongest = attack(train, valid, released, seed=seed, threads=domain.threads)[0]
                figures[f"leakage, {name}"] = strongest.estimate(domain.weights)
                train, valid, _ = domain.parts(z, domain.classes(UTILITY))
                released = Released(seen, self.labels(UTILITY), identity)
                kept = from_training_partition(LogisticRegression, train, valid, released, seed)
                figures[f"kept, {name}"] = self.accuracy(kept.labels, kept.scores)
            return Cell(figures)

        return self.domain.cells.cell(f"detected {seed}", measure)

    def averaged(self, seed: int) -> Cell:
        """Attacks on the average of many releases of a face, its choices keyed to it or drawn anew each time.

        The attackers know the mechanism: they are trained on averages of other faces' releases.
        """

        def measure() -> Cell:
            domain, perturb = self.domain, self.filter(seed).perturb
            generator = np.random.default_rng(seed)
            training = generator.choice(domain.train, AVERAGED_TRAINING, replace=False)
            attacked = generator.choice(domain.test, AVERAGED_FACES, replace=False)
            faces = np.concatenate([training, attacked])
            mean, variance = domain.latents.mean[faces], domain.latents.variance[faces]
            key = hashlib.sha256(f"averaged {seed}".encode()).digest()
            once, again = (
                perturb(mean, variance, noise.sample_seeds(key, domain.data.samples[faces], "sample")) for _ in range(2)
            )

            z_sum = np.zeros(once.shape)
            pixel_sum = np.zeros((len(faces), *self.bundle.sample_shape), np.uint32)
            for _ in range(AVERAGED):
                z = perturb(mean, variance, generator.integers(0, 2**63, len(faces)).astype(np.uint64))
                z_sum += z
                pixel_sum += self.bundle.decode(z)
            average = np.rint(pixel_sum / AVERAGED).astype(np.uint8)
            forms = {
                "one": [once, self.bundle.encode(self.bundle.decode(once)).mean],
                "redrawn": [(z_sum / AVERAGED).astype(np.float32), self.bundle.encode(average).mean],
            }
            labels, identity = domain.classes(PRIVATE)[faces], domain.data.identity[faces]
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

        return self.domain.cells.cell(f"averaged {seed}", measure)

    def pixel_attack(self, form: str, pixels: Pixels, labels: Sequence[str], seed: int) -> Any:
        """A network trained afresh on the training partition's ``pixels``, for these labels."""
        from benchmarks.pixels import EPOCHS, LONG_EPOCHS, PixelAttacker

        train, data = self.domain.train, self.domain.data
        columns = [data.attributes.index(label) for label in labels]
        stored = self._networks / f"{form}-{seed}.pt"
        attacker = PixelAttacker(len(labels), seed, LONG_EPOCHS if form == "raw" else EPOCHS)
        if stored.exists():
            return attacker.load(stored)
        attacker.fit(pixels, data.labels[np.ix_(train, columns)], _progress)
        attacker.save(stored)
        return attacker

    def from_pixels(self, form: str, seed: int) -> Cell:
        """What a network finds in "released" images, in "reconstructions" or in the "raw" faces."""

        def measure() -> Cell:
            domain = self.domain
            rows = np.concatenate([domain.train, domain.test])
            if form == "raw":
                pixels = domain.data.samples[rows]
                labels: Sequence[str] = domain.data.attributes
            else:
                z = self.released(seed) if form == "released" else domain.latents.mean
                pixels, labels = self.bundle.decode(z[rows]), (PRIVATE, UTILITY)
            attacker = self.pixel_attack(form, pixels[: len(domain.train)], labels, seed)
            scores = attacker.score(pixels[-len(domain.test) :])
            said = dict(zip(labels, scores.T, strict=True))
            figures = {f"accuracy {name}": self.accuracy(self.labels(name), said[name]) for name in labels}
            truth = self.labels(PRIVATE)
            leakage = float(metrics.leakage(truth, said[PRIVATE]))
            figures["leakage"] = Estimate(leakage, metrics.leakage(truth, said[PRIVATE], domain.weights))
            return Cell(figures)

        return self.domain.cells.cell(f"pixels {form} {seed}", measure)

    def appearance(self, seed: int) -> Cell:
        """Squared error, sharpness, faces found, and Frechet distances of reconstructions and of releases."""
        from benchmarks.pixels import found_by
        from privsdk.samples.faces import Detector

        def measure() -> Cell:
            test = self.domain.test
            real = self.domain.data.samples[test]
            made = self.bundle.decode(self.domain.latents.mean[test])
            released = self.bundle.decode(self.released(seed)[test])
            features = self._attribute_network(seed).features
            error = np.square((made.astype(np.float32) - real) / 255).sum((1, 2, 3)).astype(np.float64)
            sharpness = _gradients(real).mean()
            detector = Detector()
            figures = {
                "squared error": self.mean_of(error),
                "gradient": self.mean_of(_gradients(released) / sharpness),
                "gradient of reconstructions": self.mean_of(_gradients(made) / sharpness),
                "faces found": self.mean_of(found_by(detector, released).astype(np.float64)),
                "faces found in crops": self.mean_of(found_by(detector, real).astype(np.float64)),
                "frechet": alone(frechet_distance(features(released), features(real))),
                "frechet of reconstructions": alone(frechet_distance(features(made), features(real))),
            }
            return Cell(figures)

        return self.domain.cells.cell(f"appearance {seed}", measure)

    def plain_decoder(self, seed: int) -> Cell | None:
        """Frechet distance of a decoder trained on squared error and KL alone; None where there is none."""
        folder = self.plain
        if folder is None:
            return None

        def measure() -> Cell:
            graphs = [(folder / name).read_bytes() for name in ("encoder.onnx", "decoder.onnx")]
            codec = Codec(*graphs, self.bundle.sample_shape, self.bundle.latent_size, self.domain.threads)
            real = self.domain.data.samples[self.domain.test]
            features = self._attribute_network(seed).features
            made = codec.decode(codec.encode(real).mean)
            return Cell({"frechet": alone(frechet_distance(features(made), features(real)))})

        return self.domain.cells.cell(f"plain decoder {seed}", measure)

    def _attribute_network(self, seed: int) -> Any:
        """The one trained on raw faces: it knows neither encoder nor decoder."""
        self.from_pixels("raw", seed)
        data = self.domain.data
        return self.pixel_attack("raw", data.samples[self.domain.train], data.attributes, seed)


def _halves(released: Released, first: int) -> tuple[Released, Released]:
    rows = np.arange(len(released))
    return released[rows[:first]], released[rows[first:]]


def _gradients(pixels: Pixels) -> NDArray[np.float64]:
    """Mean absolute difference between neighbouring pixels of each image, in grey levels; float64 ``[N]``."""
    signed = pixels.astype(np.int16)
    across = np.abs(np.diff(signed, axis=2)).mean((1, 2, 3))
    down = np.abs(np.diff(signed, axis=1)).mean((1, 2, 3))
    return (across + down) / 2


def _progress(stage: str, done: int, total: int) -> None:
    say(f"  {stage}: {done} of {total}")
