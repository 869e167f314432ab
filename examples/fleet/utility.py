"""What a server can still learn of what devices keep: classifiers that are trained on the pool, by true labels.

They learn from everybody's releases, those included whose devices hide the label.  Beside them stand the same ones,
trained and scored on photos that nobody filtered.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from examples.fleet.audit import of
from examples.fleet.pool import Pool
from privsdk.auditing.attackers import LogisticRegression
from privsdk.auditing.metrics import Estimate
from privsdk.auditing.protocols import FOLDS, cross_fitted

CLASSIFIER = LogisticRegression


class Right:
    """Which kept labels are told: bool [M] of ``released`` and ``unfiltered`` samples, and by guesses of the ``usual``.

    ``device`` int64 [M] says whose each is.
    """

    def __init__(self, pool: Pool, seed: int) -> None:
        everyone = np.ones(len(pool.device), bool)
        released: list[NDArray[np.bool_]] = []
        unfiltered: list[NDArray[np.bool_]] = []
        usual: list[NDArray[np.bool_]] = []
        device: list[NDArray[np.int64]] = []
        for label in pool.attributes:
            kept = pool.keeps(label)
            if not kept.any() or not pool.told_apart(label, everyone, FOLDS):
                continue
            for z, right in ((pool.released, released), (pool.unfiltered, unfiltered)):
                attack = cross_fitted(CLASSIFIER, of(pool, z, label), seed)
                right.append((attack.guesses == attack.labels)[kept])
            classes = pool.classes(label)
            usual.append(classes[kept] == (classes.mean() >= 0.5))
            device.append(pool.device[kept])
        self.released, self.unfiltered, self.usual = map(np.concatenate, (released, unfiltered, usual))
        self.device = np.concatenate(device)

    def accuracy(self, right: NDArray[np.bool_], within: NDArray[np.bool_], weights: NDArray) -> Estimate:
        """Of the devices ``within``, bool [D]; ``weights`` float64 [draws, D] resample them."""
        own = within[self.device]
        of_rows = weights[:, self.device[own]]
        return Estimate(float(right[own].mean()), of_rows @ right[own] / of_rows.sum(axis=1))
