"""Scores: what a latent says of each label, as calibrated log-odds, with its gradient, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SCORE_BOUND = 12.0


@dataclass(frozen=True)
class ScoreNetwork:
    """A linear map plus one hidden layer of ELUs, for all A attributes at once.

        s(z) = (x S + ELU(x H + h) O + o) / T,    x = (z - shift) / scale

    ``shift`` and ``inverse_scale`` are float32 [Z] (zero where the encoder leaves a dimension unused),
    ``skip`` S [Z, A], ``hidden`` H [Z, U], ``out`` O [U, A]; ``temperature`` T [A] calibrates each attribute
    on its own.  Trained in ``privsdk.fitting.classifiers``.
    """

    shift: Floats
    inverse_scale: Floats
    skip: Floats
    hidden: Floats
    hidden_bias: Floats
    out: Floats
    out_bias: Floats
    temperature: Floats

    def scores(self, z: Floats) -> Floats:
        """The log-odds of the attributes: float32 [N, Z] to float32 [N, A]."""
        skip, out, out_bias = self._calibrated()
        x = (z - self.shift) * self.inverse_scale
        return (x @ skip + elu(x @ self.hidden + self.hidden_bias) @ out + out_bias).astype(np.float32)

    def gradient(self, z: Floats) -> tuple[Floats, Floats]:
        """Scores and their gradients with respect to z: float32 [N, A] and float32 [N, A, Z]."""
        skip, out, out_bias = self._calibrated()
        x = (z - self.shift) * self.inverse_scale
        before = x @ self.hidden + self.hidden_bias
        after = elu(before)
        slope = np.where(before > 0, np.float32(1), after + 1)
        gradient = (slope[:, None, :] * out.T) @ self.hidden.T + skip.T
        return x @ skip + after @ out + out_bias, gradient * self.inverse_scale

    def only(self, columns: Sequence[int]) -> ScoreNetwork:
        """The network of the attributes in ``columns`` alone."""
        chosen = list(columns)
        return ScoreNetwork(
            self.shift,
            self.inverse_scale,
            self.skip[:, chosen],
            self.hidden,
            self.hidden_bias,
            self.out[:, chosen],
            self.out_bias[chosen],
            self.temperature[chosen],
        )

    def arrays(self) -> dict[str, Floats]:
        """The weights by name, for :meth:`from_arrays`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats]) -> ScoreNetwork:
        """The network whose weights are in ``arrays``; other names in it are passed over."""
        return cls(*(np.ascontiguousarray(arrays[field.name], np.float32) for field in fields(cls)))

    def _calibrated(self) -> tuple[Floats, Floats, Floats]:
        return self.skip / self.temperature, self.out / self.temperature, self.out_bias / self.temperature


def elu(x: NDArray[np.floating[Any]]) -> Floats:
    """x above zero, exp(x) - 1 below."""
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0))).astype(np.float32)


def clipped(scores: Floats) -> Floats:
    """Scores within +-12: beyond that a log-odds says no more."""
    return np.clip(scores, -SCORE_BOUND, SCORE_BOUND)
