"""Table 3 by the published method: CelebA through a VAE without labels, and classifiers of faces as they are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from benchmarks.paper import raw_faces
from benchmarks.paper.budgets import nearest, published
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.measure import CLASSIFIER, STRONGEST, base_rate, before, called, measured, near, spread
from benchmarks.paper.place import Place
from benchmarks.paper.published import ACCURACY, AUROC, BALANCED, TABLE_3, TABLE_3_SMILING, Published, Row
from benchmarks.paper.sheet import NOTHING, Sheet, Spread, goals

UTILITY = "Smiling"
RAW, UNFILTERED, FILTERED = "raw faces", "VAE", "filter"
PRINTED = {RAW: "raw faces (Liu et al.)", UNFILTERED: "VAE-emb", FILTERED: "VAE-g-filter"}
HEAD = (
    "label",
    "base rate",
    *(f"{name}, {whose}" for name in PRINTED for whose in ("published", "ours")),
    "filter's budget, lambda",
    "filter, strongest",
    f"{BALANCED}, filter, strongest",
    f"{AUROC}, filter, strongest",
    f"{UTILITY}, filter",
)


def printed(name: str, label: str) -> float:
    """What the paper's Table 3 has of a label."""
    return (TABLE_3_SMILING if label == UTILITY else TABLE_3[label])[PRINTED[name]]


def row_of(name: str, *labels: str) -> Row:
    return {label: {ACCURACY: Published(printed(name, label))} for label in labels}


def measure(place: Place) -> Sequence[Sheet]:
    space = place.published("faces")
    domain = space.domain
    private = place.few(TABLE_3)
    raw = [
        space.cells.cell(
            f"raw faces {seed}",
            partial(raw_faces.told, domain, [*private, UTILITY], place.folder(f"raw-faces/{seed}"), place.quick, seed),
        )
        for seed in place.seeds
    ]
    rows: list[tuple[str | Spread, ...]] = []
    lines = []
    for label in private:
        setting = nearest(place, space, label, UTILITY, (), row_of(FILTERED, label, UTILITY))
        fit = partial(published, space, label, UTILITY, setting)
        cells = {
            RAW: raw,
            UNFILTERED: before(place, space, label),
            FILTERED: measured(place, space, str(setting), space.through(fit, label), label, (UTILITY,)),
        }
        own = {name: spread(found, called(label, ACCURACY, CLASSIFIER)) for name, found in cells.items()}
        rows.append(
            (
                label,
                f"{base_rate(domain.classes(label)[domain.test]):.3f}",
                *(entry for name in PRINTED for entry in (f"{printed(name, label):.2f}", own[name])),
                f"{setting.budget:g}, {setting.weight:g}",
                *(spread(cells[FILTERED], called(label, one, STRONGEST)) for one in (ACCURACY, BALANCED, AUROC)),
                spread(cells[FILTERED], called(UTILITY, ACCURACY, CLASSIFIER)),
            )
        )
        lines += [line for name in PRINTED for line in near(f"{label}: {name}", cells[name], row_of(name, label))]
        lines += near(f"{label}: {FILTERED}", cells[FILTERED], row_of(FILTERED, UTILITY))
    rows.append(
        (
            UTILITY,
            f"{base_rate(domain.classes(UTILITY)[domain.test]):.3f}",
            f"{printed(RAW, UTILITY):.2f}",
            spread(raw, called(UTILITY, ACCURACY, CLASSIFIER)),
            f"{printed(UNFILTERED, UTILITY):.2f}",
            spread(before(place, space, UTILITY), called(UTILITY, ACCURACY, CLASSIFIER)),
            f"{printed(FILTERED, UTILITY):.2f}",
            Spread(tuple(np.mean([row[-1].values for row in rows], axis=0).tolist())),  # type: ignore[union-attr]
            *(NOTHING,) * 5,
        )
    )
    return Sheet(CAPTION, HEAD, tuple(rows)), goals(lines)


CAPTION = (
    "CelebA, each label hidden and Smiling kept. Accuracies are of the paper's classifier; of raw faces, of the "
    "network that the central trainer learns attributes with; *strongest* is the most of nine attackers."
)

TEXT = """
Ours: classifiers of raw faces come within .03 of the paper's for all labels. Through a VAE that knows no label Young,
Attractive, High_Cheekbones and Wavy_Hair are told .05 to .10 worse than in the paper, and Smiling .07 worse (.793,
not .86). So the filter starts with less. It is within .03 of the paper for Young, Big_Lips, Big_Nose and Eyeglasses,
where both are near the base rate, and for Wavy_Hair; Male stays .12 above the paper's .61, Attractive .03, and
High_Cheekbones is .10 below; Smiling is .04 to .08 below the paper's .83. Budgets (three) and lambda (two) were
searched for, and no setting hides Male and keeps Smiling as theirs does. Fresh attackers read Male in its releases
with an AUROC of .80. Theirs: the paper's VAE learned from 182,000 faces, ours from 17,712. Why they differ: that is
the likeliest reason, as three other ways to train the VAE gave no more (accuracy of Smiling and Male on the valid
partition by the paper's classifier, one seed, trained on a GPU: the paper's own dense networks .758 and .872; in 10
epochs a KL term of weight 1 .783 and .866, of .02 .784 and .876; `python -m benchmarks.paper.autoencoder --network
dense`, `--epochs 10 --divergence 1`). What would settle it: all of CelebA. On a processor the training of the VAE
takes hours, and that of each raw-face network a quarter of an hour; both are timed apart, and can be run ahead
(`python -m benchmarks.paper.autoencoder`).
"""

EXPERIMENT = Experiment("faces", "Table 3, the published method: CelebA through a VAE without labels", TEXT, measure)
