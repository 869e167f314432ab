"""Figure 3: MNIST, the digit hidden, a circle kept: along the budget (c), and confusion matrices (a, b)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks.paper import budgets, filters, readings
from benchmarks.paper.cases import CASE_1
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.pictures import Picture
from benchmarks.paper.place import Place
from benchmarks.paper.sheet import Sheet


def measure(place: Place) -> Sequence[Sheet]:
    default = partial(filters.default, place.shipped("digits"), CASE_1.task)
    return [budgets.along(place, CASE_1.private, CASE_1.utility, (), default), *readings.confusions(place, CASE_1)]


def pictures(place: Place, sheets: Sequence[Sheet]) -> Sequence[Picture]:
    return readings.pictures("figure-3", sheets)


TEXT = """
To be written.
"""

EXPERIMENT = Experiment(
    "Figure 3: MNIST, the digit hidden, a circle kept, along the budget, and confusion", TEXT, measure, pictures
)
