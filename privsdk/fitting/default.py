"""The default filter's fit: code, fair score, and the dials as they were asked for or are chosen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.code import CodeFlow, ConditionalAffine, context
from privsdk.filters.flow import FlowFilter
from privsdk.filters.joint_scores import JointScores
from privsdk.fitting.asked import Asked
from privsdk.fitting.dials import Parts, apart, by_leakage, by_utility, distortion, within_budget
from privsdk.fitting.engines.engine import FOR_CLASSES, PLAIN, Engine
from privsdk.fitting.fair_score import Candidates
from privsdk.fitting.material import FitBundle, Material, Part
from privsdk.fitting.wish import Wish
from privsdk.progress import Progress

Floats = NDArray[np.float32]

BLUR = 0.05  # of the user's own scores
DRAWS = 4
MATCHING = 2
POPULATION = 4096


def fit_flow(
    bundle: FitBundle, wish: Wish, material: Material, asked: Asked, engine: Engine, report: Progress
) -> tuple[FlowFilter, dict[str, Any]]:
    """The filter, and what was chosen on the way for the record."""
    validation = material.validation
    rng = np.random.default_rng([asked.seed, 3])
    parts = learn(bundle, wish, material, asked.seed, rng, engine, report)
    seeds = rng.integers(0, 2**63, len(validation), dtype=np.uint64)
    recorded: dict[str, Any] = {}
    if asked.budget == "auto":
        attackers = engine.attackers(asked.seed)
        aim, checked = float(asked.max_leakage or 1), len(material.check)
        trial = by_leakage(parts, validation, checked, seeds, wish, aim, attackers, bundle.gaps, report)
        chosen, fitted = trial.choice, parts.filter(trial.choice, trial.a, trial.rho)
        recorded = {"validation_leakage": trial.leakage, "margin": trial.margin}
    else:
        report("fair score", 0, 1)
        chosen = by_utility(parts.candidates) if asked.fairness is None else parts.candidates(asked.fairness)
        report("fair score", 1, 1)
        fitted = parts.filter(chosen, asked.a, asked.rho)
        if asked.bound is not None:
            fitted, chosen = within_budget(parts, chosen, validation, seeds, asked)
    released = fitted.perturb(validation.mean, validation.variance, seeds)
    moved = distortion(released, validation, bundle.used)
    residual = np.abs(fitted.scores.scores(released) - fitted.targets(validation.scores, seeds)).max(axis=1)
    return fitted, recorded | {
        "fairness": chosen.fairness,
        "fair_score_lost": chosen.lost,
        "fair_score_leakage": chosen.leakage,
        "a": fitted.a,
        "rho": fitted.rho,
        "budget": asked.budget,
        "distortion": moved,
        "distortion_share": moved / apart(validation, bundle.used),
        "score_residual": float(np.quantile(residual, 0.99)),
    }


def learn(
    bundle: FitBundle,
    wish: Wish,
    material: Material,
    seed: int,
    rng: np.random.Generator,
    engine: Engine,
    report: Progress,
) -> Parts:
    """All that does not depend on the dials."""
    hidden = wish.columns[: len(wish.private)]
    train, validation = material.train, material.validation
    code = _code(bundle, wish, train, seed, rng, engine, report)
    people, others = (_people(bundle, wish, part, rng) for part in (train, validation))
    crowd = people[: np.sum(~train.own)]
    if not len(crowd):
        crowd = JointScores.of(people).draw(people, range(people.shape[1]), rng)
    return Parts(
        bundle.scores.only(wish.attributes),
        bundle.flow,
        code,
        crowd[:POPULATION],
        sum(len(own) for own in hidden),
        Candidates(people, others, hidden, seed),
    )


def _code(
    bundle: FitBundle,
    wish: Wish,
    train: Part,
    seed: int,
    rng: np.random.Generator,
    engine: Engine,
    report: Progress,
) -> CodeFlow:
    """f, learned stage by stage: a map for each label, and the couplings where the engine trains them."""
    drawn = []
    for done in range(DRAWS):
        drawn.append(bundle.flow.forward(train.draw(rng)))
        report("codes", done + 1, DRAWS)
    x = np.concatenate(drawn)
    scores = np.tile(train.scores, (DRAWS, 1))
    strangers = np.tile(~train.own, DRAWS)
    for _ in range(MATCHING if strangers.any() else 0):
        for label, columns in zip(wish.labels, wish.columns, strict=True):
            # The public flow's draws are not quite where people are: they are given the moments that people have.
            x[strangers] = bundle.moments.matched(x[strangers], scores[strangers], label.attributes, columns)
    # Knots are somebody's scores: the user's own are blurred.
    own = np.flatnonzero(~strangers)
    scores[own] += BLUR * rng.standard_normal(scores[own].shape, np.float32)
    stages: list[ConditionalAffine] = []
    for columns in wish.columns:
        stages.append(ConditionalAffine.learned(x, columns, scores))
        x = stages[-1].forward(x, scores, rng.standard_normal(len(x), np.float32))
    code = CodeFlow(tuple(stages), None)
    size = FOR_CLASSES if any(len(columns) > 1 for columns in wish.columns) else PLAIN
    return replace(code, couplings=engine.couplings(x, context(scores, wish.columns), size, seed, report))


def _people(bundle: FitBundle, wish: Wish, part: Part, rng: np.random.Generator) -> Floats:
    """Scores that go together as people's do: drawn in place of strangers', then the user's own, a little blurred.

    Tables of quantiles carry single scores, and a filter should carry nobody's.
    """
    strangers, mine = part.scores[~part.own], part.scores[part.own]
    drawn = bundle.joint_scores.draw(strangers, wish.attributes, rng) if len(strangers) else strangers
    return np.concatenate([drawn, mine + BLUR * rng.standard_normal(mine.shape, np.float32)])
