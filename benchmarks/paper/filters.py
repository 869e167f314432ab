"""The filters that stand beside each other: as published, the paper's Gaussian mechanism, and the default."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from benchmarks.frontier.contenders import flow
from benchmarks.frontier.tasks import TASKS
from benchmarks.paper.place import Space
from privsdk.filters import Filter
from privsdk.filters.linear import LinearFilter
from privsdk.fitting.data import FitData
from privsdk.fitting.minmax import fit_minmax

WEIGHT = 3.0  # lambda, what the adversary's loss counts against the utility label's, where nothing else is said


QUICK_STEPS = 300


def published(data: FitData, budget: float, seed: int, weight: float = WEIGHT, quick: bool = False) -> Filter:
    """The linear filter (23), trained by (2)-(5) as published, within ``budget`` and with lambda = ``weight``.

    The budget bounds E ||z~ - z||^2, as the paper's own implementation has it (6.2.1): twice its KL divergence (10),
    were the latents' covariance the identity.
    """
    steps = QUICK_STEPS if quick else None
    return fit_minmax(data, "linear", True, budget, scheme="paper", seed=seed, adversary_weight=weight, steps=steps)


def gaussian(data: FitData, budget: float) -> Filter:
    """z~ = z + sigma eps, (12), with the sigma that spends the whole ``budget`` of E ||z~ - z||^2.

    Training sigma (end of 6.3) gives nothing else: less noise hides less, and the budget is all that bounds it.
    """
    sigma = np.sqrt(budget / data.used.sum())
    noise = (sigma * np.diag(data.used)).astype(np.float32)
    no_shift = np.zeros((data.private_classes, len(data.used)), np.float32)
    return LinearFilter(noise, no_shift, data.used, "l2", budget, budget)


@cache  # several experiments release through the same one
def default(space: Space, task: str, seed: int) -> Filter:
    """The default filter as it is set for one of `benchmarks.frontier`'s tasks."""
    asked = replace(TASKS[task], own=0) if space.quick else TASKS[task]
    return flow("flow")(space.domain, asked, seed)
