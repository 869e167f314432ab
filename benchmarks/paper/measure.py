"""What is measured of releases: how well a label is told by the paper's classifier, and by the strongest of many.

Every classifier is trained afresh on releases of the training partition and scored on those of the test partition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import Cell
from benchmarks.frontier.measure import READERS
from benchmarks.paper.classifier import PapersClassifier
from benchmarks.paper.place import Place, Release, Space
from benchmarks.paper.published import ACCURACY, AUROC, BALANCED, MEASURES, Row
from benchmarks.paper.sheet import NOTHING, Sheet, Spread
from benchmarks.table import Goal, Line, number
from privsdk.auditing import metrics
from privsdk.auditing.attackers import Attacker
from privsdk.auditing.metrics import Estimate
from privsdk.auditing.protocols import TRAINING_PARTITION, Released, attack

Parts = tuple[Released, Released, Released]  # train, valid and test
Figures = dict[str, Estimate]

CLASSIFIER, STRONGEST = "its classifier", "strongest"
NEAR = 0.03  # what a figure of the published method may differ by from the paper's
VALUES = {ACCURACY: metrics.accuracy, BALANCED: metrics.balanced_accuracy, AUROC: metrics.leakage}
HEAD = (
    "label",
    "release",
    *(f"{measure}, {whose}" for measure in MEASURES for whose in ("published", CLASSIFIER, STRONGEST)),
)


def called(label: str, measure: str, by: str) -> str:
    """What a figure is called in a cell."""
    return f"{label}: {measure}, {by}"


def estimate(measure: str, labels: NDArray, scores: NDArray, weights: NDArray) -> Estimate:
    """A measure of scores [N] of a label 0 or 1; ``weights`` are those of ``metrics.resampled``."""
    of = VALUES[measure]
    return Estimate(float(of(labels, scores)), of(labels, scores, weights))


def told(parts: Parts, label: str, attackers: Sequence[type[Attacker]], seed: int, weights: NDArray) -> Figures:
    """Of a private label of two classes: what the paper's classifier tells, and the most that any attacker does.

    ``weights`` resample the test part.
    """
    attacks = attack(*parts, (PapersClassifier, *attackers), seed, protocols=(TRAINING_PARTITION,))
    own = next(one for one in attacks if one.attacker == PapersClassifier.name)
    figures: Figures = {}
    for measure, of in VALUES.items():
        most = max(attacks, key=lambda one: float(of(one.labels, one.scores)))
        for by, one in ((CLASSIFIER, own), (STRONGEST, most)):
            figures[called(label, measure, by)] = estimate(measure, one.labels, one.scores, weights)
    return figures


def kept(parts: Parts, label: str, seed: int, weights: NDArray) -> Figures:
    """Of a label of two classes that nobody hides: what the paper's classifier tells, and what the one does that tells
    most of the valid part.
    """
    train, valid, test = parts
    trained = [classifier(seed).fit(train.z, train.labels) for classifier in (PapersClassifier, *READERS)]
    best = max(trained, key=lambda one: float(metrics.accuracy(valid.labels, one.score(valid.z))))
    return {
        called(label, measure, by): estimate(measure, test.labels, one.score(test.z), weights)
        for measure in MEASURES
        for by, one in ((CLASSIFIER, trained[0]), (STRONGEST, best))
    }


def before(place: Place, space: Space, label: str) -> list[Cell]:
    """What the paper's classifier tells of a label of two classes before anything is filtered, a cell a seed."""

    def measure(seed: int) -> Cell:
        train, _, test = space.domain.parts(space.means(seed), space.domain.classes(label))
        scores = PapersClassifier(seed).fit(train.z, train.labels).score(test.z)
        return Cell(
            {
                called(label, one, CLASSIFIER): estimate(one, test.labels, scores, space.domain.weights)
                for one in MEASURES
            }
        )

    return [space.cells.cell(f"{label} unfiltered classifier {seed}", partial(measure, seed)) for seed in place.seeds]


def measured(
    place: Place, space: Space, name: str, release: Release, private: str, others: Sequence[str]
) -> list[Cell]:
    """All figures of one release of a domain, a cell a seed: of the ``private`` label and of ``others`` that stay."""

    def measure(seed: int) -> Cell:
        domain, z = space.domain, release(seed)
        figures = told(domain.parts(z, domain.classes(private)), private, space.attackers, seed, domain.weights)
        for label in others:
            figures |= kept(domain.parts(z, domain.classes(label)), label, seed, domain.weights)
        return Cell(figures)

    wish = f"{private} hidden {' '.join(others)} kept"
    return [space.cells.cell(f"{wish} {name} {seed}", partial(measure, seed)) for seed in place.seeds]


def base_rate(classes: NDArray) -> float:
    """How often a guess is right that knows the shares alone."""
    return float(np.bincount(classes).max() / len(classes))


def beside(
    labels: Mapping[str, float], releases: Mapping[str, Sequence[Cell]], published: Mapping[str, Row], caption: str
) -> Sheet:
    """The figures of ``releases``, whose cells are one a seed, beside the published ones, label by label.

    ``labels`` have their base rates.  ``published`` are the paper's of the same names, or of rows of their own.
    """
    rows: list[tuple[str | Spread, ...]] = []
    for label, rate in labels.items():
        guess = (f"{rate:.3f}", "0.500", "0.500")
        rows.append((label, "base rate", *(entry for one in guess for entry in (NOTHING, one, one))))
        for release in dict.fromkeys([*published, *releases]):
            row: list[str | Spread] = [label, release]
            for measure in MEASURES:
                row.append(str(published.get(release, {}).get(label, {}).get(measure, NOTHING)))
                for by in (CLASSIFIER, STRONGEST):
                    row.append(spread(releases.get(release, ()), called(label, measure, by)))
            if any(entry != NOTHING for entry in row[2:]):
                rows.append(tuple(row))
    return Sheet(caption, HEAD, tuple(rows))


def spread(cells: Sequence[Cell], figure: str) -> str | Spread:
    """A figure over the seeds, where it was measured."""
    found = [one[figure] for one in cells if figure in one.figures]
    return Spread.of(found) if found else NOTHING


@dataclass(frozen=True)
class Within(Goal):
    """What a difference should be: at most ``limit``, above or below."""

    def __str__(self) -> str:
        return f"within {number(self.limit)}"

    def met_by(self, value: float) -> bool:
        return abs(value) <= self.limit


def near(release: str, cells: Sequence[Cell], published: Row) -> list[Line]:
    """How far the paper's classifier is from what the paper prints."""
    lines = []
    for label, row in published.items():
        for measure, printed in row.items():
            found = [one[called(label, measure, CLASSIFIER)] for one in cells]
            apart = [Estimate(one.value - printed.value, one.draws - printed.value) for one in found]
            lines.append(Line(release, f"{measure} {label}, less the published", apart, Within(NEAR)))
    return lines


def goal(release: str, cells: Sequence[Cell], label: str, measure: str, limit: Goal) -> Line:
    """What the strongest classifiers find against a goal."""
    figure = called(label, measure, STRONGEST)
    return Line(release, f"{measure} {label}", [one[figure] for one in cells], limit)
