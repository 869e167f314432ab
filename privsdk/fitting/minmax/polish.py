"""A polish on top of a fitted filter: adversaries train away what its releases still tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from privsdk.filters import Filter
from privsdk.filters.chain import Polished
from privsdk.fitting.data import FitData
from privsdk.fitting.minmax.choice import told
from privsdk.fitting.minmax.fit import fit_minmax
from privsdk.progress import Progress

SHARE = 0.02  # of the mean squared distance between the latents of two samples
JUDGING = 0.25  # of the latents: they take no part in the fit of the residual
JUDGES = 3  # seeds of fresh attackers whose mean decides
LEAST_GAIN = 0.005  # of leakage
LARGEST_LOSS = 0.003  # of what is told of the utility labels, as AUROC


def polish(
    base: Filter, data: FitData, budget: float | None = None, seed: int = 0, on_progress: Progress | None = None
) -> Filter:
    """``base`` with a residual trained against adversaries on its releases of ``data``, or ``base`` as it is.

    ``budget`` bounds the residual's mean squared norm; by default 2% of the mean squared distance between two samples'
    latents.  The residual is kept where attackers trained afresh, with other seeds and on latents that took no part,
    find at least .005 less of the private label, and at most .003 less is told of the utility labels, both as AUROC.
    The same ``seed`` gives the same filter.

    :raises UnworkablePairError: as :func:`~privsdk.fitting.minmax.fit_minmax`.
    """
    fitting, judging = data.split((1 - JUDGING, JUDGING), seed)
    if budget is None:
        budget = SHARE * 2 * float(data.mean[:, data.used].var(axis=0).sum())
    seeds = np.random.default_rng([seed, 2]).integers(0, 2**63, len(fitting), dtype=np.uint64)
    z = base.perturb(fitting.mean, fitting.variance, seeds, fitting.private if base.label_aware else None)
    releases = replace(fitting, mean=z, variance=np.zeros_like(z))
    polished = Polished(base, fit_minmax(releases, budget=budget, seed=seed, on_progress=on_progress))

    judges = range(seed + 1, seed + 1 + JUDGES)
    leaked, kept = np.mean([told(base, judging, judge) for judge in judges], axis=0)
    leaked_then, kept_then = np.mean([told(polished, judging, judge) for judge in judges], axis=0)
    helps = leaked_then <= leaked - LEAST_GAIN and kept_then >= kept - LARGEST_LOSS
    return polished if helps else base
