"""The code, as `privsdk.filters.code` has it."""

from __future__ import annotations

import numpy as np

from privsdk.filters.code import CONTEXT_SCALE, CodeFlow, ConditionalAffine
from privsdk.to_onnx.arrays import Array, constant, joined, minimum, solved
from privsdk.to_onnx.couplings import CouplingLayers
from privsdk.to_onnx.scores import clipped, probabilities, rises, weights


class CodeLayers:
    """f in a graph."""

    def __init__(self, code: CodeFlow) -> None:
        self._affine = [AffineLayer(affine) for affine in code.affine]
        self._columns = code.columns
        self._couplings = None if code.couplings is None else CouplingLayers.of(code.couplings)

    def forward(self, x: Array, scores: Array, fresh: Array) -> Array:
        """The code of x [N, U], given scores [N, K] and a normal number for each label [N, L]."""
        for number, affine in enumerate(self._affine):
            x = affine.forward(x, scores, fresh.column(number))
        return x if self._couplings is None else self._couplings.forward(x, self._context(scores))

    def inverse(self, code: Array, scores: Array) -> Array:
        """An x with this code [N, U] and, nearly, these scores [N, K]."""
        x = code if self._couplings is None else self._couplings.inverse(code, self._context(scores))
        for affine in reversed(self._affine):
            x = affine.inverse(x, scores)
        return x

    def _context(self, scores: Array) -> Array:
        parts = [(scores.columns(own), len(own)) for own in self._columns]
        return joined(
            [clipped(own) / CONTEXT_SCALE if count == 1 else probabilities(own, count) for own, count in parts]
        )


class AffineLayer:
    """A conditional affine map in a graph."""

    def __init__(self, affine: ConditionalAffine) -> None:
        self._basis = affine.basis
        self._size = affine.mean.shape[1]
        self._mean, self._along, self._whiten = (
            constant(part) for part in (affine.mean, affine.along[:, None], affine.whiten)
        )
        self._between = affine.between_knots if len(affine.basis.knots) else None

    def forward(self, x: Array, scores: Array, fresh: Array) -> Array:
        """x [N, U], scores [N, K] and a normal number of each row [N, 1] to [N, U]."""
        about = weights(self._basis, scores)
        code = _mixed(about, (x - about @ self._mean) @ self._whiten)
        return code + (fresh - code @ self._along) @ self._along.T

    def inverse(self, code: Array, scores: Array) -> Array:
        """An x with this code [N, U] and these scores [N, K]."""
        about = weights(self._basis, scores)
        return about @ self._mean + self._unwhitened(code, about, scores)

    def _unwhitened(self, code: Array, about: Array, scores: Array) -> Array:
        size = self._size
        if self._between is None:
            maps = (about @ self._whiten.reshape(-1, size * size)).reshape(-1, size, size)
            return solved(maps, code.with_axis(2), size).without_axis(2)
        into, stretch = self._between
        # Between which knots the score lies: behind all whose rise is complete.
        rising = rises(self._basis, scores)
        last = len(self._basis.knots) - 2
        interval = minimum((rising >= 1).astype(np.int64).sum(), last)
        here = interval.equals(np.arange(last + 1)).astype(np.float32)
        shared = constant(into)
        stretched = (code @ shared.mT) / (1 + rising.T.with_axis(2) * stretch[:, None])
        return _mixed(here, stretched @ shared)


def _mixed(about: Array, candidates: Array) -> Array:
    """The sum over q of ``about`` [N, Q] times ``candidates`` [Q, N, U]: [N, U]."""
    return (about.T.with_axis(2) * candidates).sum(0).without_axis(0)
