"""Attackers: classifiers trained afresh on released latents to find a label.

Each is made as ``Attacker(seed, threads)`` and has ``fit(z, y)`` (float32 ``[N, Z]`` and classes ``[N]``, 0 to C - 1,
each of them present; returns itself) and ``score(z)``: of two classes float64 ``[N]``, above 0 the attacker says 1; of
more float64 ``[N, C]``, the attacker says the class with the largest.  ``limit`` is the largest number of samples it is
trained on (``None``: all of them); the protocols draw that many.
They differ in what they can see: means, steps, curved and chequered boundaries, spreads, neighbourhoods.
"""

from __future__ import annotations

import warnings
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn import discriminant_analysis, ensemble, linear_model, mixture, neighbors, neural_network, svm
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SUBSAMPLE = 6000  # for the attackers whose time grows with the square of the number of samples


class Attacker:
    """What all attackers share; a subclass names itself and sets ``_model``."""

    name: ClassVar[str]
    limit: ClassVar[int | None] = None
    _model: ClassifierMixin

    def __init__(self, seed: int = 0, threads: int = 1) -> None:
        raise NotImplementedError

    def fit(self, z: NDArray, y: NDArray) -> Self:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of passes is fixed on purpose
            self._model.fit(z, y)
        return self

    def score(self, z: NDArray) -> NDArray[np.float64]:
        """Log-odds of the label, or of each class; or what the model has in their place."""
        if hasattr(self._model, "decision_function"):
            return self._model.decision_function(z).astype(np.float64)
        probability = np.clip(self._model.predict_proba(z).astype(np.float64), 1e-9, 1 - 1e-9)
        log_odds = np.log(probability) - np.log1p(-probability)
        return log_odds[:, 1] if log_odds.shape[1] == 2 else log_odds


class LogisticRegression(Attacker):
    """A plane: finds a shift of the mean."""

    name = "logistic regression"

    def __init__(self, seed: int = 0, threads: int = 1) -> None:
        self._model = make_pipeline(StandardScaler(), linear_model.LogisticRegression(C=0.1, max_iter=300))


class HistGradientBoosting(Attacker):
    """Gradient-boosted trees: steps and interactions, whatever the scale."""

    name = "gradient-boosted trees"

    def __init__(self, seed: int = 0, threads: int = 1) -> None:
        self._model = ensemble.HistGradientBoostingClassifier(
            max_iter=150, max_leaf_nodes=15, l2_regularization=1.0, early_stopping=False, random_state=seed
        )


class MultilayerPerceptron(Attacker):
    """Two hidden layers on the latents as they come."""

    name = "MLP, raw"

    def __init__(self, seed: int = 0, threads: int = 1) -> None:
        self._model = _perceptron(seed)


class StandardisedPerceptron(Attacker):
    """Two hidden layers on latents brought to mean 0 and spread 1."""

    name = "MLP, standardised"

    def __init__(self, seed: int = 0, threads: int = 1) -> None:
        self._model = make_pipeline(StandardScaler(), _perceptron(seed))


def _perceptron(seed: int) -> neural_network.MLPClassifier:
    return neural_network.MLPClassifier(
        (128, 64), alpha=0.1, batch_size=128, max_iter=12, learning_rate_init=1e-3, random_state=seed
    )


class NearestNeighbours(Attacker):
    """The share of 1s among the nearest: reads clusters that a smooth boundary misses."""

    name = "k-nearest neighbours"
    limit = SUBSAMPLE
    neighbours = 50

    def __init__(self, seed: int = 0, threads: int = 1) -> None:
        self._model = neighbors.KNeighborsClassifier(weights="distance", algorithm="brute", n_jobs=threads)

    def fit(self, z: NDArray, y: NDArray) -> Self:
        self._model.set_params(n_neighbors=min(self.neighbours, len(z)))
        return super().fit(z, y)


class RandomForest(Attacker):
    """Many deep trees, each on a part of the samples: finds spreads and thresholds."""

    name = "random forest"

    def __init__(self, seed: int = 0, threads: int = 1) -> None:
        self._model = ensemble.RandomForestClassifier(
            200, min_samples_leaf=5, max_samples=0.25, n_jobs=threads, random_state=seed
        )


class SupportVectorMachine(Attacker):
    """Radial basis functions: any smooth boundary, and spreads."""

    name = "RBF-SVM"
    limit = SUBSAMPLE

    def __init__(self, seed: int = 0, threads: int = 1) -> None:
        self._model = make_pipeline(StandardScaler(), svm.SVC(C=1.0, gamma="scale", cache_size=400))


class QuadraticDiscriminant(Attacker):
    """A Gaussian for each class: finds another mean, spread or correlation."""

    name = "quadratic discriminant"

    def __init__(self, seed: int = 0, threads: int = 1) -> None:
        # Shrunk, a class may have fewer samples than dimensions.
        discriminant = discriminant_analysis.QuadraticDiscriminantAnalysis(solver="eigen", shrinkage=0.05)
        self._model = make_pipeline(StandardScaler(), discriminant)


class GaussianMixtures(Attacker):
    """Several Gaussians for each class: finds clusters of any shape.

    Not among ``ATTACKERS``: a family that no choice has seen, to tell whether a filter only fools those that have.
    """

    name = "Gaussian mixtures"
    components = 6

    def __init__(self, seed: int = 0, threads: int = 1) -> None:
        self._seed = seed
        self._scaler = StandardScaler()
        self._mixtures: list[mixture.GaussianMixture] = []
        self._log_share = np.empty(0)

    def fit(self, z: NDArray, y: NDArray) -> Self:
        z = self._scaler.fit_transform(z)
        counts = np.bincount(y)
        self._log_share = np.log(counts / len(y))
        self._mixtures = [
            # As many as there are samples for: each has a covariance of its own.
            mixture.GaussianMixture(
                max(1, min(self.components, count // (4 * z.shape[1]))), reg_covar=0.05, random_state=self._seed
            ).fit(z[y == one])
            for one, count in enumerate(counts)
        ]
        return self

    def score(self, z: NDArray) -> NDArray[np.float64]:
        z = self._scaler.transform(z)
        likely = np.stack([one.score_samples(z) for one in self._mixtures], axis=1) + self._log_share
        return likely[:, 1] - likely[:, 0] if likely.shape[1] == 2 else likely


ATTACKERS: tuple[type[Attacker], ...] = (
    LogisticRegression,
    HistGradientBoosting,
    MultilayerPerceptron,
    StandardisedPerceptron,
    NearestNeighbours,
    RandomForest,
    SupportVectorMachine,
    QuadraticDiscriminant,
)
