"""Figure 1: MNIST, a digit of each kind, the digit hidden, a circle kept."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.paper import samples
from benchmarks.paper.cases import CASE_1
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.pictures import Picture
from benchmarks.paper.place import Place
from benchmarks.paper.sheet import Sheet


def measure(place: Place) -> Sequence[Sheet]:
    return samples.measure(place, CASE_1)


def pictures(place: Place, sheets: Sequence[Sheet]) -> Sequence[Picture]:
    return samples.pictures(place, CASE_1, "figure-1")


TEXT = """
To be written.
"""

EXPERIMENT = Experiment(
    "Figure 1: MNIST, a digit of each kind, the digit hidden, a circle kept", TEXT, measure, pictures
)
