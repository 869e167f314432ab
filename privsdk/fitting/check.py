"""What freshly trained attackers find in a filter's releases: the built-in check of a fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import NotReachedError
from privsdk.filters import Filter, posterior
from privsdk.filters.flow import FlowFilter
from privsdk.fitting.material import Part
from privsdk.fitting.wish import Label, Wish
from privsdk.progress import Progress

Floats = NDArray[np.float32]
Classes = NDArray[np.int64]

# Trained on latents [N, Z], their classes [N] and how many of these there are, it judges other latents: gives the
# log-odds of each class, up to a constant of the row, [M, C].
Attacker = Callable[[Floats, Classes, int, Floats], Floats]

ROWS = 6000
FOLDS = 2
# What utility labels are read by, and codes: the two that find most.
READERS = ("logistic", "mlp standardised", "k-nearest neighbours")
# Of a combination that fewer have no figure would mean anything.
LEAST_COMBINATION = 0.02
MOST_IN_CODE = 0.62
NORMAL = NormalDist()
# Of Newton's method: it ends where no weight moves by more.
MOST_STEPS, SETTLED = 12, 1e-4


@dataclass(frozen=True)
class Finding:
    """How well one attacker tells a label: the largest AUROC of one class against the rest, either way round.

    ``per_class`` are those AUROCs, one for a label of two classes, ``standard_errors`` theirs where nothing is told
    (Mann and Whitney); the accuracies are at the attacker's own threshold.
    """

    per_class: tuple[float, ...]
    standard_errors: tuple[float, ...]
    accuracy: float
    balanced_accuracy: float

    @property
    def leakage(self) -> float:
        """max(AUROC, 1 - AUROC), of the class that is told best."""
        return max(max(area, 1 - area) for area in self.per_class)

    @property
    def standard_error(self) -> float:
        """Of the AUROC of that class."""
        return max(zip(self.per_class, self.standard_errors, strict=True), key=lambda one: max(one[0], 1 - one[0]))[1]


# Of several attackers, for classes among so many: the strongest, by its name, and what it found.
Seek = Callable[[Mapping[str, Attacker], Floats, Classes, int], tuple[str, Finding]]


def check(
    filter_: Filter,
    part: Part,
    wish: Wish,
    seed: int,
    attackers: Mapping[str, Attacker],
    measured_on: str,
    gaps: Mapping[str, float],
    on_progress: Progress,
) -> dict[str, Any]:
    """Releases at most 6,000 latents of ``part``; each attacker judges half of them by the other, both ways.

    Private labels are sought in the releases; so are the combinations of several.  Utility labels are read from the
    releases and, for comparison, from the same latents unfiltered (posterior samples, as the server would see them),
    each by the better of two attackers.  In the codes of the default filter the private labels are sought too: a code
    should tell nothing.
    """
    part = part[:ROWS]
    hidden = len(wish.private)
    rng = np.random.default_rng([seed, 2])
    seeds = rng.integers(0, 2**63, len(part), dtype=np.uint64)
    aware_of = _combined(part, wish) if filter_.label_aware else None
    released = filter_.perturb(part.mean, part.variance, seeds, aware_of)
    unfiltered = part.draw(rng)
    readers = {name: attackers[name] for name in READERS if name in attackers}
    codes = filter_.codes(part.mean, part.variance, seeds, part.scores) if isinstance(filter_, FlowFilter) else None

    total = hidden + (hidden > 1) + 2 * len(wish.utility) + (hidden if codes is not None else 0)
    done = 0

    if not (np.isfinite(released).all() and (codes is None or np.isfinite(codes).all())):
        # Attackers would be lost in them, and find nothing.
        raise NotReachedError(
            "the filter gives numbers that are not finite: fit it with another seed or other settings"
        )

    def seek(attackers: Mapping[str, Attacker], z: Floats, labels: Classes, classes: int) -> tuple[str, Finding]:
        nonlocal done
        found = strongest(attackers, z, labels, classes)
        done += 1
        on_progress("check", done, total)
        return found

    found: dict[str, Any] = {"measured_on": measured_on, "latents": len(part), "utility": {}}
    found["private"] = private_labels(seek, attackers, released, part, wish, gaps)
    for label, labels in zip(wish.utility_labels, part.labels.T[hidden:], strict=True):
        after = max(judge(train, released, labels, len(label.classes)).accuracy for train in readers.values())
        before = max(judge(train, unfiltered, labels, len(label.classes)).accuracy for train in readers.values())
        done += 2
        on_progress("check", done, total)
        found["utility"][label.name] = {
            "accuracy": after,
            "accuracy_unfiltered": before,
            "lost": before - after,
        }
    if codes is not None:
        found["code"] = {
            label.name: seek(readers, codes, labels, len(label.classes))[1].leakage
            for label, labels in zip(wish.private_labels, part.labels.T, strict=False)
        }
    return found


def private_labels(
    seek: Seek,
    attackers: Mapping[str, Attacker],
    released: Floats,
    part: Part,
    wish: Wish,
    gaps: Mapping[str, float],
) -> dict[str, Any]:
    """What is told of each private label by releases [N, Z] of ``part``, and of the combinations of several."""
    found: dict[str, Any] = {}
    for label, labels in zip(wish.private_labels, part.labels.T, strict=False):
        name, finding = seek(attackers, released, labels, len(label.classes))
        found[label.name] = {
            "leakage": finding.leakage,
            "standard_error": finding.standard_error,
            "strongest": name,
            "accuracy": finding.accuracy,
            "balanced_accuracy": finding.balanced_accuracy,
            "base_rate": float(np.bincount(labels).max() / len(labels)),
            "gap": max(gaps[one] for one in _attributes(label)),
        }
    if len(wish.private) > 1:
        gap = max(entry["gap"] for entry in found.values())
        found |= _combinations(seek, attackers, released, _combined(part, wish), wish.private_labels, gap)
    return found


def require_clean_code(found: Mapping[str, Any], wish: Wish) -> None:
    """Raises NotReachedError where fresh attackers read a private label in the code, which should tell nothing.

    Where all is well they find .50 to .56, and from .62 on something that is no accident of one fit.  Above that chance
    is allowed for: two standard errors of the AUROC, and for the largest AUROC of C classes so many that chance exceeds
    them no more often (Bonferroni), which is 2.8 for ten.
    """
    for label in wish.private_labels:
        leakage = found["code"][label.name]
        compared = len(label.attributes)
        errors = NORMAL.inv_cdf(1 - NORMAL.cdf(-2) / compared)
        limit = MOST_IN_CODE + errors * found["private"][label.name]["standard_error"]
        if leakage > limit:
            raise NotReachedError(
                f"the fit failed its own check: the code, which should tell nothing of {label.name}, tells it with an "
                f"AUROC of {leakage:.3f} (allowed: {limit:.3f}), and what is in it others may find in releases. "
                "The bundle's public flow does not fit these latents well enough, or too few of them have the "
                "label: fit with another seed, hide another label, or get a bundle that was trained for longer"
            )


def strongest(
    attackers: Mapping[str, Attacker], z: Floats, labels: Classes, classes: int, folds: int = FOLDS
) -> tuple[str, Finding]:
    """The attacker that tells a label best from latents ``z`` [N, Z], by its name, and what it found."""
    findings = {name: judge(attacker, z, labels, classes, folds) for name, attacker in attackers.items()}
    return max(findings.items(), key=lambda found: found[1].leakage)


def judge(attacker: Attacker, z: Floats, labels: NDArray[Any], classes: int = 2, folds: int = FOLDS) -> Finding:
    """Cross-fitted: each half of ``z`` [N, Z], or smaller fold, is judged by the attacker trained on the others."""
    labels = labels.astype(np.int64)
    fold_of = np.arange(len(z)) % folds
    columns = range(1, 2) if classes == 2 else range(classes)
    areas, guesses = [], np.empty(len(z), np.int64)
    for fold in range(folds):
        held_out = fold_of == fold
        said = attacker(z[~held_out], labels[~held_out], classes, z[held_out])
        guesses[held_out] = said.argmax(axis=1)
        areas.append([auroc(against_the_rest(said, one), labels[held_out] == one) for one in columns])
    right = guesses == labels
    recalls = [right[labels == one].mean() for one in range(classes) if (labels == one).any()]
    positives = np.clip([np.sum(labels == one) for one in columns], 1, len(labels) - 1)
    errors = np.sqrt((len(labels) + 1) / (12 * positives * (len(labels) - positives)))
    told = tuple(np.mean(areas, axis=0).tolist())
    return Finding(told, tuple(errors.tolist()), float(right.mean()), float(np.mean(recalls)))


def against_the_rest(said: Floats, one: int) -> Floats:
    """The log-odds of one class, where those of all [N, C] are known up to a constant: [N]."""
    rest = np.delete(said, one, axis=1)
    most = rest.max(axis=1)
    log_odds: Floats = said[:, one] - most - np.log(np.exp(rest - most[:, None]).sum(axis=1))
    return log_odds


def auroc(said: Floats, labels: NDArray[Any]) -> float:
    """The probability that a positive is ranked above a negative, ties counted half (Mann and Whitney)."""
    values, index, counts = np.unique(said, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[index]
    positives = labels > 0
    count = int(positives.sum())
    if count in (0, len(labels)):
        return 0.5
    above = ranks[positives].sum() - count * (count + 1) / 2
    return float(above / (count * (len(labels) - count)))


def numpy_logistic(z: Floats, labels: Classes, classes: int, judged: Floats, decay: float = 1e-3) -> Floats:
    """Logistic regression of each class against the rest by Newton's method (iteratively reweighted least squares)."""
    z, judged = standardised(z, judged)
    design = np.concatenate([z, np.ones((len(z), 1), np.float32)], axis=1).astype(np.float64)
    penalty = 2 * decay * len(z) * np.eye(design.shape[1])
    penalty[-1, -1] = 1e-6

    def log_odds(wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
        weights = np.zeros(design.shape[1])
        for _ in range(MOST_STEPS):
            probability = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
            gradient = design.T @ (probability - wanted) + penalty @ weights
            curvature = (design * (probability * (1 - probability))[:, None]).T @ design + penalty
            step = np.linalg.solve(curvature, gradient)
            weights -= step
            if np.abs(step).max() < SETTLED:
                break
        return judged @ weights[:-1] + weights[-1]

    if classes == 2:
        of_one = log_odds(labels == 1)
        return np.stack([-of_one / 2, of_one / 2], axis=1).astype(np.float32)
    return np.stack([log_odds(labels == one) for one in range(classes)], axis=1).astype(np.float32)


def nearest_neighbours(z: Floats, labels: Classes, classes: int, judged: Floats, neighbours: int = 30) -> Floats:
    """The log of each class's share among the 30 nearest standardised latents, each class counted half more."""
    z, judged = standardised(z, judged)
    of_class = np.eye(classes, dtype=np.float32)[labels]
    shares = np.empty((len(judged), classes), np.float32)
    for start in range(0, len(judged), 512):
        block = judged[start : start + 512]
        distance = np.square(z).sum(1) - 2 * block @ z.T
        nearest = np.argpartition(distance, neighbours, axis=1)[:, :neighbours]
        shares[start : start + 512] = of_class[nearest].sum(axis=1) + 0.5
    log_shares: Floats = np.log(shares)
    return log_shares


def standardised(z: Floats, judged: Floats) -> tuple[Floats, Floats]:
    """Both, with mean 0 and spread 1 in each dimension of ``z``."""
    mean, spread = z.mean(axis=0), np.maximum(z.std(axis=0), 1e-6)
    return (z - mean) / spread, (judged - mean) / spread


def _combined(part: Part, wish: Wish) -> Classes:
    """The private labels of each row as one class."""
    counts = [len(label.classes) for label in wish.private_labels]
    return posterior.classes(part.labels[:, : len(counts)], counts)


def _attributes(label: Label) -> tuple[str, ...]:
    """The attributes of the bundle that a label is made of, by their names."""
    return (label.name,) if len(label.attributes) == 1 else label.classes


def _combinations(
    seek: Seek,
    attackers: Mapping[str, Attacker],
    released: Floats,
    combined: Classes,
    labels: Sequence[Label],
    gap: float,
) -> dict[str, Any]:
    """What is told of each combination of private labels that enough people have; the others count as one more."""
    names = [" and ".join(reversed(parts)) for parts in product(*(label.classes for label in reversed(labels)))]
    shares = np.bincount(combined, minlength=len(names)) / len(combined)
    common = np.flatnonzero(shares >= LEAST_COMBINATION)
    if len(common) < 2:
        return {}
    place = np.full(len(names), len(common))
    place[common] = np.arange(len(common))
    classes = len(common) + (len(common) < len(names))
    name, finding = seek(attackers, released, place[combined], classes)
    areas = finding.per_class if classes > 2 else finding.per_class * 2
    errors = finding.standard_errors if classes > 2 else finding.standard_errors * 2
    return {
        names[one]: {
            "leakage": max(areas[number], 1 - areas[number]),
            "standard_error": errors[number],
            "strongest": name,
            "accuracy": finding.accuracy,
            "balanced_accuracy": finding.balanced_accuracy,
            "base_rate": float(shares.max()),
            "gap": gap,
        }
        for number, one in enumerate(common)
    }
