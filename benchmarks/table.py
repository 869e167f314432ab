"""Lines of figures against their goals, as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from privsdk.auditing.metrics import Estimate


@dataclass(frozen=True)
class Goal:
    """What a figure should be: at most, or at least, ``limit``."""

    limit: float
    at_most: bool = True

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {number(self.limit)}"

    def met_by(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit


@dataclass(frozen=True)
class Line:
    """One line of the table: a figure over several seeds, against its goal."""

    row: str
    what: str
    estimates: Sequence[Estimate]
    goal: Goal | None = None
    note: str = ""

    @property
    def mean(self) -> Estimate:
        return Estimate.mean(list(self.estimates))

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds."""
        values = [one.value for one in self.estimates]
        return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    @property
    def verdict(self) -> str:
        """Met or missed by the mean; "not decided" where the interval holds both."""
        if not self.estimates:
            return "not measured"
        if self.goal is None:
            return "-"
        mean = "met" if self.goal.met_by(self.mean.value) else "missed"
        if not len(self.mean.draws):
            return mean
        sides = {self.goal.met_by(side) for side in self.mean.interval}
        return mean if len(sides) == 1 else f"not decided (mean {mean})"

    def cells(self) -> tuple[str, ...]:
        """The line as text: row, what, goal, mean, spread, interval, verdict, note."""
        if not self.estimates:
            return self.row, self.what, str(self.goal or "-"), "-", "-", "-", self.verdict, self.note
        low_high = "-"
        if len(self.mean.draws):
            low_high = " to ".join(number(side) for side in self.mean.interval)
        spread = "-" if np.isnan(self.spread) else number(self.spread)
        return (
            self.row,
            self.what,
            str(self.goal or "-"),
            number(self.mean.value),
            f"{spread} ({len(self.estimates)})",
            low_high,
            self.verdict,
            self.note,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "row": self.row,
            "what": self.what,
            "goal": None if self.goal is None else str(self.goal),
            "values": [one.value for one in self.estimates],
            "interval": list(self.mean.interval) if self.estimates and len(self.mean.draws) else None,
            "verdict": self.verdict,
            "note": self.note,
        }


def table(lines: Sequence[Line]) -> str:
    """Markdown."""
    head = ("row", "what", "goal", "mean", "spread (seeds)", "95% interval", "verdict", "note")
    texts = [head, ("---",) * len(head), *(line.cells() for line in lines)]
    return "\n".join("| " + " | ".join(text) + " |" for text in texts)


def number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
