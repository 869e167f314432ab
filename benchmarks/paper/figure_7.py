"""Figure 7(b, c): MNIST, at least 5 hidden, parity kept, along the budget."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks.paper import filters
from benchmarks.paper.budgets import along, drawn
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.place import Place
from benchmarks.paper.sheet import Sheet


def measure(place: Place) -> Sequence[Sheet]:
    return [
        along(
            place,
            "At least 5",
            "Even",
            ("Circle",),
            partial(filters.default, place.shipped("digits"), "at least 5, parity"),
        )
    ]


TEXT = """
The text of the paper says that the private label falls from .95 to .65 as the budget grows while parity stays above
.87; the curves have no other numbers. The unit of the budget is not given either, so heights compare and positions
along the axis do not.
"""

EXPERIMENT = Experiment("Figure 7(b, c): MNIST, at least 5 hidden, parity kept, along the budget", TEXT, measure, drawn)
