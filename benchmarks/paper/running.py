"""Experiments on one data set, measured, printed, drawn and kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.cells import say
from benchmarks.paper.experiments import EXPERIMENTS
from benchmarks.paper.pictures import PUBLISHED
from benchmarks.paper.place import Place
from benchmarks.paper.writing import RESULTS, Result
from privsdk import bench


def run(data: Path, runs: Path, seeds: int, quick: bool, write: bool, names: Sequence[str]) -> None:
    """One experiment after the other, on one thread: the networks are small."""
    torch.set_num_threads(1)
    drawn = (runs / "quick" if quick else runs) / "pictures"
    place = Place(data, runs, 1 if quick else seeds, quick)
    for name in names:
        began = time.perf_counter()
        experiment = EXPERIMENTS[name]
        sheets = tuple(experiment.measure(place))
        pictures = experiment.pictures(place, sheets) if experiment.pictures is not None else ()
        for picture in pictures:
            picture.write(drawn)
        shown = [picture for picture in pictures if not picture.of_people]
        captions = {picture.name: picture.caption for picture in shown}
        result = Result(sheets, len(place.seeds), bench.cpu_name(), captions)
        print(f"## {experiment.title}\n\n{result.markdown()}\n", flush=True)
        say(f"{name} took {time.perf_counter() - began:.0f} s")
        if write:
            result.write(RESULTS / f"{name}.json")
            for picture in shown:
                picture.write(PUBLISHED)
