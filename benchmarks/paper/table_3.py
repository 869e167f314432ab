"""Table 3, CelebA: each of eight labels hidden, Smiling kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.cells import Cell
from benchmarks.frontier.ceilings import ceilings
from benchmarks.frontier.measure import measured, unfiltered
from benchmarks.frontier.tasks import TASKS, Task
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.measure import base_rate, spread
from benchmarks.paper.place import Place
from benchmarks.paper.published import ACCURACY, AUROC, BALANCED, TABLE_3, TABLE_3_SMILING
from benchmarks.paper.sheet import NOTHING, Sheet, Spread, goals
from benchmarks.table import Goal, Line
from privsdk.auditing.metrics import Estimate

UTILITY = "Smiling"
DEFAULT = "flow"
PUBLISHED_ROWS = ("raw faces (Liu et al.)", "VAE-emb", "VAE-g-filter")
HEAD = (
    "label",
    "base rate",
    *(f"{ACCURACY}, {row}" for row in PUBLISHED_ROWS),
    f"{ACCURACY}, unfiltered",
    f"{ACCURACY}, default filter",
    f"{BALANCED}, default filter",
    f"{AUROC}, default filter",
    f"{AUROC} of the true {UTILITY}",
    f"{UTILITY}, accuracy lost",
)
MOST_MORE = 0.01  # accuracy over what the base rate or the true utility label gives
MOST_BEYOND = 0.03  # leakage over the label ceiling
MOST_LOST = 0.005


def tasks(place: Place) -> dict[str, Task]:
    """For each label what the default filter is asked; of a quick run the first alone."""
    return {label: TASKS["male" if label == "Male" else f"{label}, smiling"] for label in place.few(TABLE_3)}


def measure(place: Place) -> Sequence[Sheet]:
    domain = place.faces()
    rows: list[tuple[str | Spread, ...]] = []
    lines: list[Line] = []
    hidden: list[list[float]] = []
    for label, task in tasks(place).items():
        limits = ceilings(domain, task)
        before = [unfiltered(domain, label, seed) for seed in place.seeds]
        after = [measured(domain, task, DEFAULT, seed) for seed in place.seeds]
        rate = base_rate(domain.classes(label)[domain.test])
        told = max(rate, limits[f"accuracy of the true utility labels {label}"].value)
        hidden.append([one[f"accuracy {label}"].value for one in after])
        rows.append(
            (
                label,
                f"{rate:.3f}",
                *(f"{TABLE_3[label][row]:.2f}" for row in PUBLISHED_ROWS),
                spread(before, f"accuracy {label}"),
                spread(after, f"accuracy {label}"),
                spread(after, f"balanced accuracy {label}"),
                spread(after, f"leakage {label}"),
                f"{limits[f'label ceiling {label}'].value:.3f}",
                spread(after, f"lost {UTILITY}"),
            )
        )
        beyond = [one[f"leakage {label}"] - limits[f"label ceiling {label}"] for one in after]
        lines += [
            Line(label, "accuracy over what can be had", over(after, f"accuracy {label}", told), Goal(MOST_MORE)),
            Line(label, "leakage beyond the label ceiling", beyond, Goal(MOST_BEYOND)),
            Line(label, f"{UTILITY}, accuracy lost", [one[f"lost {UTILITY}"] for one in after], Goal(MOST_LOST)),
        ]
    published = (f"{np.mean([row[name] for row in TABLE_3.values()]):.2f}" for name in PUBLISHED_ROWS)
    mean = Spread(tuple(np.mean(hidden, axis=0).tolist()))
    rows.append(("mean", NOTHING, *published, NOTHING, mean, *(NOTHING,) * 4))
    kept = [unfiltered(domain, UTILITY, seed) for seed in place.seeds]
    smiling = (f"{TABLE_3_SMILING[row]:.2f}" for row in PUBLISHED_ROWS)
    rows.append((UTILITY, NOTHING, *smiling, spread(kept, f"accuracy {UTILITY}"), *(NOTHING,) * 5))
    return Sheet(CAPTION, HEAD, tuple(rows)), goals(lines)


def over(cells: Sequence[Cell], figure: str, limit: float) -> list[Estimate]:
    """By how much a figure exceeds a number."""
    return [Estimate(one[figure].value - limit, one[figure].draws - limit) for one in cells]


CAPTION = (
    "CelebA, each label hidden and Smiling kept; of the default filter what the most accurate, or the strongest, of "
    "eight attackers tells, trained on released training people or on people whom nothing has seen."
)

TEXT = """
Five of the paper's eight rows equal, or nearly equal, what naming the commonest kind gives, so accuracy says little
there: balanced accuracy and AUROC stand beside it. Accuracy over what can be had stays within .01 for all eight
labels (of Male just so); the leakage is more than .03 beyond the label ceiling for Young (.052) and Big_Nose (.036),
and more of Smiling than .005 is lost with High_Cheekbones (.009): there we are behind what we wanted, by means whose
intervals hold both. The paper's row of the VAE is of 182,000 training faces, ours of 17,712, through an encoder that
was trained to show all 40 labels. Its filter is judged by a classifier as it was trained with, ours by the strongest
of eight that are trained afresh under two protocols. The published method on a VAE without labels, and the raw faces,
are the next table; High_Cheekbones along lambda is the one after. What would settle it: the whole of CelebA.
"""

EXPERIMENT = Experiment("faces", "Table 3: CelebA, eight labels hidden one by one, Smiling kept", TEXT, measure)
