"""The rows of the table: which measurements make a figure, and what it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

import privsdk
from benchmarks.cells import Cell, alone
from benchmarks.faces.measurements import AVERAGED, AVERAGED_FACES, FITS, UTILITY, Faces
from benchmarks.table import Goal, Line, number
from export.datasets.labelled import TEST
from privsdk import bench
from privsdk.audit.ceilings import label_ceiling
from privsdk.audit.metrics import Estimate

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
MINMAX_SEEDS = 5


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
            f"ceiling {number(ceiling)}; {_strongest(found)}",
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
    for large in ("lambda .05", "lambda 1"):
        yield from _both(faces, "parity", large, "Male", 0.56, 0.020)
        yield from _both(faces, "parity", f"{large}, rho .8", "Male", 0.545, 0.020)


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
    note = f"{len(faces.images.refused)} of {len(faces.images.refused) + len(faces.images)} images left out"
    yield Line("detected", "Male's leakage: detected faces - crops", more, Goal(0.02), note)
    yield Line("detected", f"{UTILITY}'s accuracy: crops - detected faces", less, Goal(0.02))


def row_pixels(faces: Faces, labels: Sequence[str]) -> Iterator[Line]:
    found = [faces.from_pixels("released", "Male", seed) for seed in faces.seeds]
    unfiltered = [faces.from_pixels("reconstructions", "Male", seed) for seed in faces.seeds]
    latents = [faces.hidden("Male", "flow", seed)["leakage"] for seed in faces.seeds]
    more = [one["leakage"] - other for one, other in zip(found, latents, strict=True)]
    note = f"CNN {number(float(np.mean([one['leakage'].value for one in found])))}"
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
        return number(float(np.mean([one.value for one in over(name)])))

    yield Line("appearance", "squared error of a reconstruction", over("squared error"), Goal(80))
    note = f"in crops {mean('faces found in crops')}"
    yield Line("appearance", "a detector finds a face", over("faces found"), Goal(0.99, at_most=False), note)
    note = f"of reconstructions {mean('gradient of reconstructions')}"
    yield Line("appearance", "pixel gradient against real", over("gradient"), Goal(0.85, at_most=False), note)
    plain = [faces.plain_decoder("Male", seed) for seed in faces.seeds]
    note = f"distance of releases {mean('frechet')}, of reconstructions {mean('frechet of reconstructions')}"
    shares = [
        alone(one["frechet of reconstructions"].value / other["frechet"].value)
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
    found = [alone(1000 * float(np.median(taken)))]
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


def _strongest(found: Sequence[Cell]) -> str:
    """Who the strongest attackers were, over the seeds."""
    names = {f"{one['attacker']} ({one['samples']})" for one in (cell.notes["attacks"][0] for cell in found)}
    return "strongest: " + ", ".join(sorted(names))
