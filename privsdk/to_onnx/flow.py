"""The default filter, as `privsdk.filters.flow` has it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import numpy as np
import spox.opset.ai.onnx.v18 as op

from privsdk.filters.flow import NEIGHBOURS, Floats, FlowFilter
from privsdk.to_onnx.arrays import Array, constant, joined, sqrt
from privsdk.to_onnx.code import CodeLayers
from privsdk.to_onnx.couplings import PublicFlowLayers
from privsdk.to_onnx.draws import NORMAL, UNIFORM, Draw
from privsdk.to_onnx.fair_score import fair
from privsdk.to_onnx.scores import Scores, clipped


def draws(filter: FlowFilter) -> list[Draw]:
    """The random numbers that a release needs."""
    size, used = len(filter.flow.used), int(filter.flow.used.sum())
    found = [Draw("posterior", NORMAL, size), Draw("score", NORMAL, len(filter.code.affine))]
    if filter.rho < 1:
        found.append(Draw("code", NORMAL, used))
    if used < size:
        found.append(Draw("unused", NORMAL, size - used))
    return [*found, Draw("fair score", UNIFORM, len(filter.fair_score.tables)), Draw("draw", UNIFORM, 1)]


def perturbed(filter: FlowFilter, mean: Array, variance: Array, drawn: Mapping[str, Array]) -> Array:
    """z~ of posteriors [N, Z]."""
    flow, layers = PublicFlowLayers(filter.flow), CodeLayers(filter.code)
    scores = clipped(Scores(filter.scores).of(mean))
    sample = mean + sqrt(variance) * drawn["posterior"]
    code = layers.forward(flow.forward(sample), scores, drawn["score"])
    if filter.rho < 1:
        code = filter.rho * code + np.sqrt(1 - filter.rho**2) * drawn["code"]
    target = _targets(filter, scores, drawn)
    z = flow.inverse(layers.inverse(code, target), drawn.get("unused"))
    held = [own[0] for own in filter.code.columns if len(own) == 1]
    return Scores(filter.scores.only(held)).onto(z, target.columns(held)) if held else z


def _targets(filter: FlowFilter, scores: Array, drawn: Mapping[str, Array]) -> Array:
    """The scores that the release shall have, borrowed private ones first: [N, K]."""
    kept = fair(filter.fair_score, scores, 2 * drawn["fair score"] - 1)
    places = _nearest(filter.population[:, filter.private :], kept)
    count = len(filter.population)
    behind = (places.astype(np.float32) - drawn["draw"] * count + count) % count
    first = op.gather_elements(places.var, op.arg_min(behind.var, axis=1), axis=1)
    private = constant(filter.population[:, : filter.private])
    of_all = private.take(places).mean().without_axis(1)
    of_first = private.take(Array(first).without_axis(1))
    return joined([(1 - filter.a) * of_all + filter.a * of_first, kept])


def _nearest(known: Floats, wanted: Array) -> Array:
    """The 64 rows of ``known`` [M, V] nearest to each of ``wanted`` [N, V]: int64 [N, 64]."""
    apart = [wanted.column(number) - column for number, column in enumerate(known.T)]
    distance = reduce(Array.__add__, (part * part for part in apart))
    count = constant([min(NEIGHBOURS, len(known))], np.int64)
    _, chosen = op.top_k(distance.var, count.var, largest=0)
    return Array(chosen)
