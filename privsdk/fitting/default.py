"""The default filter's fit: fair score, code, and the settings that hold a distortion budget."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import NotReachedError
from privsdk.filters.code import CodeFlow, ConditionalAffine, context
from privsdk.filters.flow import FlowFilter
from privsdk.fitting.asked import Asked
from privsdk.fitting.fair_score import Candidate, Candidates
from privsdk.fitting.material import Material, Part
from privsdk.fitting.wish import Wish
from privsdk.progress import Progress

if TYPE_CHECKING:
    from privsdk.bundle import Bundle

Floats = NDArray[np.float32]

FAIRNESS = (0.0, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 1.0)
# What a classifier that reads the utility score may lose; with the rest of what the filter costs, that becomes about
# .005.
UTILITY_LOST = 0.004
BLUR = 0.05  # of the user's own scores
DRAWS = 4
MATCHING = 2
POPULATION = 4096
SMALLER_A = (1.0, 0.75, 0.5, 0.25, 0.0)


def fit_flow(
    bundle: Bundle, wish: Wish, material: Material, asked: Asked, with_torch: bool, report: Progress
) -> tuple[FlowFilter, dict[str, Any]]:
    """The filter, and what was chosen on the way for the record."""
    hidden = wish.columns[: len(wish.private)]
    train, validation = material.train, material.validation
    rng = np.random.default_rng([asked.seed, 3])
    code = _code(bundle, wish, train, asked.seed, rng, with_torch, report)

    report("fair score", 0, 1)
    people, others = (_people(bundle, wish, part, rng) for part in (train, validation))
    candidates = Candidates(people, others, hidden, asked.seed)
    chosen = _chosen(candidates) if asked.fairness is None else candidates(asked.fairness)
    report("fair score", 1, 1)
    fitted = FlowFilter(
        bundle.scores.only(wish.attributes),
        bundle.flow,
        code,
        chosen.score,
        people[: np.sum(~train.own)][:POPULATION],
        sum(len(own) for own in hidden),
        asked.a,
        asked.rho,
    )
    seeds = rng.integers(0, 2**63, len(validation), dtype=np.uint64)
    if asked.budget is not None:
        fitted, chosen = _within_budget(fitted, chosen, candidates, validation, seeds, asked)
    released = fitted.perturb(validation.mean, validation.variance, seeds)
    moved = distortion(released, validation, bundle.used)
    residual = np.abs(fitted.scores.scores(released) - fitted.targets(validation.scores, seeds)).max(axis=1)
    return fitted, {
        "fairness": chosen.fairness,
        "fair_score_lost": chosen.lost,
        "fair_score_leakage": chosen.leakage,
        "a": fitted.a,
        "rho": fitted.rho,
        "budget": asked.budget,
        "distortion": moved,
        "distortion_share": moved / _apart(validation, bundle.used),
        "score_residual": float(np.quantile(residual, 0.99)),
    }


def _code(
    bundle: Bundle,
    wish: Wish,
    train: Part,
    seed: int,
    rng: np.random.Generator,
    with_torch: bool,
    report: Progress,
) -> CodeFlow:
    """f, learned stage by stage: a map for each label, and the couplings where torch is there."""
    drawn = []
    for done in range(DRAWS):
        drawn.append(bundle.flow.forward(train.draw(rng)))
        report("codes", done + 1, DRAWS)
    x = np.concatenate(drawn)
    scores = np.tile(train.scores, (DRAWS, 1))
    for _ in range(MATCHING):
        for label, columns in zip(wish.labels, wish.columns, strict=True):
            x = bundle.moments.matched(x, scores, label.attributes, columns)
    stages: list[ConditionalAffine] = []
    for columns in wish.columns:
        stages.append(ConditionalAffine.learned(x, columns, scores))
        x = stages[-1].forward(x, scores, rng.standard_normal(len(x), np.float32))
    code = CodeFlow(tuple(stages), None)
    if with_torch:
        from privsdk.fitting.code import train_couplings

        code = replace(code, couplings=train_couplings(x, context(scores, wish.columns), seed, report))
    return code


def _people(bundle: Bundle, wish: Wish, part: Part, rng: np.random.Generator) -> Floats:
    """Scores that go together as people's do: drawn in place of strangers', then the user's own, a little blurred.

    Tables of quantiles carry single scores, and a filter should carry nobody's.
    """
    drawn = bundle.joint_scores.draw(part.scores[~part.own], wish.attributes, rng)
    mine = part.scores[part.own]
    return np.concatenate([drawn, mine + BLUR * rng.standard_normal(mine.shape, np.float32)])


def _chosen(candidates: Candidates) -> Candidate:
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


def _within_budget(
    fitted: FlowFilter,
    chosen: Candidate,
    candidates: Candidates,
    validation: Part,
    seeds: NDArray[np.uint64],
    asked: Asked,
) -> tuple[FlowFilter, Candidate]:
    """Lowers a, then raises lambda unless it was asked for, until the distortion on validation latents is within the
    budget.
    """
    budget = float(asked.budget or 0)
    larger = [] if asked.fairness is not None else [weight for weight in FAIRNESS if weight > chosen.fairness]
    reached = []
    for choice in chain([chosen], map(candidates, larger)):
        for share in dict.fromkeys(value * asked.a for value in SMALLER_A):
            tried = replace(fitted, fair_score=choice.score, a=share)
            released = tried.perturb(validation.mean, validation.variance, seeds)
            reached.append(distortion(released, validation, tried.flow.used))
            if reached[-1] <= budget:
                return tried, choice
    raise NotReachedError(
        f"a distortion of at most {budget:g} was asked for, and {min(reached):.3g} is the least reached: "
        "allow a larger budget, or raise rho"
    )


def distortion(released: Floats, part: Part, used: NDArray[np.bool_]) -> float:
    """Mean ||z~ - z||^2 over the dimensions that the encoder uses, z the posterior mean."""
    return float(np.square(released - part.mean)[:, used].sum(axis=1).mean())


def _apart(part: Part, used: NDArray[np.bool_]) -> float:
    """The mean squared distance between the latents of two samples, over the same dimensions."""
    return float(2 * part.mean.var(axis=0)[used].sum())
