"""What releases tell of every other label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from privsdk.auditing import metrics
from privsdk.auditing.attackers import Attacker, LogisticRegression, QuadraticDiscriminant
from privsdk.auditing.cases import NEVER_SAID, Samples
from privsdk.auditing.parallel import each
from privsdk.auditing.protocols import Released, cross_fitted
from privsdk.auditing.report import Attribute

Classes = NDArray[np.int64]

ATTACKERS: tuple[type[Attacker], ...] = (LogisticRegression, QuadraticDiscriminant)
LEAST = 20  # of each side, to be scored on


def attributes(
    train: Samples | None,
    test: Samples,
    before: Sequence[NDArray] | None,
    after: Sequence[NDArray],
    seed: int,
    processes: int,
) -> tuple[Attribute, ...]:
    """AUROC of each binary label before and after, by the stronger of a plane and a Gaussian of each class.

    ``before`` (None where there are no originals) and ``after`` are vectors of the train and the test samples; without
    ``train`` those of the test samples alone, and attackers are trained in five folds.  Labels that fewer than 20 have,
    or lack, are left out.
    """
    names = [name for name, values in test.labels.items() if set(np.unique(values)) <= {0, 1, NEVER_SAID}]
    names = [name for name in names if np.bincount(test.labels[name] + 1, minlength=3)[1:].min() >= LEAST]
    tasks = [
        (name, None if train is None else train.labels[name], test.labels[name], test.people, before, after, seed)
        for name in names
    ]
    found = dict(each(_attribute, tasks, processes))
    return tuple(found[number] for number in sorted(found) if found[number] is not None)


def _attribute(
    name: str,
    learned: Classes | None,
    truth: Classes,
    people: Classes,
    before: Sequence[NDArray] | None,
    after: Sequence[NDArray],
    seed: int,
) -> Attribute | None:
    said = truth != NEVER_SAID
    if learned is not None and len(np.unique(learned)) < 2:
        return None

    def strongest(vectors: Sequence[NDArray]) -> float:
        told: list[float] = []
        for attacker in ATTACKERS:
            if learned is None:
                one = cross_fitted(attacker, Released(vectors[-1][said], truth[said], people[said]), seed)
                told.append(float(metrics.leakage(one.labels, one.scores, strata=one.strata)))
            else:
                score = attacker(seed).fit(vectors[0], learned).score
                told.append(float(metrics.leakage(truth[said], score(vectors[-1][said]))))
        return max(told)

    return Attribute(name, None if before is None else strongest(before), strongest(after))
