"""Couplings and the public flow, as `privsdk.filters.couplings` has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from privsdk.filters.couplings import LOG_SCALE_BOUND, Couplings, PublicFlow
from privsdk.to_onnx.arrays import Array, constant, exp, joined, tanh


class CouplingLayers:
    """A chain of couplings of ``size`` numbers in a graph.

    ``layers`` are the weights of each, in the order in which :class:`Couplings` has them.
    """

    def __init__(self, size: int, layers: Sequence[Sequence[Array]]) -> None:
        self._kept = range(size - size // 2)
        self._moved = range(size - size // 2, size)
        self._layers = layers

    @classmethod
    def of(cls, couplings: Couplings) -> CouplingLayers:
        """With weights that stand in the graph."""
        layers = range(len(couplings.rotation))
        parts = couplings.arrays().values()
        return cls(couplings.rotation.shape[1], [[constant(part[layer]) for part in parts] for layer in layers])

    def forward(self, x: Array, context: Array | None = None) -> Array:
        """The codes of x [N, D], given [N, C]: [N, D]."""
        for rotation, *conditioner in self._layers:
            x = x @ rotation
            kept = x.columns(self._kept)
            log_scale, shift = self._conditioned(conditioner, kept, context)
            x = joined([kept, x.columns(self._moved) * exp(log_scale) + shift])
        return x

    def inverse(self, x: Array, context: Array | None = None) -> Array:
        """What :meth:`forward` makes x [N, D] of."""
        for rotation, *conditioner in reversed(self._layers):
            kept = x.columns(self._kept)
            log_scale, shift = self._conditioned(conditioner, kept, context)
            moved = (x.columns(self._moved) - shift) * exp(-log_scale)
            x = joined([kept, moved]) @ rotation.T
        return x

    def _conditioned(self, conditioner: Sequence[Array], kept: Array, context: Array | None) -> tuple[Array, Array]:
        weight_1, bias_1, weight_2, bias_2, weight_3, bias_3 = conditioner
        inputs = kept if context is None else joined([kept, context])
        hidden = silu(inputs @ weight_1 + bias_1)
        hidden = silu(hidden @ weight_2 + bias_2)
        raw = hidden @ weight_3 + bias_3
        moved = len(self._moved)
        log_scale = LOG_SCALE_BOUND * tanh(raw.columns(range(moved)) / LOG_SCALE_BOUND)
        return log_scale, raw.columns(range(moved, 2 * moved))


class PublicFlowLayers:
    """The public flow in a graph."""

    def __init__(self, flow: PublicFlow) -> None:
        self._used, self._unused = np.flatnonzero(flow.used).tolist(), np.flatnonzero(~flow.used).tolist()
        self._shift, self._whiten = flow.shift, flow.whiten
        self._couplings = CouplingLayers.of(flow.couplings)

    def forward(self, z: Array) -> Array:
        """g(z): [N, Z] to [N, U]."""
        return self._couplings.forward((z.columns(self._used) - self._shift) @ self._whiten)

    def inverse(self, code: Array, unused: Array | None) -> Array:
        """The z with g(z) = code [N, U], and ``unused`` [N, Z - U] in the dimensions that it has not: [N, Z]."""
        colour = np.linalg.inv(self._whiten.astype(np.float64)).astype(np.float32)
        used = self._couplings.inverse(code) @ colour + self._shift
        if unused is None:
            return used
        order = np.argsort([*self._used, *self._unused])
        return joined([used, unused]).columns(order.tolist())


def silu(x: Array) -> Array:
    """x * sigmoid(x)."""
    half = 0.5 * x
    return half + half * tanh(half)
