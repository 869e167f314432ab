"""Users of different wishes, whose releases meet on one server.

The people of the training partition are cut at random into parts of one size: one for each user, the others public.
Each user fits on his own part and the public ones, knowing nothing of the others, and releases all that is his.  On the
server lie all users' releases and, as they are, samples of the public parts; of the public ones as many as bring the
whole to 20,000.  Classifiers learn from all of that with true labels, whoever released it: of other users' releases
too, who hide what they are to tell.  They are scored on the test partition, of which each user holds an equal share.

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
from benchmarks.paper import filters
from benchmarks.paper.budgets import Setting
from benchmarks.paper.measure import STRONGEST, Figures, Parts, kept, told
from benchmarks.paper.place import Floats, Space
from export.datasets.labelled import TEST, TRAIN, VALID
from privsdk.auditing import metrics
from privsdk.auditing.attackers import Attacker
from privsdk.auditing.protocols import Released
from privsdk.codec import Latents
from privsdk.filters import Filter

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class User:
    """``number`` is which part is his."""

    number: int
    private: str
    utility: str

    @property
    def name(self) -> str:
        return f"user {self.number + 1}"


# What a user whose filter was fitted on these rows releases of every sample, with a seed: float32 [samples, Z].
Release = Callable[[User, Rows, int], Floats]
KEYS = 100  # of users, for each seed: each has a device, and a key, of his own


def shared_out(identity: NDArray[np.integer], rows: Rows, parts: int) -> list[Rows]:
    """``rows`` in so many disjoint parts, each with as many people, drawn at random, whose ``identity`` is [N] of all.

    A rest of people who fill no part is nobody's.
    """
    people = np.random.default_rng(0).permutation(np.unique(identity[rows]))
    groups = np.split(people[: len(people) // parts * parts], parts)
    return [rows[np.isin(identity[rows], group)] for group in groups]


@dataclass(frozen=True, eq=False)
class Server:
    """What lies on the server: ``z`` float32 [N, Z] of the samples in ``rows``.

    ``released`` is what each user's filter makes of every sample, float32 [samples, Z], whoever's it is; ``own`` are
    the rows of the training partition that are his.
    """

    z: Floats
    rows: Rows
    released: tuple[Floats, ...]
    own: tuple[Rows, ...]

    @classmethod
    def of(cls, space: Space, users: Sequence[User], parts: int, release: Release, seed: int) -> Server:
        """With the training partition in so many ``parts``."""
        data = space.domain.data
        shares = shared_out(data.identity, np.flatnonzero(data.partition == TRAIN), parts)
        own, public = tuple(shares[: len(users)]), np.concatenate(shares[len(users) :])
        released = tuple(release(user, np.concatenate([own[user.number], public]), seed) for user in users)
        shown = public[: max(MOST_TRAINING - sum(map(len, own)), 0)]
        sent = [z[rows] for z, rows in zip(released, own, strict=True)]
        z = np.concatenate([*sent, space.latents.mean[shown]])
        return cls(z, np.concatenate([*own, shown]), released, own)


def held_by_users(space: Space, partition: int, users: Sequence[User]) -> list[Rows]:
    """The samples of a partition that each user holds."""
    data = space.domain.data
    return shared_out(data.identity, np.flatnonzero(data.partition == partition), len(users))


def unfiltered(space: Space, user: User, rows: Rows, seed: int) -> Floats:
    """The posterior means as they are: nothing is hidden."""
    return space.latents.mean


def published(space: Space, setting: Setting, user: User, rows: Rows, seed: int) -> Floats:
    """By the published method."""
    data = space.data(user.private, [user.utility], rows)
    return through(space, filters.published(data, setting.budget, seed, setting.weight, space.quick), user, seed)


def default(space: Space, user: User, rows: Rows, seed: int) -> Floats:
    """By the default filter as it comes, fitted on these latents (at most 20,000) beside those in the bundle."""
    rows = rows[:MOST_TRAINING]
    latents = Latents(space.latents.mean[rows], space.latents.variance[rows])
    labels = {label: space.domain.classes(label)[rows] for label in (user.private, user.utility)}
    made = privsdk.fit(space.domain.bundle, user.private, user.utility, data=latents, labels=labels, seed=seed)
    return through(space, made.filter, user, seed)


def bundled(space: Space, user: User, rows: Rows, seed: int) -> Floats:
    """By the default filter as it comes, fitted on the latents in the bundle alone."""
    return through(space, privsdk.fit(space.domain.bundle, user.private, user.utility, seed=seed).filter, user, seed)


def through(space: Space, filter_: Filter, user: User, seed: int) -> Floats:
    return space.perturbed(filter_, user.private, KEYS * seed + user.number)


def pooled(
    space: Space, users: Sequence[User], parts: int, release: Release, attackers: Sequence[type[Attacker]], seed: int
) -> Cell:
    """What classifiers tell of every user's labels that learn from all that lies on the server."""
    domain, server = space.domain, Server.of(space, users, parts, release, seed)
    valid, test = (held_by_users(space, partition, users) for partition in (VALID, TEST))
    figures: Figures = {}
    for user, own_z in zip(users, server.released, strict=True):
        weights = metrics.resampled(domain.data.identity[test[user.number]])

        def parts_of(label: str, z: Floats, rows: Rows, own_z: Floats = own_z, user: User = user) -> Parts:
            classes, identity = domain.classes(label), domain.data.identity
            held_out = (
                Released(own_z[own], classes[own], identity[own]) for own in (valid[user.number], test[user.number])
            )
            return Released(z, classes[rows], identity[rows]), *held_out

        seek = partial(told, label=user.private, attackers=attackers, seed=seed, weights=weights)
        own = server.own[user.number]
        together = seek(parts_of(user.private, server.z, server.rows))
        alone = seek(parts_of(user.private, own_z[own], own))
        found = {
            name: max(one, alone[name], key=attrgetter("value")) if name.endswith(STRONGEST) else one
            for name, one in together.items()
        }
        found |= kept(parts_of(user.utility, server.z, server.rows), user.utility, seed, weights)
        figures |= {f"{user.name} {name}": one for name, one in found.items()}
    return Cell(figures)


def of_user(cell: Cell, user: User) -> Cell:
    """The figures of one user alone, under their usual names."""
    start = f"{user.name} "
    return Cell({name.removeprefix(start): one for name, one in cell.figures.items() if name.startswith(start)})
