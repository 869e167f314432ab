"""Densities: a Gaussian, or several, for each class; what they say is a likelihood ratio."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn import discriminant_analysis, mixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from privsdk.auditing.attackers.attacker import Attacker


class QuadraticDiscriminant(Attacker):
    """A Gaussian for each class: finds another mean, spread or correlation."""

    name = "quadratic discriminant"
    settings: ClassVar[tuple[float, ...]] = (0.05, 0.5)  # how far a covariance is drawn to a sphere

    def __init__(self, seed: int = 0, threads: int = 1, setting: int = 0) -> None:
        # Shrunk, a class may have fewer samples than dimensions.
        discriminant = discriminant_analysis.QuadraticDiscriminantAnalysis(
            solver="eigen", shrinkage=self.settings[setting]
        )
        self._model = make_pipeline(StandardScaler(), discriminant)


class GaussianMixtures(Attacker):
    """Several Gaussians for each class: finds clusters of any shape.

    Not among those that choose or audit: a family that no choice has seen, to tell whether a filter only fools those
    that have.
    """

    name = "Gaussian mixtures"
    components = 6

    def __init__(self, seed: int = 0, threads: int = 1, setting: int = 0) -> None:
        self._seed = seed
        self._scaler = StandardScaler()
        self._mixtures: list[mixture.GaussianMixture] = []
        self._log_share = np.empty(0)

    def fit(self, x: NDArray, y: NDArray) -> Self:
        x = self._scaler.fit_transform(x)
        counts = np.bincount(y)
        self._log_share = np.log(counts / len(y))
        self._mixtures = [
            # As many as there are samples for: each has a covariance of its own.
            mixture.GaussianMixture(
                max(1, min(self.components, count // (4 * x.shape[1]))), reg_covar=0.05, random_state=self._seed
            ).fit(x[y == one])
            for one, count in enumerate(counts)
        ]
        return self

    def score(self, x: NDArray) -> NDArray[np.float64]:
        x = self._scaler.transform(x)
        likely = np.stack([one.score_samples(x) for one in self._mixtures], axis=1) + self._log_share
        return likely[:, 1] - likely[:, 0] if likely.shape[1] == 2 else likely
