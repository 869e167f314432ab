"""Scores: what a latent says of each label, as calibrated log-odds, with its gradient, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.rows import times

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
        hidden = elu(times(x, self.hidden) + self.hidden_bias)
        return (times(x, skip) + times(hidden, out) + out_bias).astype(np.float32)

    def gradient(self, z: Floats) -> tuple[Floats, Floats]:
        """Scores and their gradients with respect to z: float32 [N, A] and float32 [N, A, Z]."""
        skip, out, out_bias = self._calibrated()
        x = (z - self.shift) * self.inverse_scale
        before = times(x, self.hidden) + self.hidden_bias
        after = elu(before)
        slope = np.where(before > 0, np.float32(1), after + 1)
        # One product of matrices with all attributes side by side; a small one for each row takes far longer.
        paths = out[:, :, None] * self.hidden.T[:, None, :]
        gradient = times(slope, paths.reshape(len(out), -1)).reshape(len(z), *paths.shape[1:]) + skip.T
        return times(x, skip) + times(after, out) + out_bias, gradient * self.inverse_scale

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

    def fits(self, size: int, attributes: int) -> bool:
        """Whether the shapes are those of a network for latents of ``size`` dimensions and so many attributes."""
        units = self.hidden_bias.size
        shapes = {
            "shift": (size,),
            "inverse_scale": (size,),
            "skip": (size, attributes),
            "hidden": (size, units),
            "hidden_bias": (units,),
            "out": (units, attributes),
            "out_bias": (attributes,),
            "temperature": (attributes,),
        }
        return all(getattr(self, name).shape == shape for name, shape in shapes.items())

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
    # NumPy has no vector instructions for expm1, and float32 can be 6e-8 wrong either way.
    below = np.minimum(x, 0, dtype=np.float32)
    np.exp(below, out=below)
    below -= 1
    below += np.maximum(x, 0)
    return below


def probabilities(scores: Floats) -> Floats:
    """How likely each class of one label is, float32 [N, C].

    ``scores`` are [N, 1] for a label that is true or not, whose classes are those two, and [N, C] for one of C classes,
    of which exactly one holds: the log-odds of each against the rest.
    """
    # In rows: how they lie in memory decides the order in which they are summed, and so the last bit.
    likely = (0.5 + 0.5 * np.tanh(0.5 * np.ascontiguousarray(scores))).astype(np.float32)
    if scores.shape[1] == 1:
        return np.concatenate([1 - likely, likely], axis=1)
    likely = np.maximum(likely, np.float32(1e-9))  # where every class is unlikely, none of them is impossible
    return likely / likely.sum(axis=1, keepdims=True)


def draw_classes(likely: NDArray[np.floating], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """The class that each number in [0, 1) of ``uniform`` [N] draws, int64 [N].

    ``likely`` [N, C] is how likely each class is, up to a factor of the row; one that cannot be is never drawn.
    """
    up_to = np.cumsum(likely, axis=1, dtype=np.float64)
    up_to /= up_to[:, -1:]
    return np.sum(up_to <= uniform[:, None], axis=1)


def clipped(scores: Floats) -> Floats:
    """Scores within +-12: beyond that a log-odds says no more."""
    return np.clip(scores, -SCORE_BOUND, SCORE_BOUND)
