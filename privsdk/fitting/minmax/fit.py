"""A whole fit: several starts, the best goes on, and its best moment is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from privsdk.errors import UnworkablePairError
from privsdk.filters.divergences import Divergence
from privsdk.filters.linear import LinearFilter
from privsdk.filters.nonlinear import NonlinearFilter
from privsdk.fitting.data import FitData
from privsdk.fitting.minmax.budget import Budget, default_budget
from privsdk.fitting.minmax.choice import told
from privsdk.fitting.minmax.game import Game
from privsdk.fitting.minmax.recipe import RECIPES, Form, Scheme, Step
from privsdk.progress import Progress

VALIDATION = 0.2
HANDFUL = 5  # samples: fewer say nothing about a class


@contextmanager
def _one_thread() -> Iterator[None]:
    """Networks as small as these gain nothing by a second thread, and lose much where the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def fit_minmax(
    data: FitData,
    form: Form = "nonlinear",
    label_aware: bool = False,
    budget: float | None = None,
    divergence: Divergence = "l2",
    scheme: Scheme = "dependable",
    seed: int = 0,
    on_progress: Progress | None = None,
    on_step: Callable[[Step], None] | None = None,
    adversary_weight: float | None = None,
    steps: int | None = None,
) -> LinearFilter | NonlinearFilter:
    """Fits the paper's filter to ``data``, (2)-(5).

    ``form`` is "linear", (23), which is label-aware, or "nonlinear".  ``budget``, above 0, bounds the mean over samples
    of the ``divergence`` (10) between what leaves the filter and what enters it; by default
    :func:`~privsdk.fitting.minmax.budget.default_budget`.  "l2" is E ||z~ - z||^2.  "kl", "reverse-kl" and "chi-square"
    are the exact Gaussian forms for the linear filter and those of the shift, d' S^-1 d / 2 and exp(d' S^-1 d) - 1, for
    the nonlinear one, S the sample's own posterior variance.  Of "chi-square" budget and ``reached`` are in
    ln(1 + chi-square); a linear filter is then held at the narrowest posterior of the data, which bounds it for
    every sample.  Dimensions that are not ``used`` leave as fresh noise and do not count.

    ``scheme`` "dependable" has several adversaries that start afresh in turn, several starts, and keeps what freshly
    trained attackers on validation latents find best; "paper" has one adversary and keeps the last weights.
    ``on_step`` is told of every step of the filter.  ``adversary_weight``, above 0, is lambda, what the adversary's
    loss counts against the utility label's, and ``steps`` is how often the filter is moved at the most; by default the
    scheme's.  The same ``seed`` gives the same filter.
    Arguments are as :class:`~privsdk.fitting.asked.Asked` lets them through.

    :raises UnworkablePairError: of a label fewer than five samples have another class than most.
    """
    _refuse_unworkable(data)
    recipe = RECIPES[scheme]
    if adversary_weight is not None:
        recipe = replace(recipe, adversary_weight=adversary_weight)
    if steps is not None:
        recipe = replace(recipe, steps=steps)
    limit = Budget(divergence, default_budget(data, divergence) if budget is None else budget)
    training, validation = data.split((1 - VALIDATION, VALIDATION), seed)
    report: Progress = on_progress or (lambda stage, done, total: None)
    done, total = 0, (recipe.starts - 1) * recipe.check + recipe.steps

    def begin(start: int) -> Game:
        return Game(training, form, label_aware, limit, recipe, start, seed)

    def advance(game: Game, steps: int) -> None:
        nonlocal done
        for _ in range(steps):
            step = game.step()
            if on_step is not None:
                on_step(step)
            done += 1
            report("min-max", done, total)

    def checked(game: Game) -> tuple[float, LinearFilter | NonlinearFilter]:
        advance(game, min(recipe.check, recipe.steps - game.steps))
        fitted = game.frozen(validation)
        leaked, kept = told(fitted, validation, seed)
        return leaked - kept, fitted

    if not recipe.check:
        game = begin(0)
        advance(game, recipe.steps)
        return game.frozen(validation)

    games = [begin(start) for start in range(recipe.starts)]
    first = [checked(game) for game in games]
    chosen = int(np.argmin([cost for cost, _ in first]))
    game, (least, best) = games[chosen], first[chosen]
    unimproved = 0
    while game.steps < recipe.steps and unimproved < recipe.patience:
        cost, fitted = checked(game)
        unimproved = 0 if cost < least else unimproved + 1
        if cost < least:
            least, best = cost, fitted
    report("min-max", total, total)
    return best


def _refuse_unworkable(data: FitData) -> None:
    labels = [(data.private, "private", "hide"), *((column, "utility", "keep") for column in data.utility.T)]
    for values, which, purpose in labels:
        counts = np.unique(values, return_counts=True)[1]
        if len(counts) < 2:
            raise UnworkablePairError(f"a {which} label has one class only: there is nothing to {purpose}")
        if (rare := counts.sum() - counts.max()) < HANDFUL:
            raise UnworkablePairError(
                f"only {rare} samples have another class of a {which} label than the rest: give at least {HANDFUL}"
            )
