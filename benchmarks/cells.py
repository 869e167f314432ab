"""What was measured, kept on the disk: a run that was killed goes on where it was."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from privsdk.auditing.metrics import Estimate
from privsdk.store.folder import write_atomically


@dataclass(frozen=True)
class Cell:
    """What one measurement gave: figures with their bootstrap, and what else is worth keeping."""

    figures: dict[str, Estimate]
    notes: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def __getitem__(self, figure: str) -> Estimate:
        return self.figures[figure]

    def to_json(self) -> bytes:
        figures = {
            name: {"value": one.value, "draws": np.round(one.draws, 5).tolist()} for name, one in self.figures.items()
        }
        return json.dumps({"figures": figures, "notes": self.notes, "seconds": self.seconds}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Cell:
        stored = json.loads(data)
        figures = {name: Estimate(one["value"], np.array(one["draws"])) for name, one in stored["figures"].items()}
        return cls(figures, stored["notes"], stored["seconds"])


@dataclass(frozen=True)
class Cells:
    """The cells in a folder, by name."""

    folder: Path

    def cell(self, name: str, measure: Callable[[], Cell]) -> Cell:
        """The stored result of this name, or a new one."""
        path = self.folder / f"{name.replace(' ', '-').replace(',', '').replace('/', '-')}.json"
        if path.exists():
            return Cell.from_json(path.read_bytes())
        say(name)
        began = time.perf_counter()
        found = measure()
        found = Cell(found.figures, found.notes, time.perf_counter() - began)
        write_atomically(path, found.to_json())
        return found


def figures_of(cells: Sequence[Cell]) -> list[str]:
    """The names of all figures in them, in order."""
    return list(dict.fromkeys(figure for one in cells for figure in one.figures))


def refused(cells: Sequence[Cell]) -> str:
    """What a fit said that was not made, and how often."""
    said = [one.notes["refused"] for one in cells if "refused" in one.notes]
    return f"{len(said)} of {len(cells)} refused: {said[0]}" if said else ""


def alone(value: float) -> Estimate:
    """A figure without a bootstrap."""
    return Estimate(value, np.empty(0))


def say(text: str) -> None:
    """A line of progress, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
