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
The text of the paper says that the private label falls from .95 to .65 as the budget grows while parity stays above
.87; the curves have no other numbers. Ours falls from .95 to .62 with a lambda of 3 while parity stays at .87 or
above, so both hold; with a lambda of .3 parity stays above .94, and the private label at .75 or above. The unit of
the budget is not given either, so heights compare and positions along the axis do not. That the Gaussian mechanism
keeps less at the same budget holds of parity, and of the circle beyond a budget of 4. Figure 7(a), says the text, has
false positives and false negatives nearly alike: with the published method ours are .25 and .33, seed 0; with the
default filter .35 and .48, so its classifier says no more often, to digits of both kinds. The circle, which nobody
named, falls further with the default filter than with the published method: asked to, it keeps it (Table 1).
"""

EXPERIMENT = Experiment(
    "digits",
    "Figure 7: MNIST, at least 5 hidden, parity kept, along the budget, and confusion",
    TEXT,
    measure,
    pictures,
)
