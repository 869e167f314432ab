"""The training loop that all trainings of the central side share.

A run lives in a folder: ``last.pt`` (where a killed run goes on), ``best.pt`` (the best on the valid
partition), ``log.csv`` and ``curves.png``.  Everything random in a step is seeded by the run's seed and the
step's number, so a resumed run takes the very steps that the unbroken one would have taken; also with another number of
processes (:mod:`export.processes`), up to rounding.
"""

from __future__ import annotations

import csv
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from export import processes


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


@dataclass(frozen=True)
class Schedule:
    """How long a training runs, in which batches, and how its learning rate goes: up linearly, down a cosine."""

    samples: int
    batch: int
    steps: int
    peak: float
    warmup: float = 0.1
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        rise = max(1, int(self.warmup * self.steps))
        if step < rise:
            return self.peak * (step + 1) / rise
        return self.peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, self.steps - rise)))

    def rows(self, step: int) -> np.ndarray:
        """Indices int64 [batch] of the samples of a step; every epoch is a fresh permutation."""
        per_epoch = max(1, self.samples // self.batch)
        epoch, position = divmod(step, per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.samples)
        return order[position * self.batch : (position + 1) * self.batch]


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that a killed process leaves the old one or the new one, whole."""
    temporary = path.with_suffix(".partial")
    torch.save(state, temporary)
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def train(
    folder: Path,
    schedule: Schedule,
    parts: Mapping[str, Stateful],
    optimizers: Mapping[str, torch.optim.Optimizer],
    step: Callable[[int, np.ndarray], dict[str, float]],
    validate: Callable[[], dict[str, float]],
    every: int,
) -> dict[str, float]:
    """Run or resume a training and return the validation figures of its best checkpoint.

    ``step(number, rows)`` takes one step and returns what to log; ``validate()`` returns figures of which
    ``"loss"`` decides what is best.  Of several processes each logs of its share, validates the same, and the first
    writes.  ``every`` steps the run is validated, logged and checkpointed.  What
    counts as the run's state is ``parts`` and ``optimizers``; on return the parts hold the best checkpoint.
    """
    processes.check_batch(schedule.batch)
    folder.mkdir(parents=True, exist_ok=True)
    last, best = folder / "last.pt", folder / "best.pt"
    everything: dict[str, Stateful] = {**parts, **optimizers}
    begin, best_loss = 0, math.inf
    if last.exists():
        state = torch.load(last, weights_only=True, map_location="cpu")
        for name, part in everything.items():
            part.load_state_dict(state[name])
        begin, best_loss = state["step"], state["best_loss"]
        if processes.is_first():
            keep_log_until(folder / "log.csv", begin)
    elif processes.is_first():
        (folder / "log.csv").unlink(missing_ok=True)  # of a run that was killed before its first checkpoint
    started = time.monotonic()
    sums: dict[str, float] = {}
    logged = begin
    for number in range(begin, schedule.steps):
        torch.manual_seed(schedule.seed * 1_000_003 + number)
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(number) * group.get("scale", 1.0)
        for name, value in step(number, schedule.rows(number)).items():
            sums[name] = sums.get(name, 0.0) + value
        if (number + 1) % every and number + 1 != schedule.steps:
            continue
        figures = validate()
        taken = (number + 1 - logged) * processes.count()
        means = processes.summed_figures({name: total / taken for name, total in sums.items()})
        is_best = figures["loss"] < best_loss
        best_loss = min(best_loss, figures["loss"])
        sums, logged = {}, number + 1
        if not processes.is_first():
            continue
        log_row(folder / "log.csv", {"step": number + 1, **means, **{f"valid {k}": v for k, v in figures.items()}})
        state = {name: part.state_dict() for name, part in everything.items()}
        state |= {"step": number + 1, "figures": figures, "best_loss": best_loss}
        if is_best:
            save_atomically(state, best)
        save_atomically(state, last)
        left = (time.monotonic() - started) / (number + 1 - begin) * (schedule.steps - number - 1)
        words = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        print(
            f"{folder.name}: step {number + 1} of {schedule.steps}, {left / 60:.1f} min left; {words}",
            file=sys.stderr,
            flush=True,
        )
    processes.wait()
    state = torch.load(best, weights_only=True, map_location="cpu")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    if processes.is_first():
        draw_curves(folder / "log.csv", folder / "curves.png")
    return state["figures"]


def log_row(path: Path, row: dict[str, float]) -> None:
    """Append one row to a CSV log, with a heading if it is the first.

    What the heading names and the row lacks is 0: a term that none of its steps took.
    """
    if not path.exists():
        with open(path, "w", newline="") as file:
            csv.writer(file).writerow(row)
    with open(path, "r+", newline="") as file:
        heading = next(csv.reader(file))
        file.seek(0, os.SEEK_END)
        csv.writer(file).writerow([f"{row.get(name, 0.0):.6g}" for name in heading])


def keep_log_until(path: Path, step: int) -> None:
    """Drop the rows that a killed run logged after its last checkpoint; they will be logged again."""
    if path.exists():
        heading, *rows = path.read_text().splitlines()
        kept = [row for row in rows if float(row.split(",")[0]) <= step]
        path.write_text("\n".join([heading, *kept]) + "\n")


def draw_curves(log: Path, picture: Path) -> None:
    """One small plot for each logged column against the step."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with open(log, newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [name for name in rows[0] if name != "step"]
    across = 4
    down = -(-len(columns) // across)
    figure, axes = pyplot.subplots(down, across, figsize=(3.2 * across, 2.2 * down), squeeze=False)
    for axis in axes.flat:
        axis.set_visible(False)
    for axis, column in zip(axes.flat, columns, strict=False):
        axis.set_visible(True)
        axis.plot([float(row["step"]) for row in rows], [float(row[column]) for row in rows])
        axis.set_title(column, fontsize=8)
        axis.tick_params(labelsize=6)
    figure.tight_layout()
    figure.savefig(picture, dpi=100)
    pyplot.close(figure)
