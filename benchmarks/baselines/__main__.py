"""The baselines of the paper's Table 2 and more, trained here and read by fresh attackers, beside what was published.

    PRIVSDK_DATA=... python -m benchmarks.baselines [--data-set adult|mnist|celeba] [--baselines ...] [--seeds 3]

Each baseline is trained on the train partition; attackers learn from its representations of that, and are scored on
those of the test partition.  What is finished is kept in ``runs/baselines-DATA_SET``, so a run that was killed goes on
where it was.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.baselines import BASELINES
from benchmarks.baselines.measure import DATA_SETS, LABELS, measured, partitions
from benchmarks.cells import Cell, Cells
from privsdk import bench

FIGURES = ("accuracy", "balanced accuracy", "AUROC")
# Accuracy and balanced accuracy of sex, then of income.  What Table 2 calls AUROC is that of hard decisions.
PUBLISHED: Mapping[tuple[str, str], tuple[float, float, float, float]] = {
    ("adult", "VAE"): (0.850, 0.843, 0.837, 0.755),
    ("adult", "VFAE"): (0.802, 0.703, 0.851, 0.761),
    ("adult", "LMIFR"): (0.728, 0.659, 0.829, 0.741),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.baselines", description=__doc__.splitlines()[0])
    parser.add_argument("--data-set", choices=list(DATA_SETS), default="adult")
    parser.add_argument(
        "--baselines", nargs="+", choices=list(BASELINES), metavar="NAME", help=f"of {', '.join(BASELINES)}"
    )
    parser.add_argument("--seeds", type=int, default=3, help="of training and attack")
    parser.add_argument("--quick", action="store_true", help="on few training samples, kept apart")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where finished parts are kept")
    asked = parser.parse_args(arguments)
    if not (data := os.environ.get("PRIVSDK_DATA")):
        parser.error("PRIVSDK_DATA is not set: it names the folder that holds adult/, mnist/ and celeba/")
    there = DATA_SETS[asked.data_set].baselines
    for name in asked.baselines or ():
        if name not in there:
            parser.error(f"{name} is not made for {asked.data_set}, only {', '.join(there)}")

    torch.set_num_threads(1)  # what a training costs is told for one core
    folder = asked.runs / f"baselines-{asked.data_set}{'-quick' if asked.quick else ''}"
    folder.mkdir(parents=True, exist_ok=True)
    parts = partitions(asked.data_set, Path(data), asked.quick)
    cells: dict[str, list[Cell]] = {}
    for name in asked.baselines or there:
        cells[name] = [
            Cells(folder).cell(f"{name} {seed}", lambda name=name, seed=seed: measured(there[name], parts, seed))
            for seed in range(asked.seeds)
        ]
    print(f"{asked.data_set}, {len(parts[0])} training samples, {asked.seeds} seeds, {bench.cpu_name()}\n")
    print(figures_table(asked.data_set, cells))
    print()
    print(costs_table(cells))


def figures_table(data_set: str, cells: Mapping[str, Sequence[Cell]]) -> str:
    """Markdown: accuracy / balanced accuracy / AUROC of each label, mean and standard deviation over the seeds."""
    labels = dict(zip(LABELS, (DATA_SETS[data_set].private, DATA_SETS[data_set].utility), strict=True))
    head = ("baseline", "label", *FIGURES, "published", *(f"{figure}, strongest" for figure in FIGURES))
    rows: list[tuple[str, ...]] = [head, ("---",) * len(head)]
    for name, found in cells.items():
        published = PUBLISHED.get((data_set, name))
        for number, (label, called) in enumerate(labels.items()):
            there = "-" if published is None else " / ".join(f"{one:.3f}" for one in published[2 * number :][:2])
            read, strongest = (
                [spread([one[f"{label} {figure}{by}"].value for one in found]) for figure in FIGURES]
                for by in ("", ", strongest")
            )
            rows.append((name, called, *read, there, *strongest))
    return markdown(rows)


def costs_table(cells: Mapping[str, Sequence[Cell]]) -> str:
    """Markdown: what one more pair of labels costs with each, and what the method itself measured."""
    head = ("baseline", "parameters", "multiply-adds", "weights, kB", "training, s", "what the method itself found")
    rows: list[tuple[str, ...]] = [head, ("---",) * len(head)]
    for name, found in cells.items():
        costs = [one.notes["cost"] for one in found]
        own = ", ".join(
            f"{what} {spread([one.notes['notes'][what] for one in found])}" for what in found[0].notes["notes"]
        )
        cost, seconds = costs[0], spread([one["seconds"] for one in costs], decimals=1)
        rows.append(
            (
                name,
                f"{cost['parameters']:,}",
                f"{cost['multiply_adds']:,}",
                f"{cost['weight_bytes'] / 1000:,.1f}",
                seconds,
                own or "-",
            )
        )
    return markdown(rows)


def spread(values: Sequence[float], decimals: int = 3) -> str:
    """Mean and standard deviation."""
    mean = f"{np.mean(values):.{decimals}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.{decimals}f}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    main()
