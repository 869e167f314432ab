"""What the paper's classifier reads in each version of the digits, sample by sample, and whom it takes for whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.cells import Cell
from benchmarks.domains import Domain
from benchmarks.paper import budgets
from benchmarks.paper.cases import SEED, Case, Version, versions
from benchmarks.paper.classifier import PapersClassifier
from benchmarks.paper.pictures import DOTS_PER_INCH, Picture, on_two_lines
from benchmarks.paper.place import Place
from benchmarks.paper.sheet import Sheet, Spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def read(version: Version, case: Case, label: str) -> NDArray[np.int64]:
    """The class that the paper's classifier, trained on releases, names for each of the test partition: int64 [N]."""
    domain = version.space.domain

    def measure() -> Cell:
        train, _, test = domain.parts(version.z, domain.classes(label))
        classifier = PapersClassifier(SEED).fit(train.z, train.labels)
        return Cell({}, {"said": budgets.guesses(classifier.score(test.z)).tolist()})

    cell = version.space.cells.cell(f"{case} {version.name} said {label} {SEED}", measure)
    return np.array(cell.notes["said"])


def confusion(truth: NDArray[np.int64], said: NDArray[np.int64]) -> NDArray[np.float64]:
    """How often a sample of each class, one a row, is taken for each class, one a column: [C, C], rows sum to 1.

    ``truth`` and ``said`` are [N]; each class from 0 to the largest occurs in ``truth``.
    """
    classes = int(truth.max()) + 1
    counts = np.zeros((classes, classes))
    np.add.at(counts, (truth, said), 1)
    return counts / counts.sum(axis=1, keepdims=True)


def names(domain: Domain, label: str) -> tuple[str, ...]:
    """What the classes of a label are called."""
    if label in domain.bundle.groups:
        return tuple(name.removeprefix(f"{label} ") for name in domain.bundle.groups[label])
    return "no", "yes"


def confusions(place: Place, case: Case) -> list[Sheet]:
    """A table for each label of the case: the confusion matrices of all versions, one below the other."""
    sheets = []
    for label in (case.private, case.utility):
        rows: list[tuple[str | Spread, ...]] = []
        for version in versions(place, case):
            domain = version.space.domain
            matrix = confusion(domain.classes(label)[domain.test], read(version, case, label))
            for name, shares in zip(names(domain, label), matrix, strict=True):
                rows.append((version.name, name, *(Spread((float(share),)) for share in shares)))
        caption = f"{label}: what the paper's classifier says (columns) of each true class (rows), seed {SEED}."
        head = ("release", "true", *(f"said {name}" for name in names(domain, label)))
        sheets.append(Sheet(caption, head, tuple(rows)))
    return sheets


def drawn(sheets: Sequence[Sheet]) -> Figure:
    """The tables of `confusions` as shades: a row of panels for each label, a panel for each version."""
    from matplotlib.figure import Figure

    releases = list(dict.fromkeys(str(row[0]) for row in sheets[0].rows))
    figure = Figure(figsize=(2.4 * len(releases), 2.8 * len(sheets)), dpi=DOTS_PER_INCH, layout="constrained")
    for sheet, panels in zip(sheets, figure.subplots(len(sheets), len(releases), squeeze=False), strict=True):
        classes = [head.removeprefix("said ") for head in sheet.head[2:]]
        for release, axes in zip(releases, panels, strict=True):
            lines = [row[2:] for row in sheet.rows if row[0] == release]
            matrix = [[share.mean for share in line if isinstance(share, Spread)] for line in lines]
            axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
            axes.set_xticks(range(len(classes)), classes)
            axes.set_yticks(range(len(classes)), classes)
            axes.tick_params(length=0, labelsize=7)
            axes.set_title(on_two_lines(release), fontsize=9)
            axes.set_xlabel("said", fontsize=8)
        panels[0].set_ylabel(f"true {sheet.caption.partition(':')[0]}", fontsize=8)
    return figure


def pictures(name: str, sheets: Sequence[Sheet]) -> Sequence[Picture]:
    """Those of figures 3 and 7, whose first sheet is that along the budget and whose others are `confusions`."""
    curves, *matrices = sheets
    return (
        Picture(name, "Accuracy of the paper's classifier along the budget.", budgets.drawn([curves]), of_people=False),
        Picture(
            f"{name}-confusion",
            f"What the paper's classifier says of each true class: white never, dark always; seed {SEED}.",
            drawn(matrices),
            of_people=False,
        ),
    )
