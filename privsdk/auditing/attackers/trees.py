"""Trees: steps and interactions, whatever the scale."""

from __future__ import annotations

from typing import ClassVar, Self

from numpy.typing import NDArray
from sklearn import ensemble

from privsdk.auditing.attackers.attacker import Attacker


class HistGradientBoosting(Attacker):
    """Gradient-boosted trees: each mends what those before it get wrong."""

    name = "gradient-boosted trees"
    settings: ClassVar[tuple[tuple[int, int], ...]] = ((150, 15), (400, 4))  # trees, and leaves of each

    def __init__(self, seed: int = 0, threads: int = 1, setting: int = 0) -> None:
        trees, leaves = self.settings[setting]
        self._model = ensemble.HistGradientBoostingClassifier(
            max_iter=trees, max_leaf_nodes=leaves, l2_regularization=1.0, early_stopping=False, random_state=seed
        )


FEW = 50  # samples that a tree gets at least, where there are as many


class RandomForest(Attacker):
    """Many deep trees, each on a part of the samples: finds spreads and thresholds."""

    name = "random forest"
    settings: ClassVar[tuple[tuple[int, float], ...]] = ((5, 0.25), (20, 0.25))  # samples of a leaf, share of a tree

    def __init__(self, seed: int = 0, threads: int = 1, setting: int = 0) -> None:
        leaf, self._share = self.settings[setting]
        self._model = ensemble.RandomForestClassifier(200, min_samples_leaf=leaf, n_jobs=threads, random_state=seed)

    def fit(self, x: NDArray, y: NDArray) -> Self:
        self._model.set_params(max_samples=max(min(FEW, len(x)), round(self._share * len(x))))
        return super().fit(x, y)
