"""Figure 7: MNIST, at least 5 hidden, parity kept: along the budget (b, c), and confusion matrices (a)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks.paper import budgets, filters, readings
from benchmarks.paper.cases import CASE_2
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.pictures import Picture
from benchmarks.paper.place import Place
from benchmarks.paper.sheet import Sheet


def measure(place: Place) -> Sequence[Sheet]:
    default = partial(filters.default, place.shipped("digits"), CASE_2.task)
    curves = budgets.along(place, CASE_2.private, CASE_2.utility, ("Circle",), default)
    return [curves, *readings.confusions(place, CASE_2)]


def pictures(place: Place, sheets: Sequence[Sheet]) -> Sequence[Picture]:
    return readings.pictures("figure-7", sheets)


TEXT = """
To be written.
"""

EXPERIMENT = Experiment(
    "Figure 7: MNIST, at least 5 hidden, parity kept, along the budget, and confusion", TEXT, measure, pictures
)
