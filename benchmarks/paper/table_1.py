"""Table 1, MNIST case 2: at least 5 hidden, parity kept, and the circle that nobody named."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks.frontier.tasks import TASKS
from benchmarks.paper import filters
from benchmarks.paper.budgets import nearest, published
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.measure import base_rate, beside, goal, measured, near
from benchmarks.paper.place import Place
from benchmarks.paper.published import ACCURACY, TABLE_1
from benchmarks.paper.sheet import Sheet, goals

PRIVATE, UTILITY, OTHER = "At least 5", "Even", "Circle"
DEFAULTS = {
    "default filter": "at least 5, parity",
    "default filter, circle kept too": "at least 5, parity and circle",
}


def measure(place: Place) -> Sequence[Sheet]:
    plain, shipped = place.published("digits"), place.shipped("digits")
    setting = nearest(place, plain, PRIVATE, UTILITY, (OTHER,), TABLE_1["emb-g-filter"])
    as_published = str(setting)
    defaults = {name: DEFAULTS[name] for name in place.few(DEFAULTS)}
    releases = {
        "unfiltered, VAE": (plain, plain.means),
        "unfiltered, bundle": (shipped, shipped.means),
        as_published: (plain, plain.through(partial(published, plain, PRIVATE, UTILITY, setting), PRIVATE)),
        **{
            name: (shipped, shipped.through(partial(filters.default, shipped, task), PRIVATE))
            for name, task in defaults.items()
        },
    }
    cells = {
        name: measured(place, space, name, release, PRIVATE, (UTILITY, OTHER))
        for name, (space, release) in releases.items()
    }
    test = shipped.domain.test
    rates = {label: base_rate(shipped.domain.classes(label)[test]) for label in (PRIVATE, UTILITY, OTHER)}
    printed = {
        "unfiltered, VAE": TABLE_1["emb-raw"],
        **dict.fromkeys((as_published, *defaults), TABLE_1["emb-g-filter"]),
    }
    lines = near(as_published, cells[as_published], TABLE_1["emb-g-filter"])
    lines += [
        goal(name, cells[name], figure.removeprefix(f"{ACCURACY} "), ACCURACY, limit)
        for name, task in defaults.items()
        for figure, limit in TASKS[task].goals.items()
    ]
    return beside(rates, cells, printed, CAPTION), goals(lines)


CAPTION = (
    "MNIST, at least 5 hidden and parity kept; the default filter of the second row is asked to keep the circle too."
)

TEXT = """
Ours: of seven budgets and three weights lambda of the adversary the published method comes nearest to the paper with
a budget of 12 and a lambda of 3, within .03 for the two labels that it is told of. The circle, which it is not told
of, falls further than the paper's (.798, not .900), and no setting has all three within .03: a smaller lambda keeps
more parity and more of the circle, and hides less (lambda 1, budget 24, valid partition, one fit: .656, .903, circle
.785; lambda .3: .753, .940, .843). Theirs: .687, .899 and .900, without a budget, a divergence or lambda. Why they
differ: the paper's adversary may have been weaker, or its autoencoder another (ours is convolutional); a filter that
moves latents less in the directions of the circle than ours has spent its budget otherwise. Stronger attackers read
far more of the published method's releases than its own classifier does. What would settle it: the paper's code, or a
search over other autoencoders. The default filter starts from another encoder, whose latents were trained to show
these labels: the unfiltered rows say how much that gives.
"""

EXPERIMENT = Experiment(
    "digits", "Table 1: MNIST, at least 5 hidden, parity kept, and a circle that nobody named", TEXT, measure
)
