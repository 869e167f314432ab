"""What every attacker is: a classifier trained afresh on releases to find a label."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning

SUBSAMPLE = 6000  # for the attackers whose time grows with the square of the number of samples


class Attacker:
    """What all attackers share; a subclass names itself and sets ``_model``.

    It is made as ``Attacker(seed, threads, setting)`` and has ``fit(x, y)`` (releases ``[N, ...]`` and classes ``[N]``,
    0 to C - 1, each of them present; returns itself) and ``score(x)``: of two classes float64 ``[N]``, above 0 the
    attacker says 1; of more float64 ``[N, C]``, the attacker says the class with the largest.

    ``limit`` is the largest number of releases it is trained on (``None``: all of them); the protocols draw that many.
    ``settings`` are what may be chosen for it on a validation part, the one it has without any choice first; it is
    made with the number of one.
    """

    name: ClassVar[str]
    limit: ClassVar[int | None] = None
    settings: ClassVar[tuple[Any, ...]] = (None,)
    _model: ClassifierMixin

    def __init__(self, seed: int = 0, threads: int = 1, setting: int = 0) -> None:
        raise NotImplementedError

    def fit(self, x: NDArray, y: NDArray) -> Self:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of passes is fixed on purpose
            self._model.fit(x, y)
        return self

    def score(self, x: NDArray) -> NDArray[np.float64]:
        """Log-odds of the label, or of each class; or what the model has in their place."""
        if hasattr(self._model, "decision_function"):
            return self._model.decision_function(x).astype(np.float64)
        return log_odds(self._model.predict_proba(x))


def log_odds(probability: NDArray) -> NDArray[np.float64]:
    """Of the probabilities of C classes, ``[N, C]``: float64 ``[N]`` of two, ``[N, C]`` of more."""
    probability = np.clip(probability.astype(np.float64), 1e-9, 1 - 1e-9)
    odds = np.log(probability) - np.log1p(-probability)
    return odds[:, 1] if odds.shape[1] == 2 else odds
