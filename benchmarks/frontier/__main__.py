"""Every filter on the same tasks: what leaks, what is kept, how far samples are moved.

    PRIVSDK_DATA=... python -m benchmarks.frontier [--tasks ...] [--contenders ...] [--seeds 3] [--plot FILE]

Filters are fitted from the bundle alone, as on a device; attackers are trained afresh on releases of the training
partition (faces: also on those of people whom nothing has seen) and the strongest attack counts.  What is finished is
kept in ``runs/``, so a run that was killed goes on where it was.  docs/measuring.md says how each figure is defined.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cells import Cell, figures_of, refused
from benchmarks.domains import Domain
from benchmarks.frontier.ceilings import ceilings
from benchmarks.frontier.contenders import CONTENDERS
from benchmarks.frontier.drawing import draw
from benchmarks.frontier.measure import UNFILTERED, measured
from benchmarks.frontier.tasks import TASKS
from benchmarks.table import Line, table
from privsdk import bench
from privsdk.store.folder import write_atomically

BUNDLES = {"faces": "faces", "digits": "mnist", "table": "adult"}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frontier", description=__doc__.splitlines()[0])
    for choice, known in (("tasks", TASKS), ("contenders", [UNFILTERED, *CONTENDERS])):
        names = list(known)
        more = "all by default, of " + "; ".join(names)
        parser.add_argument(f"--{choice}", nargs="+", choices=names, default=names, metavar="NAME", help=more)
    parser.add_argument("--seeds", type=int, default=3, help="of fit and attack")
    for kind, bundle in BUNDLES.items():
        parser.add_argument(f"--{kind}", default=bundle, metavar="BUNDLE", help=f"{bundle} by default")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where finished parts are kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them there too, over what is there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    asked = parser.parse_args(arguments)
    if not (data := os.environ.get("PRIVSDK_DATA")):
        parser.error("PRIVSDK_DATA is not set: it names the folder that holds celeba/, mnist/ and adult/")

    domains: dict[str, Domain] = {}
    limits: dict[str, Cell] = {}
    cells: dict[str, dict[str, list[Cell]]] = {}
    lines = []
    for name in asked.tasks:
        task = TASKS[name]
        if task.domain not in domains:
            bundle = getattr(asked, task.domain)
            domains[task.domain] = Domain(task.domain, bundle, Path(data), asked.runs, asked.threads)
        domain = domains[task.domain]
        limits[name] = ceilings(domain, task)
        lines += [Line(f"{name}: ceilings", figure, [limit]) for figure, limit in limits[name].figures.items()]
        cells[name] = {}
        for contender in asked.contenders:
            found = cells[name][contender] = [measured(domain, task, contender, seed) for seed in range(asked.seeds)]
            fitted = [one for one in found if one.figures]
            row = f"{name}: {contender}"
            for figure in figures_of(fitted) or ["leakage"]:
                goal = task.goals.get(figure) if contender == "flow" else None
                lines.append(
                    Line(row, figure, [one[figure] for one in fitted if figure in one.figures], goal, refused(found))
                )
            for label in domain.sought(task.private):
                limit = limits[name][f"label ceiling {label}"]
                beyond = [one[f"leakage {label}"] - limit for one in fitted]
                lines.append(Line(row, f"beyond the label ceiling {label}", beyond))
    print(f"{asked.seeds} seeds, {bench.cpu_name()}\n")
    print(table(lines))
    if asked.json is not None:
        write_atomically(asked.json, json.dumps([line.to_json() for line in lines], indent=1).encode())
    if asked.plot is not None:
        draw({name: TASKS[name] for name in asked.tasks}, limits, cells, asked.plot)


if __name__ == "__main__":
    main()
