"""The filters in training, and frozen: linear (23), and nonlinear with or without the private label."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from privsdk.filters import divergences, posterior
from privsdk.filters.linear import LinearFilter
from privsdk.filters.nonlinear import NonlinearFilter
from privsdk.fitting.data import FitData
from privsdk.fitting.minmax.budget import Budget, largest_factor
from privsdk.fitting.minmax.networks import perceptron

Floats = NDArray[np.float32]

HIDDEN = (128, 128)
FIRST_NOISE = 0.6  # of each dimension's spread
FIRST_CHI_SQUARE_NOISE = 0.5  # of the narrowest posterior's
FIRST_SHIFT = 0.02
MEASURED = 4000  # latents on which the budget of the frozen filter is held
MEASURED_LINEAR = 500  # the same for a linear filter, whose noise has other axes for each


@dataclass(frozen=True)
class Units:
    """Latents in units of their spread: x = (z - centre) / scale in the U dimensions that are used."""

    centre: Floats
    scale: Floats

    @classmethod
    def of(cls, data: FitData) -> Units:
        """Those of ``data``'s posterior samples."""
        mean, variance = data.mean[:, data.used], data.variance[:, data.used]
        return cls(mean.mean(axis=0), np.sqrt(mean.var(axis=0) + variance.mean(axis=0)))


class Linear(nn.Module):
    """Gamma of (23) for latents in units of their spread.

    ``widths`` [N, U] are :meth:`Budget.widths` of the samples, ``shares`` [C] those of the private classes.  In
    training all samples have one posterior: that of their mean precision.
    """

    def __init__(self, budget: Budget, widths: Tensor, shares: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        size = widths.shape[1]
        self.shares = shares
        if budget.divergence == "chi-square":
            # It is infinite unless the noise is smaller than the posterior: than the narrowest, to be finite for all.
            self.width = widths.amin(0)
            noise = FIRST_CHI_SQUARE_NOISE * self.width.diag()
        else:
            self.width = widths.square().reciprocal().mean(0).rsqrt()
            noise = FIRST_NOISE * torch.eye(size)
        self.noise = nn.Parameter(noise)
        self.label = nn.Parameter(FIRST_SHIFT * torch.randn(len(shares), size, generator=generator))

    def forward(self, x: Tensor, eps: Tensor, label: Tensor) -> Tensor:
        """The residual for latents ``x`` and noise ``eps``, both [N, U], and one-hot labels [N, C]."""
        return eps @ self.noise + label @ self.label

    def within(self, budget: Budget, residual: Tensor, width: Tensor) -> tuple[Tensor, float]:
        """The factor that brings the filter within ``budget``, by the closed form, and what is spent with it."""
        return budget.for_classes(self.label, self.shares, self.noise, self.width)

    def frozen(self, units: Units, budget: Budget, data: FitData) -> LinearFilter:
        """The filter in the latents' own units, within ``budget`` on ``data``."""
        noise = _columns(_rows(self.noise.detach().numpy() * units.scale, data.used), data.used)
        label = _columns(self.label.detach().numpy() * units.scale, data.used)
        few = data[:MEASURED_LINEAR]
        variance = few.variance
        if budget.divergence == "chi-square":
            narrowest = (self.width.numpy() * units.scale) ** 2
            variance = np.ones_like(variance)
            variance[:, data.used] = np.minimum(narrowest, data.variance[:, data.used].min(axis=0))
        spent = divergences.mean(budget.divergence, label[few.private], variance, noise.T)
        factor = largest_factor(spent, budget.limit)
        return LinearFilter(
            np.float32(factor) * noise,
            np.float32(factor) * label,
            data.used,
            budget.divergence,
            budget.limit,
            spent(factor),
        )


class Nonlinear(nn.Module):
    """r of the nonlinear filter for latents in units of their spread; label-free where ``classes`` is 0."""

    def __init__(self, size: int, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.classes = classes
        inputs = 2 * size + classes
        self.network = perceptron((inputs, *HIDDEN, size), generator)
        self.skip = nn.Parameter(torch.zeros(inputs, size))
        with torch.no_grad():
            self.skip[size : 2 * size] = FIRST_NOISE * torch.eye(size)

    def forward(self, x: Tensor, eps: Tensor, label: Tensor) -> Tensor:
        """The residual for latents ``x`` and noise ``eps``, both [N, U], and one-hot labels [N, C]."""
        inputs = torch.cat([x, eps, label] if self.classes else [x, eps], dim=1)
        residual: Tensor = self.network(inputs) + inputs @ self.skip
        return residual

    def within(self, budget: Budget, residual: Tensor, width: Tensor) -> tuple[Tensor, float]:
        """The factor that brings this batch's ``residual`` within ``budget``, and what is spent with it."""
        return budget.for_shifts(residual, width)

    def frozen(self, units: Units, budget: Budget, data: FitData) -> NonlinearFilter:
        """The filter in the latents' own units, within ``budget`` on one draw of ``data``."""
        layers = [layer for layer in self.network if isinstance(layer, nn.Linear)]
        weights = [layer.weight.detach().numpy().T.copy() for layer in layers]
        biases = [layer.bias.detach().numpy().copy() for layer in layers]
        skip = self.skip.detach().numpy().copy()
        latent = slice(len(units.scale))
        # What was trained reads (z - centre) / scale and gives a residual in units of scale.
        for matrix, constant in ((weights[0], biases[0]), (skip, biases[-1])):
            matrix[latent] /= units.scale[:, None]
            constant -= units.centre @ matrix[latent]
        inputs = np.concatenate([data.used, np.ones(len(skip) - len(units.scale), bool)])
        weights[0], skip = _rows(weights[0], inputs), _rows(skip, inputs)
        weights[-1], biases[-1], skip = (
            _columns(array * units.scale, data.used) for array in (weights[-1], biases[-1], skip)
        )
        whole = NonlinearFilter(
            tuple(weights),
            tuple(biases),
            skip,
            data.used,
            self.classes,
            budget.divergence,
            budget.limit,
            reached=math.inf,
        )

        few = data[:MEASURED]
        seeds = np.arange(len(few), dtype=np.uint64)
        z = posterior.sample(few.mean, few.variance, seeds, data.used)
        shift = whole.perturb(few.mean, few.variance, seeds, few.private) - z
        spent = divergences.mean(budget.divergence, shift, few.variance)
        factor = largest_factor(spent, budget.limit)
        shrunk = np.float32(factor)
        return replace(
            whole,
            weights=(*weights[:-1], shrunk * weights[-1]),
            biases=(*biases[:-1], shrunk * biases[-1]),
            skip=shrunk * skip,
            reached=spent(factor),
        )


def _rows(array: Floats, used: NDArray[np.bool_]) -> Floats:
    """``array`` with a row of zeros where ``used`` is False."""
    whole = np.zeros((len(used), *array.shape[1:]), np.float32)
    whole[used] = array
    return whole


def _columns(array: Floats, used: NDArray[np.bool_]) -> Floats:
    """``array`` with zeros in its last axis where ``used`` is False."""
    whole = np.zeros((*array.shape[:-1], len(used)), np.float32)
    whole[..., used] = array
    return whole
