"""What an experiment shows: tables whose figures keep their seeds, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.table import Line, number
from privsdk.auditing.metrics import Estimate

NOTHING = "-"
GOALS = ("goal of", "figure", "goal", "mean", "95% interval", "verdict")


@dataclass(frozen=True)
class Spread:
    """A figure of every seed, and the bootstrap's central 95% of their mean where there is one."""

    values: tuple[float, ...]
    interval: tuple[float, float] | None = None

    @classmethod
    def of(cls, estimates: Sequence[Estimate]) -> Spread:
        """``estimates`` are one a seed."""
        mean = Estimate.mean(list(estimates))
        return cls(tuple(one.value for one in estimates), mean.interval if len(mean.draws) else None)

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    def __str__(self) -> str:
        """The mean and, of several seeds, the standard deviation."""
        if len(self.values) < 2:
            return number(self.mean)
        return f"{number(self.mean)} ± {number(float(np.std(self.values, ddof=1)))}"


@dataclass(frozen=True)
class Sheet:
    """A table: its rows hold text, and figures."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str | Spread, ...], ...]

    def markdown(self) -> str:
        """The caption and the table, without the columns in which nothing stands."""
        there = [column for column in range(len(self.head)) if any(row[column] != NOTHING for row in self.rows)]
        texts = [self.head, ("---",) * len(self.head), *self.rows]
        lines = ["| " + " | ".join(str(text[column]) for column in there) + " |" for text in texts]
        return "\n".join([self.caption, "", *lines])

    def to_json(self) -> dict[str, Any]:
        def plain(entry: str | Spread) -> Any:
            if isinstance(entry, str):
                return entry
            interval = None if entry.interval is None else [round(side, 5) for side in entry.interval]
            return {"values": [round(value, 5) for value in entry.values], "interval": interval}

        return {
            "caption": self.caption,
            "head": list(self.head),
            "rows": [[plain(entry) for entry in row] for row in self.rows],
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Sheet:
        def entry(plain: Any) -> str | Spread:
            if isinstance(plain, str):
                return plain
            return Spread(tuple(plain["values"]), None if plain["interval"] is None else tuple(plain["interval"]))

        rows = tuple(tuple(entry(plain) for plain in row) for row in stored["rows"])
        return cls(stored["caption"], tuple(stored["head"]), rows)


def goals(lines: Sequence[Line]) -> Sheet:
    """Whether goals were met."""
    rows = []
    for line in lines:
        spread = Spread.of(line.estimates)
        interval = NOTHING if spread.interval is None else " to ".join(number(side) for side in spread.interval)
        rows.append((line.row, line.what, str(line.goal or NOTHING), spread, interval, line.verdict))
    return Sheet("Goals:", GOALS, tuple(rows))
