"""Figure 8: MNIST, the latent space in the plane, at least 5 hidden, parity kept."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.paper import maps
from benchmarks.paper.cases import CASE_2
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.pictures import Picture
from benchmarks.paper.place import Place
from benchmarks.paper.sheet import Sheet


def measure(place: Place) -> Sequence[Sheet]:
    return maps.measure(place, CASE_2)


def pictures(place: Place, sheets: Sequence[Sheet]) -> Sequence[Picture]:
    return maps.pictures(place, CASE_2, "figure-8")


TEXT = """
To be written.
"""

EXPERIMENT = Experiment(
    "Figure 8: MNIST, the latent space in the plane, at least 5 hidden, parity kept", TEXT, measure, pictures
)
