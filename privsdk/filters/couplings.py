"""Normalizing flows of affine couplings, applied with NumPy.

A coupling turns its input by a fixed rotation, leaves the first half as it is and moves the second by a
scale and a shift that a small network reads off the first half (and off the context, where there is one):

    [a, b] = x R,    y = [a, b * exp(s(a, c)) + m(a, c)],    |s| < 2.5

(Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP", 2017).  The same flow is defined in torch,
where it is trained, in ``privsdk.fitting.flows``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.rows import slices, times

Floats = NDArray[np.float32]

LOG_SCALE_BOUND = 2.5
ROWS = 1024  # that are taken through a flow at a time


@dataclass(frozen=True)
class Couplings:
    """A chain of L couplings on D numbers, with C numbers of context (C may be 0).

    ``rotation`` is float32 [L, D, D]; the conditioner's two hidden layers have H units: ``weight_1``
    [L, D - D // 2 + C, H], ``weight_2`` [L, H, H], ``weight_3`` [L, H, 2 * (D // 2)] and their biases.
    """

    rotation: Floats
    weight_1: Floats
    bias_1: Floats
    weight_2: Floats
    bias_2: Floats
    weight_3: Floats
    bias_3: Floats

    def forward(self, x: Floats, context: Floats | None = None) -> Floats:
        """The codes of ``x``: float32 [N, D], context float32 [N, C], to float32 [N, D]."""
        return _some_at_a_time(self._forward, x, context)

    def inverse(self, code: Floats, context: Floats | None = None) -> Floats:
        """What :meth:`forward` makes ``code`` of: float32 [N, D]."""
        return _some_at_a_time(self._inverse, code, context)

    def arrays(self) -> dict[str, Floats]:
        """The weights by name, for :meth:`from_arrays`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Couplings:
        """The couplings whose weights are in ``arrays``; other names in it are passed over."""
        return cls(*(np.ascontiguousarray(arrays[field.name], np.float32) for field in fields(cls)))

    def _forward(self, x: Floats, context: Floats | None) -> Floats:
        kept = self._kept
        for layer, rotation in enumerate(self.rotation):
            x = times(x, rotation)
            log_scale, shift = self._conditioner(layer, x[:, :kept], context)
            x[:, kept:] = x[:, kept:] * np.exp(log_scale) + shift
        return x

    def _inverse(self, x: Floats, context: Floats | None) -> Floats:
        kept = self._kept
        for layer in range(len(self.rotation) - 1, -1, -1):
            log_scale, shift = self._conditioner(layer, x[:, :kept], context)
            moved = (x[:, kept:] - shift) * np.exp(-log_scale)
            x = times(np.concatenate([x[:, :kept], moved], axis=1), self.rotation[layer].T)
        return x

    @property
    def _kept(self) -> int:
        return self.rotation.shape[1] - self.rotation.shape[1] // 2

    def _conditioner(self, layer: int, a: Floats, context: Floats | None) -> tuple[Floats, Floats]:
        if context is not None:
            a = np.concatenate([a, context], axis=1)
        hidden = _hidden(a, self.weight_1[layer], self.bias_1[layer])
        hidden = _hidden(hidden, self.weight_2[layer], self.bias_2[layer])
        raw = times(hidden, self.weight_3[layer]) + self.bias_3[layer]
        moved = raw.shape[1] // 2
        return LOG_SCALE_BOUND * np.tanh(raw[:, :moved] / LOG_SCALE_BOUND), raw[:, moved:]


@dataclass(frozen=True)
class PublicFlow:
    """The public flow g: a latent to numbers that are nearly N(0, I), and back.

        g(z) = couplings((z - shift) whiten)

    It knows no labels.  ``used`` is bool [Z], the U latent dimensions that the encoder uses; ``shift``, float32 [U],
    is their mean and ``whiten`` [U, U] the inverse square root of their covariance, symmetric.
    """

    used: NDArray[np.bool_]
    shift: Floats
    whiten: Floats
    couplings: Couplings

    def forward(self, z: Floats) -> Floats:
        """g(z): float32 [N, Z] to float32 [N, U]."""
        centred: Floats = z[:, self.used] - self.shift
        return self.couplings.forward(times(centred, self.whiten))

    def inverse(self, code: Floats) -> Floats:
        """The z with g(z) = ``code``: float32 [N, U] to float32 [N, Z], zero where a dimension is unused."""
        z = np.zeros((len(code), len(self.used)), np.float32)
        z[:, self.used] = times(self.couplings.inverse(code), self._colour) + self.shift
        return z

    @cached_property
    def _colour(self) -> Floats:
        return np.linalg.inv(self.whiten.astype(np.float64)).astype(np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights by name, for :meth:`from_arrays`."""
        return {
            "used": self.used.astype(np.uint8),
            "shift": self.shift,
            "whiten": self.whiten,
            **self.couplings.arrays(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> PublicFlow:
        """The flow whose weights are in ``arrays``, as :meth:`arrays` gives them."""
        return cls(
            used=np.asarray(arrays["used"]).astype(bool),
            shift=np.asarray(arrays["shift"], np.float32),
            whiten=np.asarray(arrays["whiten"], np.float32),
            couplings=Couplings.from_arrays(arrays),
        )


def _hidden(rows: Floats, weight: Floats, bias: Floats) -> Floats:
    """x * sigmoid(x) of x = rows weight + bias, without overflow."""
    # In place: what is written to memory takes as long as what is computed.
    x = times(rows, weight)
    x += bias
    half = np.multiply(x, np.float32(0.5), out=x)
    hidden: Floats = np.tanh(half)
    hidden *= half
    hidden += half
    return hidden


def _some_at_a_time(apply: Callable[[Floats, Floats | None], Floats], x: Floats, context: Floats | None) -> Floats:
    """``apply`` to some rows after the others: what a layer makes of them stays in the cache."""
    parts = slices(len(x), ROWS)
    return np.concatenate([apply(x[rows], None if context is None else context[rows]) for rows in parts])
