"""The rows of the table: which measurements make a figure, and what it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from benchmarks.cells import alone
from benchmarks.faces.measurements import AVERAGED, AVERAGED_FACES, PRIVATE, UTILITY, Faces
from benchmarks.table import Goal, Line, number
from privsdk import bench
from privsdk.auditing.metrics import Estimate

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


def row_unfiltered(faces: Faces) -> Iterator[Line]:
    for label, least in ((PRIVATE, 0.975), (UTILITY, 0.885)):
        found = [faces.unfiltered(label, seed) for seed in faces.seeds]
        yield Line("unfiltered", f"{label}: accuracy", found, Goal(least, at_most=False))


def row_against_pixels(faces: Faces) -> Iterator[Line]:
    below = []
    for seed in faces.seeds:
        raw = faces.from_pixels("raw", seed)
        latents = Estimate.mean([faces.unfiltered(label, seed) for label in LABELS])
        below.append(Estimate.mean([raw[f"accuracy {label}"] for label in LABELS]) - latents)
    yield Line("against-pixels", "mean accuracy of eight labels: CNN on raw pixels - latents", below, Goal(0.025))


def row_detected(faces: Faces) -> Iterator[Line]:
    found = [faces.through_detector(seed) for seed in faces.seeds]
    more = [one["leakage, aligned"] - one["leakage, crops"] for one in found]
    less = [one["kept, crops"] - one["kept, aligned"] for one in found]
    images = faces.domain.images
    note = f"{len(images.refused)} of {len(images.refused) + len(images)} images left out"
    yield Line("detected", f"{PRIVATE}'s leakage: detected faces - crops", more, Goal(0.02), note)
    yield Line("detected", f"{UTILITY}'s accuracy: crops - detected faces", less, Goal(0.02))


def row_pixels(faces: Faces) -> Iterator[Line]:
    found = [faces.from_pixels("released", seed) for seed in faces.seeds]
    unfiltered = [faces.from_pixels("reconstructions", seed) for seed in faces.seeds]
    latents = [faces.leakage(seed) for seed in faces.seeds]
    more = [one["leakage"] - other for one, other in zip(found, latents, strict=True)]
    note = f"CNN {number(float(np.mean([one['leakage'].value for one in found])))}"
    yield Line("pixels", f"{PRIVATE}'s leakage: CNN on released pixels - latents", more, Goal(0.02), note)
    lost = [
        before[f"accuracy {UTILITY}"] - after[f"accuracy {UTILITY}"]
        for before, after in zip(unfiltered, found, strict=True)
    ]
    yield Line("pixels", f"{UTILITY}'s accuracy by CNN: reconstructions - released", lost, Goal(0.015))


def row_averaged(faces: Faces) -> Iterator[Line]:
    found = [faces.averaged(seed) for seed in faces.seeds]
    for form, most in (("keyed", 0.01), ("redrawn", 0.03)):
        more = [one[form] - one["one"] for one in found]
        what = f"{PRIVATE}'s leakage, {AVERAGED} releases of {AVERAGED_FACES} faces, {form}: average - one"
        yield Line("averaged", what, more, Goal(most))


def row_appearance(faces: Faces) -> Iterator[Line]:
    found = [faces.appearance(seed) for seed in faces.seeds]

    def over(name: str) -> list[Estimate]:
        return [one[name] for one in found]

    def mean(name: str) -> str:
        return number(float(np.mean([one.value for one in over(name)])))

    yield Line("appearance", "squared error of a reconstruction", over("squared error"), Goal(80))
    note = f"in crops {mean('faces found in crops')}"
    yield Line("appearance", "a detector finds a face", over("faces found"), Goal(0.99, at_most=False), note)
    note = f"of reconstructions {mean('gradient of reconstructions')}"
    yield Line("appearance", "pixel gradient against real", over("gradient"), Goal(0.85, at_most=False), note)
    plain = [faces.plain_decoder(seed) for seed in faces.seeds]
    note = f"distance of releases {mean('frechet')}, of reconstructions {mean('frechet of reconstructions')}"
    shares = [
        alone(one["frechet of reconstructions"].value / other["frechet"].value)
        for one, other in zip(found, plain, strict=True)
        if other is not None
    ]
    if not shares:
        note += "; needs --plain"
    yield Line("appearance", "Frechet distance against a plain decoder's", shares, Goal(0.5), note)


def row_latency(faces: Faces) -> Iterator[Line]:
    opened = faces.domain.reopened(threads=1)
    sample = opened.decode(opened.public.mean[:1])
    taken = bench.timed(lambda: opened.decode(opened.encode(sample).mean), seconds=2)
    found = [alone(1000 * float(np.median(taken)))]
    yield Line("latency", "encode + decode, one face, one thread, ms", found, Goal(5), bench.cpu_name())


Row = Callable[[Faces], Iterator[Line]]

ROWS: Mapping[str, Row] = {
    "unfiltered": row_unfiltered,
    "detected": row_detected,
    "against-pixels": row_against_pixels,
    "pixels": row_pixels,
    "averaged": row_averaged,
    "appearance": row_appearance,
    "latency": row_latency,
}
