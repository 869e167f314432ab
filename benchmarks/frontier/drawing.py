"""The table as a picture: what leaks against what is lost and against how far samples are moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.cells import Cell
from benchmarks.frontier.tasks import Task
from privsdk.audit.metrics import Estimate

ALONG = {"lost": "accuracy lost (points)", "distortion share": "distortion (% of another sample's)"}


def draw(
    tasks: Mapping[str, Task], limits: Mapping[str, Cell], found: Mapping[str, Mapping[str, Sequence[Cell]]], path: Path
) -> None:
    """A column for each task, a row for each of ``ALONG``; ``found`` has the cells of each contender over the seeds.

    Bars are 95% intervals; of several labels the one that leaks, or loses, the most is shown.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.5 + 3.2 * len(tasks), 7), dpi=90, layout="constrained")
    axes = figure.subplots(len(ALONG), len(tasks), squeeze=False, sharey="col")
    contenders = list(dict.fromkeys(name for cells in found.values() for name in cells))
    colours = {name: f"C{number % 10}" for number, name in enumerate(contenders)}
    markers = {name: "os^D"[number // 10] for number, name in enumerate(contenders)}
    for column, (name, task) in zip(axes.T, tasks.items(), strict=True):
        ceiling = max(limits[name][f"label ceiling {label}"].value for label in task.private)
        for axis, (figures, text) in zip(column, ALONG.items(), strict=True):
            for contender, cells in found[name].items():
                if not (fitted := [one for one in cells if one.figures]):
                    continue
                leaked = worst(fitted, "leakage", task.private)
                along = worst(fitted, figures, task.utility if figures == "lost" else [""])
                error = np.abs(np.array(leaked.interval) - leaked.value)[:, None]
                axis.errorbar(
                    100 * along.value,
                    leaked.value,
                    yerr=error,
                    color=colours[contender],
                    marker=markers[contender],
                    label=contender,
                )
            if flow := [one for one in found[name].get("flow", ()) if one.figures]:
                fair = worst(flow, "fair score tells", task.private).value
                axis.axhline(fair, color="green", ls=":", lw=1, label="fair score alone")
            axis.axhline(ceiling, color="grey", ls="--", lw=1, label="true utility labels alone")
            axis.axhline(0.5, color="black", lw=1, label="chance")
            axis.set_xlabel(text)
        column[0].set_title(name)
    for axis in axes[:, 0]:
        axis.set_ylabel("leakage (AUROC)")
    known = {text: handle for axis in axes.flat for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(known.values(), known.keys(), loc="outside lower center", ncols=min(len(tasks), 3), fontsize=8)
    figure.savefig(path)


def worst(cells: Sequence[Cell], figure: str, labels: Sequence[str]) -> Estimate:
    """The largest over ``labels`` of a figure's mean over the cells."""
    means = [Estimate.mean([one[f"{figure} {label}".strip()] for one in cells]) for label in labels]
    return max(means, key=lambda one: one.value)
