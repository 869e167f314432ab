"""Neural networks on latents: any smooth boundary, and products of coordinates."""

from __future__ import annotations

from typing import ClassVar, Self

from numpy.typing import NDArray
from sklearn import neural_network
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from privsdk.auditing.attackers.attacker import Attacker


class MultilayerPerceptron(Attacker):
    """Two hidden layers on the latents as they come."""

    name = "MLP, raw"
    layers: ClassVar[tuple[int, ...]] = (128, 64)
    settings: ClassVar[tuple[tuple[float, int], ...]] = ((0.1, 12), (0.01, 40))  # penalty, passes
    standardised: ClassVar[bool] = False

    def __init__(self, seed: int = 0, threads: int = 1, setting: int = 0) -> None:
        self._penalty, self._passes = self.settings[setting]
        self._seed = seed

    def fit(self, x: NDArray, y: NDArray) -> Self:
        model = neural_network.MLPClassifier(
            self.layers,
            alpha=self._penalty,
            batch_size=min(128, len(x)),
            max_iter=self._passes,
            learning_rate_init=1e-3,
            random_state=self._seed,
        )
        self._model = make_pipeline(StandardScaler(), model) if self.standardised else model
        return super().fit(x, y)


class StandardisedPerceptron(MultilayerPerceptron):
    """Two hidden layers on latents brought to mean 0 and spread 1."""

    name = "MLP, standardised"
    standardised = True


class SmallPerceptron(MultilayerPerceptron):
    """One hidden layer of 16 on the latents as they come: learns from few samples what a large one overlooks."""

    name = "small MLP, raw"
    layers = (16,)


class SmallStandardisedPerceptron(SmallPerceptron):
    """The small one on latents brought to mean 0 and spread 1."""

    name = "small MLP, standardised"
    standardised = True
