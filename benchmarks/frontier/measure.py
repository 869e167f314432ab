"""What is measured of one filter on one task."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import Cell, alone
from benchmarks.frontier.contenders import CONTENDERS
from benchmarks.frontier.domains import Domain
from benchmarks.frontier.tasks import Task
from privsdk.audit import metrics
from privsdk.audit.attackers import (
    GaussianMixtures,
    HistGradientBoosting,
    LogisticRegression,
    StandardisedPerceptron,
)
from privsdk.audit.metrics import Estimate
from privsdk.audit.protocols import attack

Floats = NDArray[np.float32]

READERS = (LogisticRegression, StandardisedPerceptron, HistGradientBoosting)


def measured(domain: Domain, task: Task, contender: str, seed: int) -> Cell:
    """Leakage, accuracies and distortion of one contender's releases, by attackers trained afresh."""

    def measure() -> Cell:
        z, notes = released(domain, task, contender, seed)
        figures: dict[str, Estimate] = {}
        sought = {label: domain.classes(label) for label in task.private}
        if len(task.private) > 1:
            sought["combination"] = domain.combined(task.private)
        for label, classes in sought.items():
            attacks = attack(*domain.parts(z, classes), seed=seed, threads=domain.threads, protocols=domain.protocols)
            strongest, most_accurate = attacks[0], max(attacks, key=lambda one: one.accuracy)
            figures[f"leakage {label}"] = strongest.estimate(domain.weights)
            figures[f"accuracy {label}"] = most_accurate.accuracy_estimate(domain.weights)
            figures[f"balanced accuracy {label}"] = alone(max(one.balanced_accuracy for one in attacks))
            unseen = attack(*domain.parts(z, classes), (GaussianMixtures,), seed, domain.threads, domain.protocols)
            figures[f"unseen family {label}"] = unseen[0].estimate(domain.weights)
            notes[f"attacks {label}"] = [one.summary() for one in attacks]
        for label in task.utility:
            figures |= read(domain, z, label, seed)
            if contender != "unfiltered":
                before = measured(domain, task, "unfiltered", seed)[f"accuracy {label}"]
                figures[f"lost {label}"] = before - figures[f"accuracy {label}"]
        figures |= distances(domain, z)
        return Cell(figures, notes)

    return domain.cells.cell(f"{called(task, contender)} {seed}", measure)


def called(task: Task, contender: str) -> str:
    """The name of what is kept of a contender on a task."""
    settings = [f"{name} {value:g}" for name, value in task.settings.items()] if contender == "flow" else []
    return " ".join([*task.private, "hidden", *task.utility, "kept", contender, *settings])


def released(domain: Domain, task: Task, contender: str, seed: int) -> tuple[Floats, dict[str, Any]]:
    """The perturbed latents of all samples, float32 [N, Z], and how long the fit took."""
    if contender == "unfiltered":
        return domain.latents.mean, {}
    began = time.perf_counter()
    fitted = CONTENDERS[contender](domain, task, seed)
    seconds = time.perf_counter() - began
    private = domain.combined(task.private) if fitted.label_aware else None
    z = fitted.perturb(domain.latents.mean, domain.latents.variance, domain.seeds(seed), private)
    return z, {"fit seconds": seconds, "settings": {**fitted.settings()}}


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


def distances(domain: Domain, z: Floats) -> dict[str, Estimate]:
    """The mean squared distance to the original, in the dimensions in use: plain, and over that to another's latent."""
    used, test = domain.bundle.used, domain.test
    mean = domain.latents.mean[test][:, used]
    moved = np.square(z[test][:, used] - mean).sum(axis=1).astype(np.float64)
    apart = 2 * float(mean.var(axis=0).sum())

    def of(values: NDArray[np.float64]) -> Estimate:
        return Estimate(float(values.mean()), domain.weights @ values / domain.weights.sum(axis=1))

    return {"distortion": of(moved), "distortion share": of(moved / apart)}
