"""The distortion budget in training: by which factor a filter's residual is brought within it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from privsdk.filters.divergences import Divergence
from privsdk.fitting.data import FitData

BUDGET_SHARE = 0.3  # of the mean squared distance between the latents of two samples
BISECTIONS = 24


def default_budget(data: FitData, divergence: Divergence) -> float:
    """The budget of a fit that was given none, in the unit of ``filters.divergences``.

    For "l2" a share of the mean squared distance between two samples' latents; for the others what a shift of that
    length spends whose direction is taken at random.
    """
    mean, variance = data.mean[:, data.used], data.variance[:, data.used]
    squared = BUDGET_SHARE * 2 * float((mean.var(axis=0) + variance.mean(axis=0)).sum())
    if divergence == "l2":
        return squared
    weighted = squared * float((1 / variance).mean())
    return weighted if divergence == "chi-square" else weighted / 2


@dataclass(frozen=True)
class Budget:
    """At most ``limit`` of ``divergence`` in the mean over samples."""

    divergence: Divergence
    limit: float

    def widths(self, scale: Tensor, variance: Tensor) -> Tensor:
        """What a shift of latents in units of ``scale`` [U] is measured against, [N, U]: the posterior's spread.

        For "l2" it is 1 in the latents' own units.
        """
        return (torch.ones_like(variance) if self.divergence == "l2" else variance.sqrt()) / scale

    def for_shifts(self, shift: Tensor, width: Tensor) -> tuple[Tensor, float]:
        """The factor for the shifts of samples, both [N, U], and what is spent with it."""
        moved = (shift / width).square().sum(1)

        def spent(factor: Tensor) -> Tensor:
            return (factor**2 * moved).mean() / (2 if self.divergence in ("kl", "reverse-kl") else 1)

        return _factor(spent, self.limit)

    def for_classes(self, shift: Tensor, share: Tensor, noise: Tensor, width: Tensor) -> tuple[Tensor, float]:
        """The same for a linear filter: ``shift`` [C, U] of each class, ``share`` [C] of the samples, and ``noise``
        [E, U], rows eps adding eps ``noise``, against one ``width`` [U].
        """
        standard, relative = shift / width, noise / width
        added = relative.T @ relative
        identity = torch.eye(len(added))

        def weighted(inside: Tensor) -> Tensor:
            """d' M^-1 d of each class, for M whose Cholesky factor is ``inside``."""
            return torch.linalg.solve_triangular(inside, standard.T, upper=False).square().sum(0)

        def log_determinant(factor: Tensor) -> Tensor:
            return 2 * factor.diagonal().log().sum()

        def spent(factor: Tensor) -> Tensor:
            squared = factor**2
            if self.divergence == "l2":
                return squared * (share @ standard.square().sum(1) + added.trace())
            widened = torch.linalg.cholesky(identity + squared * added)
            if self.divergence == "kl":
                moved = share @ standard.square().sum(1) + added.trace()
                return (squared * moved - log_determinant(widened)) / 2
            if self.divergence == "reverse-kl":
                kept = torch.cholesky_inverse(widened).trace() - len(added)
                return (squared * (share @ weighted(widened)) + kept + log_determinant(widened)) / 2
            narrowed, failed = torch.linalg.cholesky_ex(identity - squared * added)
            if failed:
                return torch.tensor(torch.inf)
            exponent = squared * (share @ weighted(narrowed))
            return exponent - (log_determinant(widened) + log_determinant(narrowed)) / 2

        return _factor(spent, self.limit)


def _factor(spent: Callable[[Tensor], Tensor], limit: float) -> tuple[Tensor, float]:
    """The largest factor c <= 1 with ``spent(c)`` within ``limit``, differentiable, and what it spends."""
    with torch.no_grad():
        solution = largest_factor(lambda factor: spent(torch.tensor(factor)).item(), limit)
    at_solution = torch.tensor(solution, requires_grad=True)
    value = spent(at_solution)
    if solution == 1.0:
        return torch.ones(()), value.item()
    (slope,) = torch.autograd.grad(value, at_solution, retain_graph=True)
    # A Newton step from the solution hardly moves it and gives it its derivative.
    return solution - (value - limit) / slope.detach(), limit


def largest_factor(spent: Callable[[float], float], limit: float) -> float:
    """The largest c in [0, 1] with ``spent(c)``, which grows with c, within ``limit``."""
    if spent(1.0) <= limit:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) <= limit else (low, middle)
    return low
