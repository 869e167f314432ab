"""What the parts of a graph are written in: arrays whose values are known when the graph runs.

ONNX's operators under the names and signs that NumPy has for them, so that a part of a graph can be read beside the
filter that it repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import spox.opset.ai.onnx.v18 as op
from numpy.typing import DTypeLike, NDArray
from spox import Var

Weights: TypeAlias = NDArray[Any]


class Array:
    """An array in a graph.  What stands beside it in a sum or a product is another of its dtype, or numbers."""

    __array_ufunc__ = None  # NumPy leaves a sum with an Array on its right to the Array

    def __init__(self, var: Var) -> None:
        self.var = var

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.var.unwrap_tensor().dtype)

    def __add__(self, other: Other) -> Array:
        return Array(op.add(self.var, self._beside(other)))

    def __radd__(self, other: Other) -> Array:
        return Array(op.add(self._beside(other), self.var))

    def __sub__(self, other: Other) -> Array:
        return Array(op.sub(self.var, self._beside(other)))

    def __rsub__(self, other: Other) -> Array:
        return Array(op.sub(self._beside(other), self.var))

    def __mul__(self, other: Other) -> Array:
        return Array(op.mul(self.var, self._beside(other)))

    def __rmul__(self, other: Other) -> Array:
        return Array(op.mul(self._beside(other), self.var))

    def __truediv__(self, other: Other) -> Array:
        return Array(op.div(self.var, self._beside(other)))

    def __rtruediv__(self, other: Other) -> Array:
        return Array(op.div(self._beside(other), self.var))

    def __mod__(self, other: Other) -> Array:
        """What is left of a number that is not negative."""
        return Array(op.mod(self.var, self._beside(other), fmod=1))

    def __matmul__(self, other: Other) -> Array:
        return Array(op.matmul(self.var, self._beside(other)))

    def __neg__(self) -> Array:
        return Array(op.neg(self.var))

    def __gt__(self, other: Other) -> Array:
        return Array(op.greater(self.var, self._beside(other)))

    def __ge__(self, other: Other) -> Array:
        return Array(op.greater_or_equal(self.var, self._beside(other)))

    def __or__(self, other: Array) -> Array:
        return Array(op.or_(self.var, other.var))

    def __invert__(self) -> Array:
        return Array(op.not_(self.var))

    @property
    def T(self) -> Array:
        """All axes the other way round."""
        return Array(op.transpose(self.var))

    @property
    def mT(self) -> Array:
        """Matrices [N, D, M] to [N, M, D]."""
        return Array(op.transpose(self.var, perm=[0, 2, 1]))

    def equals(self, other: Other) -> Array:
        """Where two are the same: bool."""
        return Array(op.equal(self.var, self._beside(other)))

    def astype(self, dtype: DTypeLike) -> Array:
        return Array(op.cast(self.var, to=np.dtype(dtype)))

    def reshape(self, *shape: int) -> Array:
        """With -1 for the one length that follows from the others."""
        return Array(op.reshape(self.var, _whole(shape)))

    def columns(self, chosen: Sequence[int]) -> Array:
        """Some of the columns of [N, D], in this order."""
        return self.take(constant(chosen, np.int64), axis=1)

    def column(self, number: int) -> Array:
        """One column of [N, D], as [N, 1]."""
        return self.columns([number])

    def take(self, places: Array, axis: int = 0) -> Array:
        """What stands at int64 ``places`` of an axis."""
        return Array(op.gather(self.var, places.var, axis=axis))

    def with_axis(self, axis: int) -> Array:
        """An axis of length 1 more."""
        return Array(op.unsqueeze(self.var, _whole([axis])))

    def without_axis(self, axis: int) -> Array:
        """Without an axis of length 1."""
        return Array(op.squeeze(self.var, _whole([axis])))

    def sum(self, axis: int = 1) -> Array:
        """Along an axis, which stays, with length 1; so in all that follow."""
        return Array(op.reduce_sum(self.var, _whole([axis])))

    def mean(self, axis: int = 1) -> Array:
        return Array(op.reduce_mean(self.var, _whole([axis])))

    def max(self, axis: int = 1) -> Array:
        return Array(op.reduce_max(self.var, _whole([axis])))

    def any(self, axis: int = 1) -> Array:
        return self.astype(np.int32).max(axis).astype(np.bool_)

    def _beside(self, other: Other) -> Var:
        return other.var if isinstance(other, Array) else constant(other, self.dtype).var


Other: TypeAlias = Array | Weights | float


def constant(values: Any, dtype: DTypeLike = np.float32) -> Array:
    """An array that stands in the graph."""
    return Array(op.const(np.asarray(values, dtype)))


def joined(parts: Sequence[Array], axis: int = 1) -> Array:
    """Columns beside each other: [N, D1 + D2 + ...]."""
    return Array(op.concat([part.var for part in parts], axis=axis)) if len(parts) > 1 else parts[0]


def where(condition: Array, then: Other, otherwise: Array) -> Array:
    beside = then if isinstance(then, Array) else constant(then, otherwise.dtype)
    return Array(op.where(condition.var, beside.var, otherwise.var))


def minimum(values: Array, most: Other) -> Array:
    beside = most if isinstance(most, Array) else constant(most, values.dtype)
    return Array(op.min([values.var, beside.var]))


def maximum(values: Array, least: Other) -> Array:
    beside = least if isinstance(least, Array) else constant(least, values.dtype)
    return Array(op.max([values.var, beside.var]))


def clip(values: Array, least: float, most: float) -> Array:
    dtype = values.dtype
    return Array(op.clip(values.var, constant(least, dtype).var, constant(most, dtype).var))


def exp(values: Array) -> Array:
    return Array(op.exp(values.var))


def log(values: Array) -> Array:
    return Array(op.log(values.var))


def sqrt(values: Array) -> Array:
    return Array(op.sqrt(values.var))


def tanh(values: Array) -> Array:
    return Array(op.tanh(values.var))


def absolute(values: Array) -> Array:
    return Array(op.abs(values.var))


def finite(values: Array) -> Array:
    return ~Array(op.or_(op.isnan(values.var), op.isinf(values.var)))


def interpolated(tables: Weights, rank: Array) -> Array:
    """``tables`` [B, Q] at ranks float64 [N, 1], from 0, their first value, to 1, their last: float64 [N, B]."""
    last = tables.shape[1] - 1
    position = rank * last
    below = minimum(Array(op.floor(position.var)), last - 1)
    row = below.astype(np.int64).reshape(-1)
    low = constant(tables.T[:-1], np.float64).take(row)
    rise = constant(np.diff(tables.T.astype(np.float64), axis=0), np.float64).take(row)
    return low + (position - below) * rise


def ranked(values: Array, levels: Weights) -> Array:
    """Where ``values`` float64 [N, 1] lie between ``levels`` [Q], which rise, from 0 to 1: float64 [N, 1].

    As ``numpy.interp(values, levels, numpy.linspace(0, 1, Q))``.
    """
    levels = levels.astype(np.float64)
    kept = clip(values, levels[0], levels[-1])
    below = minimum((kept >= levels).astype(np.int64).sum() - 1, len(levels) - 2)
    # Where levels coincide none lies between them, but for the last, which ends at 1.
    steps = np.diff(levels)
    slopes = np.divide(1 / len(steps), steps, out=np.zeros_like(steps), where=steps > 0)
    start, slope = (constant(part, np.float64).take(below) for part in (levels[:-1], slopes))
    inside = below.astype(np.float64) * (1 / len(steps)) + (kept - start) * slope
    return where(values >= levels[-1], 1, inside)


def solved(matrix: Array, right: Array, size: int) -> Array:
    """The x with ``matrix`` x = ``right``: [N, K, K] and [N, K, 1] to [N, K, 1], in their precision.

    ONNX has no operator for it.  By Gauss and Jordan, without exchanging rows: the matrices are symmetric and positive.
    """
    system = joined([matrix, right], axis=2)
    for number, unit in enumerate(np.eye(size)):
        at = constant([number], np.int64)
        row = system.take(at, axis=1)
        scaled = row / row.take(at, axis=2)
        system = system - (system.take(at, axis=2) - unit[:, None]) * scaled
    return system.take(constant([size], np.int64), axis=2)


def _whole(numbers: Sequence[int]) -> Var:
    return constant(numbers, np.int64).var
