"""Kernels."""

from __future__ import annotations

from typing import ClassVar

from sklearn import svm
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from privsdk.auditing.attackers.attacker import SUBSAMPLE, Attacker


class SupportVectorMachine(Attacker):
    """Radial basis functions: any smooth boundary, and spreads."""

    name = "RBF-SVM"
    limit = SUBSAMPLE
    # The price of an error, and whether latents are brought to spread 1 first.
    settings: ClassVar[tuple[tuple[float, bool], ...]] = ((1.0, True), (10.0, True), (1.0, False))

    def __init__(self, seed: int = 0, threads: int = 1, setting: int = 0) -> None:
        price, standardised = self.settings[setting]
        model = svm.SVC(C=price, gamma="scale", cache_size=400)
        self._model = make_pipeline(StandardScaler(), model) if standardised else model
