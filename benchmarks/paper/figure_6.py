"""Figure 6: MNIST, a digit of each kind, at least 5 hidden, parity kept."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.paper import samples
from benchmarks.paper.cases import CASE_2
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.pictures import Picture
from benchmarks.paper.place import Place
from benchmarks.paper.sheet import Sheet


def measure(place: Place) -> Sequence[Sheet]:
    return samples.measure(place, CASE_2)


def pictures(place: Place, sheets: Sequence[Sheet]) -> Sequence[Picture]:
    return samples.pictures(place, CASE_2, "figure-6")


TEXT = """
To be written.
"""

EXPERIMENT = Experiment(
    "Figure 6: MNIST, a digit of each kind, at least 5 hidden, parity kept", TEXT, measure, pictures
)
