"""Scores and what is made of them, as `privsdk.filters.scores`, `basis` and `newton` have it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import spox.opset.ai.onnx.v18 as op
from spox import Var

from privsdk.filters.basis import Basis
from privsdk.filters.newton import RIDGE, STEPS, STRIDE, TOLERANCE
from privsdk.filters.scores import SCORE_BOUND, ScoreNetwork
from privsdk.to_onnx.arrays import (
    Array,
    absolute,
    clip,
    constant,
    exp,
    joined,
    maximum,
    minimum,
    solved,
    sqrt,
    tanh,
    where,
)


class Scores:
    """A score network in a graph."""

    def __init__(self, network: ScoreNetwork) -> None:
        self._count = len(network.temperature)
        self._size, self._units = network.hidden.shape
        self._shift, self._inverse_scale = network.shift, network.inverse_scale
        self._hidden, self._hidden_bias = constant(network.hidden), network.hidden_bias
        self._skip = constant(network.skip / network.temperature)
        self._out = constant(network.out / network.temperature)
        self._out_bias = network.out_bias / network.temperature

    def of(self, z: Array) -> Array:
        """The log-odds of z [N, Z]: [N, A]."""
        x = (z - self._shift) * self._inverse_scale
        return self._of(x, elu(x @ self._hidden + self._hidden_bias))

    def with_gradient(self, z: Array) -> tuple[Array, Array]:
        """The log-odds of z [N, Z] and their gradients: [N, A] and [N, A, Z]."""
        x = (z - self._shift) * self._inverse_scale
        before = x @ self._hidden + self._hidden_bias
        after = elu(before)
        slope = where(before > 0, 1, after + 1)
        paths = (self._out.with_axis(2) * self._hidden.T.with_axis(1)).reshape(self._units, self._count * self._size)
        gradient = (slope @ paths).reshape(-1, self._count, self._size) + self._skip.T
        return self._of(x, after), gradient * self._inverse_scale

    def onto(self, z: Array, target: Array) -> Array:
        """``z`` [N, Z] moved by Newton steps until its scores are ``target`` [N, A]."""

        def step(_: Var, __: Var, moving: Var) -> list[Var]:
            z = Array(moving)
            scores, gradient = self.with_gradient(z)
            missing = target - scores
            is_open = absolute(missing).max() > TOLERANCE
            gradient = gradient.astype(np.float64)
            gram = gradient @ gradient.mT
            identity = np.eye(self._count)
            gram = gram + RIDGE * (gram * identity).sum(1).sum(2) * identity
            weights = solved(gram, missing.astype(np.float64).with_axis(2), self._count)
            way = (weights * gradient).sum(1).without_axis(1)
            length = sqrt((way * way).sum())
            way = way * minimum(STRIDE / maximum(length, 1e-12), 1)
            z = z + where(is_open, way.astype(np.float32), constant(0))
            return [is_open.any(0).reshape(1).var, z.var]

        known = z.reshape(-1, self._size)  # what a loop carries has a shape that is told
        (moved,) = op.loop(constant([STEPS], np.int64).var, constant([True], np.bool_).var, [known.var], body=step)
        return Array(moved)

    def _of(self, x: Array, hidden: Array) -> Array:
        return x @ self._skip + hidden @ self._out + self._out_bias


def elu(x: Array) -> Array:
    """x above zero, exp(x) - 1 below."""
    return where(x > 0, x, exp(minimum(x, 0)) - 1)


def clipped(scores: Array) -> Array:
    """Scores within +-12."""
    return clip(scores, -SCORE_BOUND, SCORE_BOUND)


def probabilities(scores: Array, count: int) -> Array:
    """How likely each class of one label is, of its scores [N, count]: [N, C]."""
    likely = 0.5 + 0.5 * tanh(0.5 * scores)
    if count == 1:
        return joined([1 - likely, likely])
    likely = maximum(likely, 1e-9)
    return likely / likely.sum()


def beliefs(scores: Array, private: Sequence[Sequence[int]]) -> Array:
    """How likely each combination of classes is: [N, C1 * C2 * ...]."""
    return reduce(crossed, (probabilities(scores.columns(own), len(own)) for own in private))


def weights(basis: Basis, scores: Array) -> Array:
    """The functions of a basis, of all scores [N, K]: [N, Q]."""
    if not len(basis.knots):
        return probabilities(scores.columns(basis.columns), len(basis.columns))
    rising = rises(basis, scores)
    edge = rising.column(0) * 0
    steps = joined([edge + 1, rising, edge])
    return steps.columns(range(len(basis.knots))) - steps.columns(range(1, len(basis.knots) + 1))


def rises(basis: Basis, scores: Array) -> Array:
    """How far a score has come from each knot to the next, 0 to 1: [N, Q - 1]."""
    knots = basis.knots
    position = clip(scores.column(basis.columns[0]), float(knots[0]), float(knots[-1]))
    return clip((position - knots[:-1]) / np.diff(knots), 0, 1)


def cells(bases: Sequence[Basis], scores: Array) -> Array:
    """The products of one function of each basis: [N, Q1 * Q2 * ...], [N, 1] of none."""
    return reduce(crossed, (weights(basis, scores) for basis in bases), scores.column(0) * 0 + 1)


def crossed(left: Array, right: Array) -> Array:
    """The products of each of ``left`` [N, R] with each of ``right`` [N, B]: [N, R * B]."""
    return Array(op.flatten((left.with_axis(2) * right.with_axis(1)).var))
