"""The table as a picture: what leaks against what is lost and against how far samples are moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.cells import Cell
from benchmarks.frontier.measure import UNFILTERED
from benchmarks.frontier.tasks import Task
from privsdk.auditing.metrics import Estimate

ALONG = {"lost": "accuracy lost (points)", "distortion share": "distortion (% of another sample's)"}
TICKS = (-1, -0.5, 0, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)  # of a scale that is even up to 1 and logarithmic beyond


def draw(
    tasks: Mapping[str, Task], limits: Mapping[str, Cell], found: Mapping[str, Mapping[str, Sequence[Cell]]], path: Path
) -> None:
    """A row for each task, a column for each of ``ALONG``; ``found`` has the cells of each contender over the seeds.

    Bars are 95% intervals; of several labels the one that leaks, or loses, the most is shown.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, StrMethodFormatter

    sheet = Figure(figsize=(9, 1.5 + (3.4 if len(tasks) == 1 else 2) * len(tasks)), dpi=90, layout="constrained")
    axes = sheet.subplots(len(tasks), len(ALONG), squeeze=False, sharex="col", sharey="row")
    contenders = [
        name for name in dict.fromkeys(name for cells in found.values() for name in cells) if name != UNFILTERED
    ]
    looks = {name: (f"C{number % 10}", "os^D"[number // 10]) for number, name in enumerate(contenders)}
    reached: dict[str, list[float]] = {figure: [] for figure in ALONG}
    for row, (name, task) in zip(axes, tasks.items(), strict=True):
        ceiling = max(limits[name][f"label ceiling {label}"].value for label in task.private)
        fitted = {contender: [one for one in found[name].get(contender, ()) if one.figures] for contender in contenders}
        for axis, (figure, text) in zip(row, ALONG.items(), strict=True):
            for contender, (colour, marker) in looks.items():
                if not fitted[contender]:
                    continue
                leaked = worst(fitted[contender], "leakage", task.private)
                along = worst(fitted[contender], figure, task.utility if figure == "lost" else [""])
                reached[figure].append(100 * along.value)
                low, high = leaked.interval
                bar = [[max(leaked.value - low, 0)], [max(high - leaked.value, 0)]]
                axis.errorbar(100 * along.value, leaked.value, bar, color=colour, marker=marker, label=contender)
            if fitted.get("flow"):
                fair = worst(fitted["flow"], "fair score tells", task.private).value
                axis.axhline(fair, color="green", ls=":", lw=1, label="fair score alone")
            axis.axhline(ceiling, color="grey", ls="--", lw=1, label="true utility labels alone")
            axis.axhline(0.5, color="black", lw=1, label="chance")
            axis.set_xscale("symlog", linthresh=1)
            axis.xaxis.set_major_locator(FixedLocator(TICKS))
            axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_xlim(min(0, *reached[figure]) - 0.2, 1.2 * max(2, *reached[figure]))
            if name == list(tasks)[-1]:
                axis.set_xlabel(text)
        row[0].set_ylabel(f"{name}\nleakage (AUROC)")
    known = {text: handle for axis in axes.flat for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    sheet.legend(known.values(), known.keys(), loc="outside lower center", ncols=4, fontsize=8)
    sheet.savefig(path)


def worst(cells: Sequence[Cell], figure: str, labels: Sequence[str]) -> Estimate:
    """The largest over ``labels`` of a figure's mean over the cells."""
    means = [Estimate.mean([one[f"{figure} {label}".strip()] for one in cells]) for label in labels]
    return max(means, key=lambda one: one.value)
