"""The code's conditional flow f: the closed-form affine map, then couplings trained in torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from privsdk.filters.code import CodeFlow, ConditionalAffine, context
from privsdk.fitting.flows import CouplingFlow, FlowTraining, Schedule

Floats = NDArray[np.float32]

COUPLINGS = 4
WIDTH = 64
STEPS = 800
BATCH = 512
SCORE_NOISE = 0.05


def train_code(
    affine: ConditionalAffine,
    x: Floats,
    scores: Floats,
    seed: int,
    on_step: Callable[[int, int], None],
) -> CodeFlow:
    """f for x = g(z), float32 [N, U], whose scores are [N, K], behind a fitted ``affine`` map."""
    residual = torch.from_numpy(affine.forward(x, scores))
    about = torch.from_numpy(context(scores))
    flow = CouplingFlow(x.shape[1], COUPLINGS, WIDTH, scores.shape[1], seed)
    training = FlowTraining(flow, Schedule(STEPS, average=0.99))
    generator = torch.Generator().manual_seed(seed)
    while training.step < STEPS:
        rows = torch.randint(0, len(residual), (BATCH,), generator=generator)
        shaken = about[rows] + SCORE_NOISE * torch.randn(BATCH, about.shape[1], generator=generator)
        training.take(residual[rows], shaken)
        on_step(training.step, STEPS)
    return CodeFlow(affine, training.averaged.to_numpy())
