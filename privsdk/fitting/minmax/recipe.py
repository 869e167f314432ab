"""How a min-max filter is trained: the two schemes, and what is told of each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Form = Literal["linear", "nonlinear"]
Scheme = Literal["dependable", "paper"]


@dataclass(frozen=True)
class Recipe:
    """The settings of a scheme.

    ``adversaries`` are the hidden units of each adversary, none for logistic regression; ``quadratic`` adds one that
    reads spreads and correlations.  Before each step of the filter the classifiers take ``classifier_steps``; before
    the first, and after an adversary's fresh start, ``catch_up``.  Every ``renewal`` steps of the filter one adversary
    starts afresh (0: none ever does).  The weights that count are averaged over about 1 / (1 - ``average``) steps.

    Every ``check`` steps attackers are trained afresh on validation latents (0: never, and the last weights are kept).
    Of ``starts`` from different weights the one goes on that they find best at its first check, for ``steps`` in all
    or until they found it no better for ``patience`` checks; the moment they found best is kept.
    """

    adversaries: tuple[tuple[int, ...], ...]
    quadratic: bool
    classifier_steps: int
    catch_up: int
    renewal: int
    average: float
    check: int
    patience: int
    starts: int
    steps: int
    batch: int
    adversary_weight: float  # lambda


RECIPES: Mapping[Scheme, Recipe] = {
    # A weak or lagging adversary is what a filter hides from, and nobody else: hence several of different capacity,
    # several steps of theirs for one of the filter's, and fresh starts.
    "dependable": Recipe(
        adversaries=((64,), (128, 128)),
        quadratic=True,
        classifier_steps=5,
        catch_up=60,
        renewal=60,
        average=0.98,
        check=75,
        patience=3,
        starts=2,
        steps=600,
        batch=512,
        adversary_weight=3.0,
    ),
    # One adversary and one classifier, two fully connected layers with an ELU between, trained in turn with the filter.
    "paper": Recipe(
        adversaries=((64,),),
        quadratic=False,
        classifier_steps=1,
        catch_up=0,
        renewal=0,
        average=0.0,
        check=0,
        patience=0,
        starts=1,
        steps=1500,
        batch=100,
        adversary_weight=3.0,
    ),
}


@dataclass(frozen=True)
class Step:
    """What one step of the filter was like.

    ``start`` and ``step`` count from 0 and from 1.  ``adversary_losses``, one an adversary, and ``utility_loss`` are
    cross-entropies in nats; ``spent`` is what the step's batch spent of the budget, in the budget's own unit.
    """

    start: int
    step: int
    adversary_losses: tuple[float, ...]
    utility_loss: float
    spent: float
