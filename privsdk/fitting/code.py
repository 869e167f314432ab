"""The couplings of the code's conditional flow f, trained in torch behind the affine map."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from privsdk.filters.couplings import Couplings
from privsdk.fitting.flows import CouplingFlow, FlowTraining, Schedule
from privsdk.progress import Progress

Floats = NDArray[np.float32]

# More of them learn the public latents by heart, and leak more of people; many classes lie in shapes of their own,
# which few do not undo.
COUPLINGS, WIDTH, STEPS = 2, 32, 400
FOR_CLASSES = 6, 64, 1500
BATCH = 512
SCORE_NOISE = 0.05


def train_couplings(residual: Floats, context: Floats, classes: bool, seed: int, report: Progress) -> Couplings:
    """Couplings that make normal what the affine maps have left, float32 [N, U], given a ``context`` [N, C].

    ``classes`` says whether there is a label of many classes.
    """
    couplings, width, steps = FOR_CLASSES if classes else (COUPLINGS, WIDTH, STEPS)
    standard, about = torch.from_numpy(residual), torch.from_numpy(context)
    flow = CouplingFlow(residual.shape[1], couplings, width, context.shape[1], seed)
    training = FlowTraining(flow, Schedule(steps, average=0.99))
    generator = torch.Generator().manual_seed(seed)
    while training.step < steps:
        rows = torch.randint(0, len(standard), (BATCH,), generator=generator)
        shaken = about[rows] + SCORE_NOISE * torch.randn(BATCH, about.shape[1], generator=generator)
        training.take(standard[rows], shaken)
        report("flow", training.step, steps)
    return training.averaged.to_numpy()
