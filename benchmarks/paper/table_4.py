"""Table 4: two users of opposite wishes, whose releases meet on one server.

The training partition is cut at random into ten equal parts: one of user 1, one of user 2, eight that are public.
User 1 hides whether a digit is at least 5 and keeps parity, user 2 the reverse.  Each fits on his own part and the
public ones, knowing nothing of the other, and releases all that is his.  On the server lie both users' releases and, as
they are, digits of the public parts; of the public ones as many as bring the whole to 20,000, so that most of what the
server has was released.  Classifiers learn from all of that with true labels, whoever released it: of user 2's releases
too, whose parity is another's, when they learn to tell parity in user 1's.  They are scored on digits of the test
partition, of which half is each user's, released by him.

A server knows who sent what.  So every attacker on a private label is also trained on that user's releases alone, and
the strongest of both kinds counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

import privsdk
from benchmarks.cells import Cell
from benchmarks.domains import MOST_TRAINING
from benchmarks.frontier.tasks import at_least
from benchmarks.paper import filters
from benchmarks.paper.budgets import DEFAULT, PUBLISHED, nearest
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.measure import STRONGEST, Figures, Parts, base_rate, beside, goal, kept, near, told
from benchmarks.paper.place import Floats, Place, Space
from benchmarks.paper.published import ACCURACY, TABLE_4
from benchmarks.paper.sheet import Sheet, goals
from benchmarks.table import Goal
from export.datasets.labelled import TEST, TRAIN, VALID
from privsdk.auditing import metrics
from privsdk.auditing.protocols import Released
from privsdk.codec import Latents
from privsdk.filters import Filter

Rows = NDArray[np.int64]

PARTS = 10
OTHER = "Circle"
PRIVATE_GOAL, UTILITY_GOAL = Goal(0.62), at_least(0.955)


@dataclass(frozen=True)
class User:
    """``number`` is which part is his."""

    number: int
    private: str
    utility: str

    @property
    def name(self) -> str:
        return f"user {self.number + 1}"


USERS = (User(0, "At least 5", "Even"), User(1, "Even", "At least 5"))


def shared_out(rows: Rows, parts: int) -> list[Rows]:
    """``rows`` in so many disjoint parts of one size, drawn at random; a rest that fills no part is nobody's."""
    drawn = np.random.default_rng(0).permutation(rows)
    return np.split(drawn[: len(rows) // parts * parts], parts)


def measure(place: Place) -> Sequence[Sheet]:
    plain, shipped = place.published("digits"), place.shipped("digits")
    budgets = [nearest(place, plain, one.private, one.utility, (OTHER,), TABLE_4[one.name]) for one in USERS]
    as_published = f"{PUBLISHED}, budgets {' and '.join(f'{budget:g}' for budget in budgets)}"

    def published(user: User, rows: Rows, seed: int) -> Filter:
        return filters.published(plain.data(user.private, [user.utility], rows), budgets[user.number], seed)

    methods = {as_published: (plain, published), DEFAULT: (shipped, partial(default, shipped))}
    cells = {
        method: [
            space.cells.cell(f"two users {method} {seed}", partial(pooled, space, fit, seed)) for seed in place.seeds
        ]
        for method, (space, fit) in methods.items()
    }
    sheets, lines = [], []
    for user in USERS:
        found = {method: [of_user(one, user) for one in those] for method, those in cells.items()}
        held = shipped.domain.test
        rates = {label: base_rate(shipped.domain.classes(label)[held]) for label in (user.private, user.utility)}
        caption = f"{user.name.capitalize()}, who hides {user.private.lower()} and keeps {user.utility.lower()}:"
        sheets.append(beside(rates, found, dict.fromkeys(methods, TABLE_4[user.name]), caption))
        lines += near(f"{user.name}, {as_published}", found[as_published], TABLE_4[user.name])
        for label, limit in ((user.private, PRIVATE_GOAL), (user.utility, UTILITY_GOAL)):
            lines.append(goal(f"{user.name}, {DEFAULT}", found[DEFAULT], label, ACCURACY, limit))
    return *sheets, goals(lines)


def default(space: Space, user: User, rows: Rows, seed: int) -> Filter:
    """The default filter as it comes, fitted on these latents (at most 20,000) beside those in the bundle."""
    rows = rows[:MOST_TRAINING]
    latents = Latents(space.latents.mean[rows], space.latents.variance[rows])
    labels = {label: space.domain.classes(label)[rows] for label in (user.private, user.utility)}
    return privsdk.fit(space.domain.bundle, user.private, user.utility, data=latents, labels=labels, seed=seed).filter


def pooled(space: Space, fit: Callable[[User, Rows, int], Filter], seed: int) -> Cell:
    """What classifiers tell of both users' labels that learn from all that lies on the server."""
    domain = space.domain
    first, second, *rest = shared_out(np.flatnonzero(domain.data.partition == TRAIN), PARTS)
    public = np.concatenate(rest)
    own = (first, second)
    released = [
        # Two devices: of different keys, too.
        space.perturbed(
            fit(user, np.concatenate([own[user.number], public]), seed), user.private, 2 * seed + user.number
        )
        for user in USERS
    ]
    shown = public[: max(MOST_TRAINING - len(first) - len(second), 0)]
    z = np.concatenate([released[0][first], released[1][second], space.latents.mean[shown]])
    rows = np.concatenate([first, second, shown])

    valid, test = (shared_out(np.flatnonzero(domain.data.partition == one), len(USERS)) for one in (VALID, TEST))

    figures: Figures = {}
    for user, own_z in zip(USERS, released, strict=True):

        def parts(label: str, pool: Floats, pool_rows: Rows, own_z: Floats = own_z, user: User = user) -> Parts:
            classes = domain.classes(label)
            held_out = (Released(own_z[half], classes[half], half) for half in (valid[user.number], test[user.number]))
            return Released(pool, classes[pool_rows], pool_rows), *held_out

        weights = metrics.resampled(test[user.number])
        part = own[user.number]
        together = told(parts(user.private, z, rows), user.private, space.attackers, seed, weights)
        alone = told(parts(user.private, own_z[part], part), user.private, space.attackers, seed, weights)
        found = {
            name: max(one, alone[name], key=attrgetter("value")) if name.endswith(STRONGEST) else one
            for name, one in together.items()
        }
        found |= kept(parts(user.utility, z, rows), user.utility, seed, weights)
        figures |= {f"{user.name} {name}": one for name, one in found.items()}
    return Cell(figures)


def of_user(cell: Cell, user: User) -> Cell:
    """The figures of one user alone, under their usual names."""
    start = f"{user.name} "
    return Cell({name.removeprefix(start): one for name, one in cell.figures.items() if name.startswith(start)})


TEXT = """
The paper fits each filter on the user's own part alone and trains classifiers on that and the public ones; ours fits
all on both. The paper does not say on which samples its figures were taken; ours are held-out ones, and attackers may
also be trained on one user's releases alone, which is the stronger attack where public digits dilute the other.
Budgets were searched for with one owner of all digits, not with two users, and are too large here: the published
method hides more than the paper's and keeps less, by .045 to .062; smaller ones were not tried. The default filter is
ahead of the paper in all four. What would settle it: a search with two users, and the paper's code.
"""

EXPERIMENT = Experiment("Table 4: two users of opposite wishes, digits", TEXT, measure)
