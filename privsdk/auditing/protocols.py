"""How attackers are trained and scored: on released training people, and on released people nobody has seen.

Encoder, scores and flows were trained on the training partition, so its releases may be cleaner than those of
other people.  Hence two protocols, and the stronger attack counts: :func:`from_training_partition` and
:func:`cross_fitted`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from privsdk.auditing import metrics
from privsdk.auditing.attackers import ATTACKERS, Attacker
from privsdk.auditing.intervals import CROSS_FITTED, auroc_influence
from privsdk.auditing.metrics import Estimate

FOLDS = 5
TUNING = 2000  # releases that each setting of an attacker is tried on

TRAINING_PARTITION = "released training partition"
FIVE_FOLDS = "five folds of the released test partition"
BOTH = (TRAINING_PARTITION, FIVE_FOLDS)


@dataclass(frozen=True)
class Attack:
    """What one attacker found under one protocol, on the test partition.

    ``labels`` are ``[N]``, ``scores`` ``[N]`` of two classes and ``[N, C]`` of more; ``strata`` is the fold of each
    sample, since scores of different folds have no common scale; ``thresholds`` float64 ``[N]`` are those of the
    largest balanced accuracy on validation data, zero of more than two classes; ``samples`` is how many releases the
    attacker was trained on.
    """

    attacker: str
    protocol: str
    samples: int
    seconds: float
    labels: NDArray
    scores: NDArray[np.float64]
    strata: NDArray[np.int64]
    thresholds: NDArray[np.float64]

    @cached_property
    def leakage(self) -> float:
        """Of the class that is told best against the rest."""
        return max(self._told(side) for side in self.sides)

    def estimate(self, weights: NDArray) -> Estimate:
        """The leakage with its bootstrap; ``weights`` float64 ``[D, N]`` from :func:`metrics.resampled`."""
        told = max(self.sides, key=self._told)
        return Estimate(self.leakage, metrics.leakage(*told, weights, self.strata))

    @property
    def accuracy(self) -> float:
        return float((self.guesses == self.labels).mean())

    def accuracy_estimate(self, weights: NDArray) -> Estimate:
        """The accuracy with its bootstrap, as in :meth:`estimate`."""
        return Estimate(self.accuracy, weights @ (self.guesses == self.labels) / weights.sum(-1))

    @property
    def balanced_accuracy(self) -> float:
        """At the attacker's own threshold, as the paper has it."""
        right = self.guesses == self.labels
        return float(np.mean([right[self.labels == one].mean() for one in np.unique(self.labels)]))

    @property
    def best_balanced_accuracy(self) -> float:
        """At the threshold that was best on validation data; of more than two classes at the attacker's own."""
        if self.scores.ndim > 1:
            return self.balanced_accuracy
        return float(metrics.balanced_accuracy(self.labels, self.scores, threshold=self.thresholds))

    def influences(self) -> list[tuple[float, NDArray[np.float64]]]:
        """For each of ``sides`` the AUROC, and what each release adds to its error: float64 [N]."""
        found = [auroc_influence(labels, scores, self.strata) for labels, scores in self.sides]
        return [(area, self.unsteadiness * influence) for area, influence in found]

    @property
    def unsteadiness(self) -> float:
        """How many times as large errors are as those of an attacker that learned from other samples alone."""
        return CROSS_FITTED if self.protocol == FIVE_FOLDS else 1.0

    def _told(self, side: tuple[NDArray, NDArray[np.float64]]) -> float:
        labels, scores = side
        return float(metrics.leakage(labels, scores, strata=self.strata))

    @property
    def guesses(self) -> NDArray[np.int64]:
        """The class that the attacker says of each release: int64 [N]."""
        return self.scores.argmax(axis=1) if self.scores.ndim > 1 else (self.scores > 0).astype(np.int64)

    @property
    def sides(self) -> list[tuple[NDArray, NDArray[np.float64]]]:
        """Labels 0 or 1 and scores, once for each class against the rest; of two classes once."""
        return sides(self.labels, self.scores)

    def summary(self) -> dict[str, str | int | float]:
        """The figures, for a report."""
        return {
            "attacker": self.attacker,
            "protocol": self.protocol,
            "samples": self.samples,
            "leakage": round(self.leakage, 4),
            "accuracy": round(self.accuracy, 4),
            "balanced_accuracy": round(self.balanced_accuracy, 4),
            "best_balanced_accuracy": round(self.best_balanced_accuracy, 4),
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True)
class Released:
    """Releases of one partition: ``z`` in any form ``[N, ...]``, classes of a label and whose each is, both ``[N]``."""

    z: NDArray
    labels: NDArray
    identity: NDArray

    def __getitem__(self, rows: NDArray) -> Released:
        return Released(self.z[rows], self.labels[rows], self.identity[rows])

    def __len__(self) -> int:
        return len(self.labels)


def from_training_partition(
    attacker: type[Attacker],
    train: Released,
    valid: Released,
    test: Released,
    seed: int = 0,
    threads: int = 1,
    setting: int = 0,
) -> Attack:
    """Trained on the released training partition, scored on the test partition."""
    began = time.perf_counter()
    part = train[_drawn(len(train), attacker.limit, seed)]
    trained = attacker(seed, threads, setting).fit(part.z, part.labels)
    scores = trained.score(test.z)
    threshold = metrics.best_threshold(valid.labels, trained.score(valid.z)) if scores.ndim == 1 else 0.0
    return Attack(
        attacker.name,
        TRAINING_PARTITION,
        len(part),
        time.perf_counter() - began,
        test.labels,
        scores,
        np.zeros(len(test), np.int64),
        np.full(len(test), threshold),
    )


def cross_fitted(attacker: type[Attacker], test: Released, seed: int = 0, threads: int = 1, setting: int = 0) -> Attack:
    """Trained on four fifths of the test partition's people, scored on the last fifth, five times over.

    The threshold of a fold is the best one on the scores of the other folds.
    """
    began = time.perf_counter()
    fold = np.empty(len(test), np.int64)
    classes = len(np.unique(test.labels))
    scores = np.empty(len(test) if classes == 2 else (len(test), classes))
    samples = []
    splits = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for number, (inside, outside) in enumerate(splits.split(test.z, test.labels, test.identity)):
        part = test[inside[_drawn(len(inside), attacker.limit, seed)]]
        fold[outside] = number
        scores[outside] = attacker(seed, threads, setting).fit(part.z, part.labels).score(test.z[outside])
        samples.append(len(part))
    thresholds = np.zeros(len(test))
    for number in range(FOLDS if classes == 2 else 0):
        others = fold != number
        thresholds[~others] = metrics.best_threshold(test.labels[others], scores[others])
    return Attack(
        attacker.name,
        FIVE_FOLDS,
        int(np.mean(samples)),
        time.perf_counter() - began,
        test.labels,
        scores,
        fold,
        thresholds,
    )


def tuned(attacker: type[Attacker], train: Released, valid: Released, seed: int = 0) -> int:
    """The number of the setting with which the attacker, trained on a part of ``train``, tells most of ``valid``."""
    if len(attacker.settings) == 1:
        return 0
    part = train[_drawn(len(train), min(attacker.limit or TUNING, TUNING), seed)]
    told = [
        told_best(valid.labels, attacker(seed, 1, setting).fit(part.z, part.labels).score(valid.z))
        for setting in range(len(attacker.settings))
    ]
    return int(np.argmax(told))


def told_best(labels: NDArray, scores: NDArray[np.float64]) -> float:
    """The leakage of the class that ``scores`` (``[N]`` of two, ``[N, C]`` of more) tell best against the rest."""
    return max(float(metrics.leakage(*side)) for side in sides(labels, scores))


def sides(labels: NDArray, scores: NDArray[np.float64]) -> list[tuple[NDArray, NDArray[np.float64]]]:
    """Labels 0 or 1 and scores ``[N]``, once for each class against the rest; of two classes once."""
    if scores.ndim == 1:
        return [(labels, scores)]
    return [((labels == one).astype(np.int64), own) for one, own in enumerate(scores.T)]


def attack(
    train: Released,
    valid: Released,
    test: Released,
    attackers: Sequence[type[Attacker]] = ATTACKERS,
    seed: int = 0,
    threads: int = 1,
    protocols: Sequence[str] = BOTH,
) -> list[Attack]:
    """Every attacker under these protocols, the strongest first; ``threads`` of them at a time."""

    def run(task: tuple[type[Attacker], str]) -> Attack:
        attacker, protocol = task
        with threadpool_limits(1, user_api="openmp"):  # holds for the calling thread alone
            if protocol == TRAINING_PARTITION:
                return from_training_partition(attacker, train, valid, test, seed)
            return cross_fitted(attacker, test, seed)

    tasks = [(attacker, protocol) for protocol in protocols for attacker in attackers]
    with warnings.catch_warnings():
        # Attackers do so too, but what is ignored is the process's: of several at once one would end it for another.
        warnings.simplefilter("ignore", ConvergenceWarning)
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(run, tasks))
    return sorted(found, key=lambda one: one.leakage, reverse=True)


def _drawn(count: int, limit: int | None, seed: int) -> NDArray[np.int64]:
    """At most ``limit`` of ``count`` rows, without replacement."""
    if limit is None or count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))
