"""What is measured of one filter on one task."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import Cell, alone
from benchmarks.domains import Domain
from benchmarks.frontier.contenders import CONTENDERS, FLOWS
from benchmarks.frontier.tasks import Task
from privsdk.auditing import metrics
from privsdk.auditing.attackers import (
    GaussianMixtures,
    HistGradientBoosting,
    LogisticRegression,
    StandardisedPerceptron,
)
from privsdk.auditing.metrics import Estimate
from privsdk.auditing.protocols import Attack, attack
from privsdk.errors import NotReachedError
from privsdk.filters import posterior
from privsdk.filters.chain import Polished
from privsdk.filters.flow import FlowFilter
from privsdk.filters.scores import clipped
from privsdk.fitting.barycentre import barycentre, transport

Floats = NDArray[np.float32]

UNFILTERED = "unfiltered"  # no contender: the posterior means as they are
ALBUM = 10  # photos of a person
READERS = (LogisticRegression, StandardisedPerceptron, HistGradientBoosting)


def measured(domain: Domain, task: Task, contender: str, seed: int) -> Cell:
    """Leakage, accuracies and distortion of one contender's releases, by attackers trained afresh."""

    def measure() -> Cell:
        try:
            z, fair, notes = released(domain, task, contender, seed)
        except NotReachedError as error:
            return Cell({}, {"refused": str(error)})
        figures: dict[str, Estimate] = {}
        for label, classes in domain.sought(task.private).items():
            attacks = attack(*domain.parts(z, classes), seed=seed, threads=domain.threads, protocols=domain.protocols)
            strongest, most_accurate = attacks[0], max(attacks, key=lambda one: one.accuracy)
            figures[f"leakage {label}"] = strongest.estimate(domain.weights)
            figures[f"accuracy {label}"] = most_accurate.accuracy_estimate(domain.weights)
            figures[f"balanced accuracy {label}"] = alone(max(one.balanced_accuracy for one in attacks))
            unseen = attack(*domain.parts(z, classes), (GaussianMixtures,), seed, domain.threads, domain.protocols)
            figures[f"unseen family {label}"] = unseen[0].estimate(domain.weights)
            notes[f"attacks {label}"] = [one.summary() for one in attacks]
            if domain.name == "faces" and label in task.private:
                figures[f"albums {label}"] = alone(
                    max(album(one, domain.data.identity[domain.test]) for one in attacks)
                )
            if contender == UNFILTERED and label in task.private:
                # Whatever a fresh attacker reads of the latent beyond the score: how far that is from sufficient.
                of_score = domain.scores([label])
                scored = attack(*domain.parts(of_score, classes), READERS, seed, domain.threads, domain.protocols)
                figures[f"the score alone tells {label}"] = scored[0].estimate(domain.weights)
            if fair is not None:
                told = attack(
                    *domain.parts(fair, classes), seed=seed, threads=domain.threads, protocols=domain.protocols
                )
                figures[f"fair score tells {label}"] = told[0].estimate(domain.weights)
                figures[f"beyond the fair score {label}"] = strongest.estimate(domain.weights) - told[0].estimate(
                    domain.weights
                )
        for label in task.utility:
            before = unfiltered(domain, label, seed).figures
            if contender == UNFILTERED:
                figures |= before
            else:
                figures |= read(domain, z, label, seed)
                figures[f"lost {label}"] = before[f"accuracy {label}"] - figures[f"accuracy {label}"]
        figures |= distances(domain, task, z)
        return Cell(figures, notes)

    return domain.cells.cell(f"{called(task, contender)} {seed}", measure)


def called(task: Task, contender: str) -> str:
    """The name of what is kept of a contender on a task."""
    wish = [*task.private, "hidden", *task.utility, "kept"]
    if not contender.startswith("flow"):
        return " ".join([*wish, contender])
    settings = {**task.settings, **FLOWS.get(contender, {})}
    kind = "flow" if contender in FLOWS else contender
    return " ".join([*wish, kind, *(f"{name} {value:g}" for name, value in settings.items())])


def released(domain: Domain, task: Task, contender: str, seed: int) -> tuple[Floats, Floats | None, dict[str, Any]]:
    """The perturbed latents of all samples, float32 [N, Z], their fair scores if any, and the time of the fit."""
    if contender == UNFILTERED:
        return domain.latents.mean, None, {}
    began = time.perf_counter()
    fitted = CONTENDERS[contender](domain, task, seed)
    notes = {"fit seconds": time.perf_counter() - began, "settings": fitted.settings()}
    private = None
    if fitted.label_aware:
        counts = [len(domain.bundle.groups.get(label, (0, 1))) for label in task.private]
        private = posterior.classes(np.stack([domain.classes(label) for label in task.private], axis=1), counts)
    mean, seeds = domain.latents.mean, domain.seeds(seed)
    z = fitted.perturb(mean, domain.latents.variance, seeds, private)
    base = fitted.base if isinstance(fitted, Polished) else fitted
    if not isinstance(base, FlowFilter):
        return z, None, notes
    fair = base.targets(clipped(base.scores.scores(mean)), seeds)[:, base.private :]
    return z, fair, notes


def album(attack: Attack, identity: NDArray[np.integer]) -> float:
    """Leakage of people from 10 photos each: the attacker adds up what it says of them, [N] of two classes."""
    scores = attack.scores
    for fold in np.unique(attack.strata):  # folds have no common scale
        rows = attack.strata == fold
        scores = np.where(rows, (scores - scores[rows].mean()) / scores[rows].std(), scores)
    people = [rows for rows in (np.flatnonzero(identity == one) for one in np.unique(identity)) if len(rows) >= ALBUM]
    labels = np.array([attack.labels[rows].mean() > 0.5 for rows in people]).astype(np.int64)
    return float(metrics.leakage(labels, np.array([scores[rows[:ALBUM]].sum() for rows in people])))


def read(domain: Domain, z: Floats, label: str, seed: int) -> dict[str, Estimate]:
    """A utility label's accuracy and AUROC by a fresh classifier, the one that does best on the valid partition."""
    train, valid, test = domain.parts(z, domain.classes(label))
    found = []
    for classifier in READERS:
        trained = classifier(seed).fit(train.z, train.labels)
        right = float(metrics.accuracy(valid.labels, trained.score(valid.z)))
        found.append((right, trained.score(test.z)))
    scores = max(found, key=lambda one: one[0])[1]
    right = metrics.accuracy(test.labels, scores, domain.weights)
    area = metrics.auroc(test.labels, scores, domain.weights)
    return {
        f"accuracy {label}": Estimate(float(metrics.accuracy(test.labels, scores)), right),
        f"AUROC {label}": Estimate(float(metrics.auroc(test.labels, scores)), area),
    }


def unfiltered(domain: Domain, label: str, seed: int) -> Cell:
    """How well a label is read before anything is filtered, from posterior means."""

    def measure() -> Cell:
        return Cell(read(domain, domain.latents.mean, label, seed))

    return domain.cells.cell(f"unfiltered {label} {seed}", measure)


def distances(domain: Domain, task: Task, z: Floats) -> dict[str, Estimate]:
    """The mean squared distance to the original, in the dimensions in use.

    Plain, over that to another's latent, and over the least that would make all private classes alike among those of
    the same utility labels, if each were a Gaussian: to their Wasserstein barycentre.  That is an estimate, no bound.
    """
    used, test = domain.bundle.used, domain.test
    mean = domain.latents.mean[test][:, used]
    moved = np.square(z[test][:, used] - mean).sum(axis=1).astype(np.float64)
    apart = 2 * float(mean.var(axis=0).sum())

    def of(values: NDArray[np.float64]) -> Estimate:
        return Estimate(float(values.mean()), domain.weights @ values / domain.weights.sum(axis=1))

    private, utility = domain.combined(task.private)[test], domain.combined(task.utility)[test]
    least = sum(
        (utility == one).mean() * to_barycentre(mean[utility == one], private[utility == one]) for one in set(utility)
    )
    return {
        "distortion": of(moved),
        "distortion share": of(moved / apart),
        "distortion over the barycentre's": of(moved / max(float(least), 1e-9)),
    }


def to_barycentre(x: Floats, classes: NDArray[np.int64]) -> float:
    """The mean squared distance of ``x`` [N, U] to the barycentre of its ``classes`` [N], each taken as a Gaussian."""
    kept = [one for one in np.unique(classes) if (classes == one).sum() > 2 * x.shape[1]]
    if len(kept) < 2:  # too few to know a covariance by: they count as alike
        return 0.0
    weights = np.array([(classes == one).sum() for one in kept], np.float64)
    weights /= weights.sum()
    means = np.stack([x[classes == one].mean(axis=0) for one in kept]).astype(np.float64)
    covariances = np.stack([np.cov(x[classes == one], rowvar=False) + 1e-6 * np.eye(x.shape[1]) for one in kept])
    centre, shared = weights @ means, barycentre(covariances, weights)
    maps = [transport(covariance, shared) - np.eye(x.shape[1]) for covariance in covariances]
    moved = [np.trace(map_ @ covariance @ map_) for map_, covariance in zip(maps, covariances, strict=True)]
    return float(weights @ (np.square(means - centre).sum(axis=1) + moved))
