"""The default filter's dials lambda, rho and a, and how they are chosen: by utility, by distortion or by leakage."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import NotReachedError
from privsdk.filters.code import CodeFlow
from privsdk.filters.couplings import PublicFlow
from privsdk.filters.flow import FlowFilter
from privsdk.filters.scores import ScoreNetwork
from privsdk.fitting import check
from privsdk.fitting.asked import Asked
from privsdk.fitting.check import Attacker
from privsdk.fitting.fair_score import Candidate, Candidates
from privsdk.fitting.material import Part
from privsdk.fitting.wish import Wish
from privsdk.progress import Progress

Floats = NDArray[np.float32]
Seeds = NDArray[np.uint64]

FAIRNESS = (0.0, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 1.0)
RHOS = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
A = (1.0, 0.75, 0.5, 0.25, 0.0)
# What a classifier that reads the utility score may lose; with the rest of what the filter costs, that becomes about
# .005.
UTILITY_LOST = 0.0055
# Attackers on validation latents see as many releases as those of the check do: 4/5 of 15% against a half of 25%.
FOLDS = 5
# An attacker's AUROC varies twice as much as that of a given score would (Mann and Whitney): over eight fits for faces
# validation and check part differed by that much, since what it learns varies with the latents that it is trained on.
SPREAD = 2.0
MOST_TRIALS = 1 + len(FAIRNESS).bit_length() + len(RHOS).bit_length() + len(A).bit_length()


@dataclass(frozen=True, eq=False)
class Parts:
    """All of the default filter but what the dials set; ``candidates`` makes the fair score of each lambda."""

    scores: ScoreNetwork
    flow: PublicFlow
    code: CodeFlow
    population: Floats
    private: int
    candidates: Candidates

    def filter(self, choice: Candidate, a: float, rho: float) -> FlowFilter:
        """The filter with this fair score, ``a`` and ``rho``."""
        return FlowFilter(self.scores, self.flow, self.code, choice.score, self.population, self.private, a, rho)


def by_utility(candidates: Candidates) -> Candidate:
    """The one of the largest lambda that keeps the utility labels; what is lost rises with lambda."""
    kept, left = candidates(FAIRNESS[0]), list(FAIRNESS[1:])
    while left:
        middle = len(left) // 2
        tried = candidates(left[middle])
        if tried.lost <= UTILITY_LOST:
            kept, left = tried, left[middle + 1 :]
        else:
            left = left[:middle]
    return kept


def within_budget(
    parts: Parts, chosen: Candidate, validation: Part, seeds: Seeds, asked: Asked
) -> tuple[FlowFilter, Candidate]:
    """Lowers a, then raises lambda unless it was asked for, until the distortion on validation latents is within the
    budget.
    """
    budget = asked.bound or 0
    larger = [] if asked.fairness is not None else [weight for weight in FAIRNESS if weight > chosen.fairness]
    reached = []
    for choice in chain([chosen], map(parts.candidates, larger)):
        for share in dict.fromkeys(value * asked.a for value in A):
            tried = parts.filter(choice, share, asked.rho)
            released = tried.perturb(validation.mean, validation.variance, seeds)
            reached.append(distortion(released, validation, tried.flow.used))
            if reached[-1] <= budget:
                return tried, choice
    raise NotReachedError(
        f"a distortion of at most {budget:g} was asked for, and {min(reached):.3g} is the least reached: "
        "allow a larger budget, or raise rho"
    )


@dataclass(frozen=True, eq=False)
class Trial:
    """A setting of the dials, and the private label (or combination) that has the least to spare.

    ``leakage`` is that of the strongest attacker on validation latents plus ``gap``, the bundle's; ``margin`` what the
    check part may show more, and ``spare`` how many times that fits between the leakage and the largest allowed.
    """

    choice: Candidate
    rho: float
    a: float
    label: str
    leakage: float
    gap: float
    margin: float
    spare: float


def by_leakage(
    parts: Parts,
    validation: Part,
    checked: int,
    seeds: Seeds,
    wish: Wish,
    max_leakage: float,
    attackers: Mapping[str, Attacker],
    gaps: Mapping[str, float],
    on_progress: Progress,
) -> Trial:
    """The dials that keep the most utility, then those of the least distortion, among those that leak little enough.

    rho costs the utility label nothing, its score being set apart, while lambda is paid in utility; so first the
    smallest lambda is sought at which the smallest rho reaches the aim, then the largest rho that still does, then the
    smallest a: a borrowed score that is drawn moves a latent further than the mean does.  Leakage falls with lambda,
    1 - rho and, a little, a, so each is halved in, with the same draws in all trials.

    What is aimed at lies under ``max_leakage`` by a margin, one standard error of the difference between two
    measurements, this one and that on the ``checked`` latents of the check part: five times in six, the latter is then
    allowed too.  Where the strongest setting has less to spare, as much as that has.

    :raises NotReachedError: the strongest setting leaks more than ``max_leakage``.
    """
    done = 0
    wider = SPREAD * sqrt(1 + len(validation) / min(checked, check.ROWS))

    @cache
    def candidate(fairness: float) -> Candidate:
        return parts.candidates(fairness)

    @cache
    def trial(fairness: float, rho: float, a: float) -> Trial:
        nonlocal done
        choice = candidate(fairness)
        released = parts.filter(choice, a, rho).perturb(validation.mean, validation.variance, seeds)
        found = check.private_labels(partial(check.strongest, folds=FOLDS), attackers, released, validation, wish, gaps)
        done += 1
        on_progress("dials", done, MOST_TRIALS)
        of_labels = []
        for label, one in found.items():
            leakage, margin = one["leakage"] + one["gap"], wider * one["standard_error"]
            spare = (max_leakage - leakage) / margin
            of_labels.append(Trial(choice, rho, a, label, leakage, one["gap"], margin, spare))
        return min(of_labels, key=lambda one: one.spare)

    def first(values: tuple[float, ...], of: Callable[[float], Trial]) -> float:
        """The first of them that reaches the aim; the last is known to."""
        return values[bisect_left(values[:-1], aim, key=lambda value: min(of(value).spare, aim))]

    strongest = trial(FAIRNESS[-1], RHOS[-1], A[0])
    if strongest.spare < 0:
        raise _not_reached(strongest, max_leakage)
    aim = min(strongest.spare, 1.0)
    fairness = first(FAIRNESS, lambda fairness: trial(fairness, RHOS[-1], A[0]))
    rho = first(RHOS, lambda rho: trial(fairness, rho, A[0]))
    a = first(A[::-1], lambda a: trial(fairness, rho, a))
    on_progress("dials", MOST_TRIALS, MOST_TRIALS)
    return trial(fairness, rho, a)


def _not_reached(strongest: Trial, max_leakage: float) -> NotReachedError:
    enough = ceil(round(1000 * min(strongest.leakage + strongest.margin, 1), 3)) / 1000
    return NotReachedError(
        f"a leakage of at most {max_leakage:g} is not reached: at the strongest setting of the dials (fairness "
        f"{strongest.choice.fairness:g}, rho {strongest.rho:g}, a {strongest.a:g}) {strongest.label} leaks "
        f"{strongest.leakage:.3f} on validation latents, {strongest.gap:.3f} of it for real samples, and the check may "
        f"find {strongest.margin:.3f} more: ask for {enough:.3f} or more, or hide another label"
    )


def distortion(released: Floats, part: Part, used: NDArray[np.bool_]) -> float:
    """Mean ||z~ - z||^2 over the dimensions that the encoder uses, z the posterior mean."""
    return float(np.square(released - part.mean)[:, used].sum(axis=1).mean())


def apart(part: Part, used: NDArray[np.bool_]) -> float:
    """The mean squared distance between the latents of two samples, over the same dimensions."""
    return float(2 * part.mean.var(axis=0)[used].sum())
