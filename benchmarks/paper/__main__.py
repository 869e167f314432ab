"""The paper's experiments, each as it was published beside what is measured here.

    PRIVSDK_DATA=... python -m benchmarks.paper [--only NAME ...] [--quick] [--seeds 3] [--write]

Pictures are written to ``runs/pictures``; those that show nobody also beside the results, with ``--write``.

What is finished is kept in ``runs/``, so a run that was killed goes on where it was; to measure something again, delete
its file in a ``cells`` or ``paper`` folder there.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.paper.experiments import EXPERIMENTS
from benchmarks.paper.running import run
from benchmarks.paper.writing import README, readme
from privsdk.store.folder import write_atomically


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper", description=__doc__.splitlines()[0])
    names = list(EXPERIMENTS)
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help=f"of {', '.join(names)}; all by default"
    )
    parser.add_argument("--quick", action="store_true", help="a small part of the data, one seed, two attackers")
    parser.add_argument("--seeds", type=int, default=3, help="of fits, noise and classifiers")
    parser.add_argument("--write", action="store_true", help=f"keep results and pictures, and write {README.name}")
    parser.add_argument("--processes", type=int, default=2, help="at once: data sets are measured beside each other")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where finished parts are kept")
    asked = parser.parse_args(arguments)
    if not (data := os.environ.get("PRIVSDK_DATA")):
        parser.error("PRIVSDK_DATA is not set: it names the folder that holds mnist/, adult/ and celeba/")
    if asked.quick and asked.write:
        parser.error("--quick is no result to keep: leave it out, or --write")
    if asked.processes < 1:
        parser.error("--processes is at least 1")

    tasks: dict[str, list[str]] = {}
    for name in asked.only:
        tasks.setdefault(EXPERIMENTS[name].data, []).append(name)
    work = partial(run, Path(data), asked.runs, asked.seeds, asked.quick, asked.write)
    if len(tasks) == 1:
        work(asked.only)
    else:
        with ProcessPoolExecutor(asked.processes, multiprocessing.get_context("spawn")) as pool:
            # What takes longest is begun first.
            list(pool.map(work, [tasks[data] for data in ("faces", "digits", "table") if data in tasks]))
    if asked.write:
        write_atomically(README, readme(EXPERIMENTS).encode())


if __name__ == "__main__":
    main()
