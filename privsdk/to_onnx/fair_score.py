"""The fair utility score, as `privsdk.filters.fair_score` has it."""

from __future__ import annotations

import numpy as np

from privsdk.filters.fair_score import BLUR, LEAST_NEEDED, LEAST_WEIGHT, FairScore, FairTable
from privsdk.to_onnx.arrays import Array, absolute, clip, constant, interpolated, joined, log, ranked, where
from privsdk.to_onnx.scores import beliefs, cells, crossed


def fair(score: FairScore, scores: Array, blur: Array) -> Array:
    """t for scores [N, P + V] and numbers in -1..1 [N, V]: float32 [N, V]."""
    believed = beliefs(scores, score.private)
    first = sum(len(own) for own in score.private)
    found = [scores.column(first + number) for number in range(len(score.tables))]
    for number, table in enumerate(score.tables):
        previous = cells(table.previous, joined(found))
        found[number] = _moved(table, found[number], previous, believed, blur.column(number))
    return joined(found)


def _moved(table: FairTable, values: Array, previous: Array, believed: Array, blur: Array) -> Array:
    """t for utility scores [N, 1] of people in cells [N, R], of classes [N, C]."""
    likely = ((previous @ table.needed) * believed).astype(np.float64).sum()
    likely = clip(likely, LEAST_NEEDED, 1 - LEAST_NEEDED)
    left = values.astype(np.float64) - log(likely / (1 - likely))
    weights = crossed(previous, believed)
    counted = where(weights > LEAST_WEIGHT, weights, constant(0)).astype(np.float64)
    sides = []
    for levels, balances, everyone in zip(table.levels, table.balance, table.everyone, strict=True):
        rank = ranked(left, levels)
        for balance in balances:
            rank = clip((counted * interpolated(balance.reshape(-1, balance.shape[-1]), rank)).sum(), 0, 1)
        rank = absolute(rank + BLUR * blur.astype(np.float64))
        rank = clip(where(rank > 1, 2 - rank, rank), 0, 1)
        sides.append((previous.astype(np.float64) * interpolated(everyone, rank)).sum())
    below, above = sides
    return where(left > 0, above, below).astype(np.float32)
