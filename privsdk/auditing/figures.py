"""Where the marks of the page's figures lie; its template draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privsdk.auditing.report import Frontier, Interval, Map, Report, Told

COLOURS = 7  # that the page has for classes, told apart by the colour-blind; shapes tell them apart as well
SHAPES = ("round", "square", "cross", "triangle")
MAP = 1000  # the sides of a map and of a curve, in units of their own
MARGIN, REACH = 25, 6  # around a map; from the middle of a mark to its edge


@dataclass(frozen=True)
class Axis:
    """A line from ``low`` to ``high`` with a number at every ``step``."""

    low: float
    high: float
    step: float

    def at(self, value: float) -> float:
        """Per cent of the way along; what lies beyond an end is drawn there."""
        return round(100 * min(max((value - self.low) / (self.high - self.low), 0.0), 1.0), 2)

    @property
    def ticks(self) -> list[float]:
        count = round((self.high - self.low) / self.step)
        return [self.low + self.step * number for number in range(count + 1)]


FROM_CHANCE = Axis(0.5, 1.0, 0.1)  # what an AUROC above chance can be
ANY_SHARE = Axis(0.0, 1.0, 0.2)


@dataclass(frozen=True)
class Line:
    """One figure with its name, drawn on an axis of its own; ``known`` is false of what nobody knows."""

    name: str
    value: float
    interval: Interval | None = None
    known: bool = True


@dataclass(frozen=True)
class Lines:
    """Figures under each other that are compared on one axis, the first of them what the figure is about."""

    axis: Axis
    lines: tuple[Line, ...]


def leakage_lines(told: Told) -> Lines:
    """The strongest attacker beside what may be told of real samples and what the kept labels tell."""
    lines = [Line("Strongest attacker", told.leakage, told.interval)]
    if told.on_real_samples > told.leakage:
        lines.append(Line("On real samples, up to", told.on_real_samples, known=told.on_real_samples < 1))
    lines.append(Line("Kept labels alone", told.ceiling))
    return Lines(FROM_CHANCE, tuple(lines))


def accuracy_lines(told: Told) -> Lines:
    """The most accurate attacker beside whoever says the commonest class without looking."""
    lines = (
        Line("Most accurate attacker", told.accuracy, told.accuracy_interval),
        Line("Always the commonest class", told.base_rate),
    )
    lowest = min(told.accuracy_interval[0], told.accuracy, told.base_rate)
    return Lines(FROM_CHANCE if lowest >= FROM_CHANCE.low else ANY_SHARE, lines)


@dataclass(frozen=True)
class Bar:
    """A small axis in a table: a stretch from ``low`` to ``high``, a dot, and a ring where there was one before."""

    low: float
    high: float
    dot: float
    ring: float | None = None


def interval_bar(value: float, interval: Interval) -> Bar:
    """An AUROC and its interval."""
    low, high = map(FROM_CHANCE.at, interval)
    return Bar(low, high, FROM_CHANCE.at(value))


def change_bar(before: float | None, after: float) -> Bar:
    """An AUROC before and after."""
    dot = FROM_CHANCE.at(after)
    ring = None if before is None else FROM_CHANCE.at(before)
    ends = (dot, dot if ring is None else ring)
    return Bar(min(ends), max(ends), dot, ring)


@dataclass(frozen=True)
class Place:
    """A pair of leakage and accuracy; ``interval`` is that of the leakage."""

    name: str
    leakage: float
    accuracy: float
    interval: Interval | None = None


@dataclass(frozen=True)
class Tradeoff:
    """Leakage to the right, accuracy upwards; ``curve`` is the frontier as an SVG path in a box of MAP by MAP."""

    across: Axis
    up: Axis
    curve: str
    places: tuple[Place, ...]


def tradeoff(report: Report, frontier: Frontier) -> Tradeoff:
    """The frontier, and where the releases and the unfiltered samples are."""
    told, kept = report.private[frontier.private], report.utility[frontier.utility]
    places = [Place("these releases", told.leakage, kept.accuracy, told.interval)]
    before = {one.name: one.before for one in report.attributes}.get(frontier.private)
    if before is not None and kept.accuracy_unfiltered is not None:
        places.append(Place("unfiltered", before, kept.accuracy_unfiltered))
    lowest = min(*frontier.accuracy, *(place.accuracy for place in places))
    up = _upwards(lowest)
    ends = [*zip(frontier.leakage, frontier.accuracy, strict=True), (FROM_CHANCE.high, frontier.accuracy[-1])]
    points = [f"{10 * FROM_CHANCE.at(leakage):.0f} {MAP - 10 * up.at(accuracy):.0f}" for leakage, accuracy in ends]
    return Tradeoff(FROM_CHANCE, up, "M" + "L".join(points), tuple(places))


def _upwards(lowest: float) -> Axis:
    """From a round number below ``lowest`` to 1, with three to six numbers on it."""
    step = next(step for step in (0.02, 0.05, 0.1, 0.2) if 1 - lowest <= 5 * step)
    steps = max(2, math.ceil((1 - lowest) / step + 0.25))
    return Axis(max(0.0, round(1 - step * steps, 2)), 1.0, step)


@dataclass(frozen=True)
class Marks:
    """The marks of one class, as one SVG path in a box of MAP by MAP."""

    name: str
    number: int
    count: int
    shape: str
    path: str

    @property
    def colour(self) -> int:
        return self.number % COLOURS


@dataclass(frozen=True)
class Panel:
    """A map of the latents at one time; ``marks`` are drawn in their order, those of the commonest class first."""

    name: str
    marks: tuple[Marks, ...]


def panels(drawn: Map) -> tuple[Panel, ...]:
    """The map after and, where it is known, before: on the same ground, so that they can be compared."""
    times = {"Before": drawn.before, "After": drawn.after}
    known = {name: points for name, points in times.items() if points is not None}
    everyone = np.concatenate(list(known.values()))
    low = everyone.min(axis=0)
    extent = max(float((everyone.max(axis=0) - low).max()), np.finfo(np.float32).eps)
    return tuple(
        Panel(name, _marks(drawn, np.rint(MARGIN + (points - low) / extent * (MAP - 2 * MARGIN)).astype(np.int64)))
        for name, points in known.items()
    )


def _marks(drawn: Map, points: NDArray[np.int64]) -> tuple[Marks, ...]:
    counts = np.bincount(drawn.classes, minlength=len(drawn.names))
    return tuple(
        Marks(
            drawn.names[number],
            int(number),
            int(counts[number]),
            SHAPES[number % len(SHAPES)],
            "".join(_mark(SHAPES[number % len(SHAPES)], x, MAP - y) for x, y in points[drawn.classes == number]),
        )
        for number in np.argsort(-counts, kind="stable")
    )


def _mark(shape: str, x: int, y: int) -> str:
    match shape:
        case "cross":
            return f"M{x - REACH} {y - REACH}l{2 * REACH} {2 * REACH}m0-{2 * REACH}l-{2 * REACH} {2 * REACH}"
        case "triangle":
            return f"M{x} {y - REACH}l{REACH} {2 * REACH}h-{2 * REACH}z"
        case "square":
            return f"M{x - REACH} {y - REACH}h{2 * REACH}v{2 * REACH}h-{2 * REACH}z"
        case _:  # a line of no length, of which its round ends are all that is seen
            return f"M{x} {y}h0"
