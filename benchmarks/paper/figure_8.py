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
Ours: as in figure 4 digits lie in patches before. After the published method one cloud is left; digits of a kind lie
together a little more often than by chance, and more so by parity (.64) than by at least 5 (.55). A trained
classifier tells parity from it in .90 of the cases, so the map hides what is there. After the default filter two
groups of islands are left, odd and even, with at least 5 and less mixed in each; one small heap of odd digits lies
beside an island of even ones. Theirs: figure 8 without numbers, which we have not seen. Why they may differ: another
autoencoder, and UMAP has settings and a seed, which the paper does not give. What would settle it: the paper's
picture.
"""

EXPERIMENT = Experiment(
    "digits", "Figure 8: MNIST, the latent space in the plane, at least 5 hidden, parity kept", TEXT, measure, pictures
)
