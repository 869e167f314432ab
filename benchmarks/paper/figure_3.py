"""Figure 3(c): MNIST, the digit hidden, a circle kept, along the budget."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks.paper import filters
from benchmarks.paper.budgets import along, drawn
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.place import Place
from benchmarks.paper.sheet import Sheet


def measure(place: Place) -> Sequence[Sheet]:
    return [along(place, "Digit", "Circle", (), partial(filters.default, place.shipped("digits"), "digit, circle"))]


TEXT = """
The paper prints figure 3 as curves and confusion matrices without numbers, so only its two claims can be compared: a
larger budget hides the digit while the circle stays, and the Gaussian mechanism is worse at both.
"""

EXPERIMENT = Experiment("Figure 3(c): MNIST, the digit hidden, a circle kept, along the budget", TEXT, measure, drawn)
