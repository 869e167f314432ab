"""The published method and the paper's Gaussian mechanism along the distortion budget, told by its classifier.

The paper gives neither the budgets of its tables nor lambda, the weight of the adversary in the game.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import Cell, alone
from benchmarks.domains import Domain
from benchmarks.paper import filters
from benchmarks.paper.classifier import PapersClassifier
from benchmarks.paper.filters import WEIGHT
from benchmarks.paper.place import Floats, Place, Space
from benchmarks.paper.published import ACCURACY, BALANCED, Row
from benchmarks.paper.sheet import NOTHING, Sheet, Spread
from privsdk.filters import Filter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BUDGETS = {
    "digits": (1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 24.0),
    "table": (0.1, 0.2, 0.3, 0.5, 1.0, 3.0, 8.0),
    "faces": (5.0, 15.0, 45.0),
}
WEIGHTS = {"digits": (0.3, 1.0, WEIGHT), "table": (1.0, WEIGHT), "faces": (1.0, WEIGHT)}
QUICK_BUDGETS = {"digits": (8.0,), "table": (0.3,), "faces": (15.0,)}
PUBLISHED, GAUSSIAN, DEFAULT = "published method", "Gaussian mechanism", "default filter"
SMALL = WEIGHTS["digits"][0]
CURVES = {  # along the budget: which of the two, and its lambda
    f"{PUBLISHED}, lambda {WEIGHT:g}": (PUBLISHED, WEIGHT),
    f"{PUBLISHED}, lambda {SMALL:g}": (PUBLISHED, SMALL),
    GAUSSIAN: (GAUSSIAN, WEIGHT),
}


def budgets(place: Place, space: Space) -> Sequence[float]:
    """Those that are tried, of E ||z~ - z||^2."""
    return (QUICK_BUDGETS if place.quick else BUDGETS)[space.domain.name]


def weights(place: Place, space: Space) -> Sequence[float]:
    """Those that are tried of lambda."""
    return (WEIGHT,) if place.quick else WEIGHTS[space.domain.name]


@dataclass(frozen=True)
class Setting:
    """What the paper leaves open of its game; ``weight`` is lambda."""

    budget: float
    weight: float

    def __str__(self) -> str:
        return f"{PUBLISHED}, budget {self.budget:g}, lambda {self.weight:g}"


@cache
def fitted(
    space: Space, contender: str, private: str, utility: str, budget: float, seed: int, weight: float = WEIGHT
) -> Filter:
    """One of the two, fitted on the training partition."""
    data = space.data(private, [utility], space.domain.train)
    if contender == PUBLISHED:
        return filters.published(data, budget, seed, weight, space.quick)
    return filters.gaussian(data, budget)


def published(space: Space, private: str, utility: str, setting: Setting, seed: int) -> Filter:
    """The published method so set, fitted on the training partition."""
    return fitted(space, PUBLISHED, private, utility, setting.budget, seed, setting.weight)


def at(
    space: Space,
    contender: str,
    private: str,
    utility: str,
    others: Sequence[str],
    budget: float,
    seed: int,
    weight: float = WEIGHT,
) -> Cell:
    """How often, at one budget, the paper's classifier is right about each label."""

    def measure() -> Cell:
        filter_ = fitted(space, contender, private, utility, budget, seed, weight)
        return told(space.domain, space.perturbed(filter_, private, seed), (private, utility, *others), seed)

    wish = f"{private} hidden {' '.join([utility, *others])} kept"
    apart = "" if weight == WEIGHT else f" lambda {weight:g}"
    return space.cells.cell(f"{wish} {contender} budget {budget:g}{apart} classifier {seed}", measure)


def told(domain: Domain, z: Floats, labels: Sequence[str], seed: int) -> Cell:
    """The paper's classifier on releases ``z`` of all samples: accuracies, also on the valid partition."""
    figures = {}
    for label in labels:
        train, valid, test = domain.parts(z, domain.classes(label))
        classifier = PapersClassifier(seed).fit(train.z, train.labels)
        for partition, part in (("valid", valid), ("test", test)):
            right = guesses(classifier.score(part.z)) == part.labels
            by_class = [right[part.labels == one].mean() for one in np.unique(part.labels)]
            figures[f"{label}: {ACCURACY}, {partition}"] = alone(float(right.mean()))
            figures[f"{label}: {BALANCED}, {partition}"] = alone(float(np.mean(by_class)))
    return Cell(figures)


def guesses(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """What an attacker says whose scores are [N] of two classes, [N, C] of more."""
    return scores.argmax(axis=1) if scores.ndim > 1 else (scores > 0).astype(np.int64)


def nearest(place: Place, space: Space, private: str, utility: str, others: Sequence[str], goal: Row) -> Setting:
    """The setting with which the published method comes nearest to the paper's figures, ``goal``, of the wish's labels.

    That is a search: of all budgets and weights those are taken whose figures on the valid partition, of one fit, lie
    nearest to the published ones, going by the one that lies furthest.
    """

    def furthest(setting: Setting) -> float:
        cell = at(space, PUBLISHED, private, utility, others, setting.budget, 0, setting.weight)
        return max(
            abs(cell[f"{label}: {measure}, valid"].value - one.value)
            for label in (private, utility)
            for measure, one in goal[label].items()
        )

    tried = [Setting(budget, weight) for weight in weights(place, space) for budget in budgets(place, space)]
    return min(tried, key=furthest)


def along(place: Place, private: str, utility: str, others: Sequence[str], default: Callable[[int], Filter]) -> Sheet:
    """Accuracies of every label at every budget: digits through the VAE without labels, and ``default`` as a point."""
    plain, shipped = place.published("digits"), place.shipped("digits")
    labels = (private, utility, *others)

    def by_default(seed: int) -> Cell:
        return told(shipped.domain, shipped.through(default, private)(seed), labels, seed)

    wish = f"{private} hidden {' '.join(labels[1:])} kept"
    points = {
        (name, f"{budget:g}"): [
            at(plain, contender, private, utility, others, budget, one, weight) for one in place.seeds
        ]
        for name, (contender, weight) in CURVES.items()
        for budget in budgets(place, plain)
    }
    points["unfiltered", "0"] = [
        plain.cells.cell(
            f"{wish} unfiltered classifier {one}", lambda one=one: told(plain.domain, plain.means(one), labels, one)
        )
        for one in place.seeds
    ]
    points[DEFAULT, NOTHING] = [
        shipped.cells.cell(f"{wish} {DEFAULT} classifier {one}", partial(by_default, one)) for one in place.seeds
    ]
    rows = tuple(
        (*point, *(Spread.of([one[f"{label}: {ACCURACY}, test"] for one in cells]) for label in labels))
        for point, cells in points.items()
    )
    caption = "Accuracy of the paper's classifier; the budget bounds the mean of ||z~ - z||^2."
    return Sheet(caption, ("filter", "budget", *labels), rows)


def drawn(sheets: Sequence[Sheet]) -> Figure:
    """Accuracy against the budget, a panel for each label; the default filter is a line across."""
    from matplotlib.figure import Figure

    (sheet,) = sheets
    labels = sheet.head[2:]
    figure = Figure(figsize=(4 * len(labels), 3.2), dpi=90, layout="constrained")
    for column, (axis, label) in enumerate(zip(figure.subplots(1, len(labels)), labels, strict=True), start=2):
        for name in CURVES:
            rows = [row for row in sheet.rows if row[0] == name]
            axis.plot([float(row[1]) for row in rows], [row[column].mean for row in rows], ".-", label=name)
        (own,) = (row for row in sheet.rows if row[0] == DEFAULT)
        axis.axhline(own[column].mean, color="green", ls="--", label=DEFAULT)
        axis.set(title=label, xlabel="budget", ylabel="accuracy")
        axis.legend(fontsize=7)
    return figure
