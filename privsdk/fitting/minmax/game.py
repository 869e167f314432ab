"""The game of (2)-(5): one filter in training, with its adversaries and the utility classifier.

    min over the filter of [ -lambda * adversary loss + utility loss ],   D(q(z~) || q(z)) <= b,

both losses cross-entropies of classifiers that are trained along with the filter on what it releases.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from privsdk.filters.linear import LinearFilter
from privsdk.filters.nonlinear import NonlinearFilter
from privsdk.fitting.data import FitData
from privsdk.fitting.minmax.budget import Budget
from privsdk.fitting.minmax.filters import Linear, Nonlinear, Units
from privsdk.fitting.minmax.networks import initialise, perceptron, quadratic
from privsdk.fitting.minmax.recipe import Form, Recipe, Step

UTILITY_CLASSIFIER = (64,)
CLASSIFIER_RATE = 3e-3
FILTER_RATE: dict[Form, float] = {"linear": 1e-2, "nonlinear": 2e-3}


class Game:
    """A filter of this form and its classifiers, to be trained on ``data`` as ``recipe`` says.

    ``start`` is which of several starts from different weights this is.
    """

    def __init__(
        self, data: FitData, form: Form, label_aware: bool, budget: Budget, recipe: Recipe, start: int, seed: int
    ) -> None:
        self.data, self.budget, self.recipe, self.start = data, budget, recipe, start
        self.generator = torch.Generator().manual_seed(seed * recipe.starts + start)
        self.units = Units.of(data)
        mean, variance = (torch.from_numpy(array[:, data.used]) for array in (data.mean, data.variance))
        scale = torch.from_numpy(self.units.scale)
        self.mean = (mean - torch.from_numpy(self.units.centre)) / scale
        self.spread = variance.sqrt() / scale
        self.width = budget.widths(scale, variance)
        self.private = torch.from_numpy(data.private)
        self.utility = torch.from_numpy(data.utility)

        size, classes = len(scale), data.private_classes
        self.filter: Linear | Nonlinear
        if form == "linear":
            shares = torch.bincount(self.private, minlength=classes) / len(data)
            self.filter = Linear(budget, self.width, shares, self.generator)
        else:
            self.filter = Nonlinear(size, classes if label_aware else 0, self.generator)
        self.averaged = copy.deepcopy(self.filter)
        self.optimizer = torch.optim.Adam(self.filter.parameters(), FILTER_RATE[form], betas=(0.5, 0.99), fused=True)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, recipe.steps, FILTER_RATE[form] / 20)

        self.adversaries = [perceptron((size, *hidden, classes), self.generator) for hidden in recipe.adversaries]
        if recipe.quadratic:
            self.adversaries.append(quadratic(size, classes, self.generator))
        self.reader = perceptron((size, *UTILITY_CLASSIFIER, self.utility.shape[1]), self.generator)
        self.classifiers = nn.ModuleList([*self.adversaries, self.reader])
        self.classifier_optimizer = torch.optim.Adam(self.classifiers.parameters(), CLASSIFIER_RATE, fused=True)

        self.steps = 0
        self.factor = self._within_budget(self._batch())[2].detach()
        self._train_classifiers(recipe.catch_up)

    def step(self) -> Step:
        """One step of the filter, after several of the classifiers."""
        recipe = self.recipe
        self.steps += 1
        if recipe.renewal and self.steps % recipe.renewal == 0:
            self._renew(self.adversaries[self.steps // recipe.renewal % len(self.adversaries)])
            self._train_classifiers(recipe.catch_up)
        self._train_classifiers(recipe.classifier_steps)

        rows = self._batch()
        x, residual, factor, spent = self._within_budget(rows)
        self.factor = factor.detach()
        adversary_losses, utility_loss = self._losses(x + factor * residual, rows)
        self.optimizer.zero_grad(set_to_none=True)
        (utility_loss - recipe.adversary_weight * torch.stack(adversary_losses).mean()).backward()
        self.optimizer.step()
        self.schedule.step()
        with torch.no_grad():
            keep = min(recipe.average, self.steps / (self.steps + 9))
            for mean, last in zip(self.averaged.parameters(), self.filter.parameters(), strict=True):
                mean.lerp_(last, 1 - keep)
        losses = tuple(loss.item() for loss in adversary_losses)
        return Step(self.start, self.steps, losses, utility_loss.item(), spent)

    def frozen(self, held_out: FitData) -> LinearFilter | NonlinearFilter:
        """The filter with its averaged weights, within the budget on latents it was not trained on."""
        return self.averaged.frozen(self.units, self.budget, held_out)

    def _train_classifiers(self, steps: int) -> None:
        for _ in range(steps):
            rows = self._batch()
            with torch.no_grad():
                x, residual = self._filtered(rows)
                released = x + self.factor * residual
            adversary_losses, utility_loss = self._losses(released, rows)
            self.classifier_optimizer.zero_grad(set_to_none=True)
            (torch.stack(adversary_losses).sum() + utility_loss).backward()
            self.classifier_optimizer.step()

    def _batch(self) -> Tensor:
        """Rows of the data, int64 [B]."""
        return torch.randint(len(self.mean), (self.recipe.batch,), generator=self.generator)

    def _filtered(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior samples of these rows and the filter's residuals, both [B, U], in units of the spread."""
        drawn = torch.randn(2, len(rows), self.mean.shape[1], generator=self.generator)
        x = self.mean[rows] + self.spread[rows] * drawn[0]
        label = one_hot(self.private[rows], self.data.private_classes).float()
        return x, self.filter(x, drawn[1], label)

    def _within_budget(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
        """The same, with the factor that brings the residuals within the budget, and what is then spent of it."""
        x, residual = self._filtered(rows)
        return x, residual, *self.filter.within(self.budget, residual, self.width[rows])

    def _losses(self, released: Tensor, rows: Tensor) -> tuple[list[Tensor], Tensor]:
        """The cross-entropy of each adversary, and that of the utility classifier."""
        private = self.private[rows]
        return (
            [cross_entropy(adversary(released), private) for adversary in self.adversaries],
            binary_cross_entropy_with_logits(self.reader(released), self.utility[rows]),
        )

    def _renew(self, adversary: nn.Sequential) -> None:
        """A fresh start for ``adversary``, which then seeks what the filter has hidden from its old weights."""
        initialise(adversary, self.generator)
        for parameter in adversary.parameters():
            self.classifier_optimizer.state.pop(parameter, None)
