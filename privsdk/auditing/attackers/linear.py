"""Planes."""

from __future__ import annotations

from typing import ClassVar

from sklearn import linear_model
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from privsdk.auditing.attackers.attacker import Attacker


class LogisticRegression(Attacker):
    """A plane: finds a shift of the mean."""

    name = "logistic regression"
    settings: ClassVar[tuple[float, ...]] = (0.1, 0.001, 10.0)  # the inverse strength of the penalty

    def __init__(self, seed: int = 0, threads: int = 1, setting: int = 0) -> None:
        model = linear_model.LogisticRegression(C=self.settings[setting], max_iter=300)
        self._model = make_pipeline(StandardScaler(), model)
