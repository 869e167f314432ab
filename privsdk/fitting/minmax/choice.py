"""The choice among moments and starts of a fit, by attackers that were not in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from privsdk.filters import Filter
from privsdk.fitting.check import judge, standardised
from privsdk.fitting.data import FitData
from privsdk.fitting.engines.by_torch import TorchEngine

Floats = NDArray[np.float32]

SHRINKAGE = 0.05


def told(fitted: Filter, data: FitData, seed: int) -> tuple[float, float]:
    """What attackers trained afresh on releases of ``data`` tell of the private label, and of the utility labels.

    Both as AUROC, each half judged by who was trained on the other: the strongest attacker's on the most exposed
    private class, and the mean of logistic regression's over the utility labels.
    """
    seeds = np.random.default_rng([seed, 1]).integers(0, 2**63, len(data), dtype=np.uint64)
    released = fitted.perturb(data.mean, data.variance, seeds, data.private if fitted.label_aware else None)
    fresh = TorchEngine().attackers(seed)
    logistic = fresh["logistic"]
    attackers = (logistic, fresh["mlp standardised"], gaussians)
    leaked = [judge(attacker, released, data.private, data.private_classes).leakage for attacker in attackers]
    kept = [judge(logistic, released, labels).leakage for labels in data.utility.T]
    return max(leaked), float(np.mean(kept))


def gaussians(z: Floats, labels: NDArray[np.int64], classes: int, judged: Floats) -> Floats:
    """A Gaussian for each class (quadratic discriminant): reads means, spreads and correlations."""
    z, judged = standardised(z, judged)
    said = np.full((len(judged), classes), np.finfo(np.float32).min / 4, np.float32)
    for one in range(classes):
        mine = z[labels == one]
        if len(mine) < 2:
            continue
        covariance = (1 - SHRINKAGE) * np.cov(mine.T) + SHRINKAGE * np.eye(z.shape[1])
        away = judged - mine.mean(axis=0)
        distance = np.sum(away @ np.linalg.inv(covariance) * away, axis=1)
        said[:, one] = np.log(len(mine)) - (distance + np.linalg.slogdet(covariance)[1]) / 2
    return said
