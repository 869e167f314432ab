"""Figures 4 and 8: the geometry of the latent space, by UMAP."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from benchmarks.cells import Cell
from benchmarks.domains import Domain
from benchmarks.paper.cases import SEED, Case, Version, versions
from benchmarks.paper.pictures import DOTS_PER_INCH, Picture, on_two_lines
from benchmarks.paper.place import Floats, Place
from benchmarks.paper.readings import names
from benchmarks.paper.sheet import Sheet, Spread
from privsdk.auditing.mapping import mapped

POINTS, QUICK_POINTS = 2000, 300
NEIGHBOURS = 10


def chosen(place: Place, domain: Domain) -> NDArray[np.int64]:
    """The test samples that are mapped: [N]."""
    count = QUICK_POINTS if place.quick else POINTS
    return np.sort(np.random.default_rng(SEED).choice(domain.test, count, replace=False))


def plane(place: Place, version: Version, case: Case) -> Floats:
    """A version of those samples in a map of its own: float32 [N, 2]."""
    space = version.space

    def measure() -> Cell:
        z = version.z[chosen(place, space.domain)][:, space.used]
        threads = torch.get_num_threads()
        (points,) = mapped([z], SEED)
        # Numba, by which UMAP runs, gives torch all cores, and where these are shared what follows takes far longer.
        torch.set_num_threads(threads)
        return Cell({}, {"points": points.tolist()})

    cell = space.cells.cell(f"{case} {version.name} map {SEED}", measure)
    return np.array(cell.notes["points"], np.float32)


def alike(points: Floats, classes: NDArray[np.int64]) -> float:
    """How many of the ten nearest others of a point are of its class; points [N, 2], classes [N]."""
    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(points).kneighbors(return_distance=False)
    return float((classes[nearest] == classes[:, None]).mean())


def measure(place: Place, case: Case) -> Sequence[Sheet]:
    domain = place.shipped("digits").domain
    labels = (case.private, case.utility)
    classes = {label: domain.classes(label)[chosen(place, domain)] for label in labels}
    by_chance = (Spread((float(np.square(np.bincount(one) / len(one)).sum()),)) for one in classes.values())
    rows: list[tuple[str | Spread, ...]] = [("by chance", *by_chance)]
    for version in versions(place, case):
        points = plane(place, version, case)
        rows.append((version.name, *(Spread((alike(points, one),)) for one in classes.values())))
    caption = (
        f"Share of a point's {NEIGHBOURS} nearest in the map that are of its class, of {len(points)} test digits, "
        f"seed {SEED}."
    )
    return (Sheet(caption, ("release", *labels), tuple(rows)),)


def pictures(place: Place, case: Case, name: str) -> Sequence[Picture]:
    """A column for each version; above coloured by the private label, below by the utility label."""
    from matplotlib.figure import Figure

    domain = place.shipped("digits").domain
    columns = versions(place, case)
    figure = Figure(figsize=(2.7 * len(columns), 5.2), dpi=DOTS_PER_INCH, layout="constrained")
    panels = figure.subplots(2, len(columns))
    for label, line in zip((case.private, case.utility), panels, strict=True):
        called = names(domain, label)
        classes = domain.classes(label)[chosen(place, domain)]
        for version, axes in zip(columns, line, strict=True):
            # All classes in one go, in the order of the samples: one by one, the last would lie over the others.
            across, up = plane(place, version, case).T
            dots = axes.scatter(across, up, c=classes, cmap="tab10", vmin=0, vmax=9, s=3, linewidths=0)
            axes.set(xticks=[], yticks=[])
            axes.set_title(on_two_lines(version.name), fontsize=9)
        line[0].set_ylabel(label, fontsize=9)
        handles = [dots.legend_elements(num=[one])[0][0] for one in range(len(called))]
        line[-1].legend(handles, called, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    caption = (
        f"{len(classes)} test digits in the plane, by UMAP of each release alone, seed {SEED}; coloured by "
        f"{case.private} above, by {case.utility} below. The axes mean nothing, and each map has its own."
    )
    return (Picture(name, caption, figure, of_people=False),)
