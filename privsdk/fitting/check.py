"""What freshly trained attackers find in a filter's releases: the built-in check of a fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk.filters import Filter, posterior
from privsdk.fitting.material import Part
from privsdk.fitting.wish import Wish

Floats = NDArray[np.float32]

# Trained on latents and a binary label, it judges other latents: gives their log-odds.
Attacker = Callable[[Floats, Floats, Floats], Floats]

ROWS = 6000
FOLDS = 2


@dataclass(frozen=True)
class Finding:
    """How well one attacker tells one binary label; its accuracies at its own threshold."""

    auroc: float
    accuracy: float
    balanced_accuracy: float

    @property
    def leakage(self) -> float:
        """max(AUROC, 1 - AUROC)."""
        return max(self.auroc, 1 - self.auroc)


def check(
    filter_: Filter,
    part: Part,
    wish: Wish,
    seed: int,
    attackers: Mapping[str, Attacker],
    measured_on: str,
    gaps: Mapping[str, float],
    on_progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """Releases at most 6,000 latents of ``part``; each attacker judges half of them by the other, both ways.

    Private labels are sought in the releases; a combination of several counts as a label of its own.  Utility
    labels are read from the releases and, for comparison, from the same latents unfiltered (posterior
    samples, as the server would see them), each by the better attacker.
    """
    part = part[:ROWS]
    hidden = len(wish.private)
    rng = np.random.default_rng([seed, 2])
    seeds = rng.integers(0, 2**63, len(part), dtype=np.uint64)
    combined = posterior.classes(part.labels[:, :hidden])
    released = filter_.perturb(part.mean, part.variance, seeds, combined if filter_.label_aware else None)
    unfiltered = part.draw(rng)
    sought = {name: part.labels[:, column] for column, name in enumerate(wish.private)}
    if hidden > 1:
        sought |= _combinations(sought)
    total = len(sought) + 2 * len(wish.utility)
    found: dict[str, Any] = {"measured_on": measured_on, "latents": len(part), "private": {}, "utility": {}}

    for done, (name, labels) in enumerate(sought.items()):
        findings = {attacker: judge(train, released, labels) for attacker, train in attackers.items()}
        strongest = max(findings, key=lambda attacker: findings[attacker].leakage)
        finding = findings[strongest]
        base = float(labels.mean())
        found["private"][name] = {
            "leakage": finding.leakage,
            "strongest": strongest,
            "accuracy": finding.accuracy,
            "balanced_accuracy": finding.balanced_accuracy,
            "base_rate": max(base, 1 - base),
            "gap": gaps.get(name, max(gaps[label] for label in wish.private)),
        }
        on_progress("check", done + 1, total)
    for index, name in enumerate(wish.utility):
        labels = part.labels[:, hidden + index]
        after = max(judge(train, released, labels).accuracy for train in attackers.values())
        on_progress("check", len(sought) + 2 * index + 1, total)
        before = max(judge(train, unfiltered, labels).accuracy for train in attackers.values())
        on_progress("check", len(sought) + 2 * index + 2, total)
        found["utility"][name] = {
            "accuracy": after,
            "accuracy_unfiltered": before,
            "lost": before - after,
        }
    return found


def judge(attacker: Attacker, z: Floats, labels: Floats) -> Finding:
    """Cross-fitted: each half of ``z`` [N, Z] is judged by the attacker trained on the other."""
    halves = np.arange(len(z)) % FOLDS
    aurocs, right = [], np.zeros(len(z), bool)
    for fold in range(FOLDS):
        held_out = halves == fold
        said = attacker(z[~held_out], labels[~held_out], z[held_out])
        aurocs.append(auroc(said, labels[held_out]))
        right[held_out] = (said > 0) == (labels[held_out] > 0)
    balanced = (right[labels > 0].mean() + right[labels == 0].mean()) / 2
    return Finding(float(np.mean(aurocs)), float(right.mean()), float(balanced))


def auroc(said: Floats, labels: Floats) -> float:
    """The probability that a positive is ranked above a negative, ties counted half (Mann and Whitney)."""
    values, index, counts = np.unique(said, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[index]
    positives = labels > 0
    count = int(positives.sum())
    if count in (0, len(labels)):
        return 0.5
    above = ranks[positives].sum() - count * (count + 1) / 2
    return float(above / (count * (len(labels) - count)))


def torch_attackers(seed: int) -> dict[str, Attacker]:
    """Logistic regression, and a network with two hidden layers on raw and on standardised latents."""
    import torch

    from privsdk.fitting import classifiers

    def logistic(z: Floats, labels: Floats, judged: Floats) -> Floats:
        z, judged = standardised(z, judged)
        model = classifiers.train_logistic(torch.from_numpy(z), torch.from_numpy(labels))
        with torch.no_grad():
            return model(torch.from_numpy(judged))[:, 0].numpy()

    def network(z: Floats, labels: Floats, judged: Floats) -> Floats:
        model = classifiers.train_mlp(torch.from_numpy(z), torch.from_numpy(labels), seed)
        with torch.no_grad():
            return model(torch.from_numpy(judged))[:, 0].numpy()

    def network_standardised(z: Floats, labels: Floats, judged: Floats) -> Floats:
        z, judged = standardised(z, judged)
        return network(z, labels, judged)

    return {"logistic": logistic, "mlp": network, "mlp standardised": network_standardised}


def numpy_attackers() -> dict[str, Attacker]:
    """Logistic regression and 30 nearest neighbours."""
    return {"logistic": numpy_logistic, "k-nearest neighbours": nearest_neighbours}


def numpy_logistic(z: Floats, labels: Floats, judged: Floats, decay: float = 1e-3) -> Floats:
    """Logistic regression by Newton's method (iteratively reweighted least squares)."""
    z, judged = standardised(z, judged)
    design = np.concatenate([z, np.ones((len(z), 1), np.float32)], axis=1).astype(np.float64)
    penalty = 2 * decay * len(z) * np.eye(design.shape[1])
    penalty[-1, -1] = 1e-6
    weights = np.zeros(design.shape[1])
    for _ in range(12):
        probability = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (probability - labels) + penalty @ weights
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design + penalty
        weights -= np.linalg.solve(curvature, gradient)
    return (judged @ weights[:-1] + weights[-1]).astype(np.float32)


def nearest_neighbours(z: Floats, labels: Floats, judged: Floats, neighbours: int = 30) -> Floats:
    """The share of positives among the 30 nearest standardised latents, less one half."""
    z, judged = standardised(z, judged)
    said = np.empty(len(judged), np.float32)
    for start in range(0, len(judged), 512):
        block = judged[start : start + 512]
        distance = np.square(z).sum(1) - 2 * block @ z.T
        nearest = np.argpartition(distance, neighbours, axis=1)[:, :neighbours]
        said[start : start + 512] = labels[nearest].mean(axis=1) - 0.5
    return said


def standardised(z: Floats, judged: Floats) -> tuple[Floats, Floats]:
    """Both, with mean 0 and spread 1 in each dimension of ``z``."""
    mean, spread = z.mean(axis=0), np.maximum(z.std(axis=0), 1e-6)
    return (z - mean) / spread, (judged - mean) / spread


def _combinations(sought: Mapping[str, Floats]) -> dict[str, Floats]:
    combined = {}
    for values in product((1, 0), repeat=len(sought)):
        name = " and ".join(label if value else f"not {label}" for label, value in zip(sought, values, strict=True))
        matches = [labels == value for labels, value in zip(sought.values(), values, strict=True)]
        together = np.all(matches, axis=0).astype(np.float32)
        if 0 < together.sum() < len(together):
            combined[name] = together
    return combined
