"""Neighbourhoods."""

from __future__ import annotations

from typing import ClassVar, Self

from numpy.typing import NDArray
from sklearn import neighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from privsdk.auditing.attackers.attacker import SUBSAMPLE, Attacker


class NearestNeighbours(Attacker):
    """The share of 1s among the nearest: reads clusters that a smooth boundary misses."""

    name = "k-nearest neighbours"
    limit = SUBSAMPLE
    settings: ClassVar[tuple[tuple[int, bool], ...]] = ((50, False), (50, True), (5, False))  # how many, standardised

    def __init__(self, seed: int = 0, threads: int = 1, setting: int = 0) -> None:
        self._neighbours, self._standardised = self.settings[setting]
        self._threads = threads

    def fit(self, x: NDArray, y: NDArray) -> Self:
        model = neighbors.KNeighborsClassifier(
            min(self._neighbours, len(x)), weights="distance", algorithm="brute", n_jobs=self._threads
        )
        self._model = make_pipeline(StandardScaler(), model) if self._standardised else model
        return super().fit(x, y)
