"""Whether federated averaging helped, and what its updates told beside the releases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from examples.fleet.audit import Leakage, majority, strongest, told_of_devices
from examples.fleet.averaging import AVERAGED, UPDATES, Floats, descended, first_half
from examples.fleet.pool import Pool
from privsdk.auditing.metrics import Estimate
from privsdk.auditing.protocols import FOLDS

PENALTY = 0.1  # the inverse of it, of shared classifiers


def shared(pool: Pool, x: Floats) -> Floats:
    """The server's own classifiers: float64 [A, Z + 1] of inputs ``x`` [N, Z + 1]; of labels too rare zeros."""
    learned = learns(pool)
    weights = np.zeros((len(pool.attributes), x.shape[1]))
    for number, label in enumerate(pool.attributes):
        if pool.told_apart(label, learned, FOLDS):
            model = LogisticRegression(C=PENALTY, max_iter=300, fit_intercept=False)
            weights[number] = model.fit(x[learned], pool.classes(label)[learned]).coef_[0]
    return weights


def learns(pool: Pool) -> NDArray[np.bool_]:
    """The releases in the first halves: bool [N]."""
    halves = np.zeros(len(pool.device), bool)
    for device in range(len(pool.owned)):
        rows = np.flatnonzero(pool.device == device)
        halves[rows[first_half(len(rows))]] = True
    return halves


def accuracies(
    pool: Pool, x: Floats, before: Floats, server: Path, within: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[Estimate, Estimate, Estimate]:
    """Of kept labels in the second halves: by the shared classifiers, by the averaged ones, by each device's own."""
    after, learned = np.load(server / AVERAGED), learns(pool)
    right: list[NDArray[np.bool_]] = []
    devices = []
    for device in np.unique(pool.device[within]):
        kept = [pool.attributes.index(label) for label in pool.owned[device].wish.utility]
        own = pool.device == device
        labels = pool.labels[:, kept]
        personal = descended(after[kept], x[own & learned], labels[own & learned])
        rows = own & ~learned
        truth = labels[rows] == 1
        right.append(
            np.stack([(x[rows] @ of.T > 0) == truth for of in (before[kept], after[kept], personal)]).reshape(3, -1)
        )
        devices += [device] * right[-1].shape[1]
    draws = weights[:, devices]
    of_three = np.concatenate(right, axis=1)
    shares = [Estimate(float(one.mean()), draws @ one / draws.sum(axis=1)) for one in of_three]
    return shares[0], shares[1], shares[2]


def leakage(pool: Pool, x: Floats, server: Path, within: NDArray[np.bool_], seed: int) -> dict[str, Leakage]:
    """How well a device's hidden label is told by its mean release, by its first update, and by both together.

    By a logistic regression that learned from other devices, whatever they hide.
    """
    with np.load(server / UPDATES) as arrays:
        updates = {name: arrays[name] for name in arrays.files}
    means = np.stack([x[pool.device == device, :-1].mean(axis=0) for device in range(len(pool.owned))])
    none = np.zeros(x.shape[1])  # of a device that was off by then
    changes = np.stack([updates.get(one.name, none) for one in pool.owned])
    seen = {"releases": means, "updates": changes, "both": np.concatenate([means, changes], axis=1)}
    inside = np.bincount(pool.device, within, len(pool.owned)) > 0
    return {name: strongest({name: _told(pool, features, inside, seed)}) for name, features in seen.items()}


def _told(pool: Pool, features: Floats, inside: NDArray[np.bool_], seed: int) -> tuple[float, NDArray[np.float64]]:
    rows = []
    for number, label in enumerate(pool.attributes):
        truth = majority(pool.classes(label), pool.device, len(pool.owned))
        hiding = np.array([label in one.wish.private for one in pool.owned]) & inside
        if not hiding.any() or np.bincount(truth, minlength=2).min() < FOLDS:
            continue
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        for learned, sought in folds.split(features, truth):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=300))
            model.fit(features[learned], truth[learned])
            scored = sought[hiding[sought]]
            if len(scored):
                scores = model.decision_function(features[scored])
                rows += [(truth[device], score, number, device) for device, score in zip(scored, scores, strict=True)]
    return told_of_devices(len(pool.owned), *(np.array(column) for column in zip(*rows, strict=True)))
