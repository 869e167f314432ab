"""The paper's filters, fitted against adversaries under a distortion budget: (2)-(5).

    min over the filter of [ -lambda * adversary loss + utility loss ],   D(q(z~) || q(z)) <= b,

both losses cross-entropies of classifiers that are trained along with the filter on what it releases.
What made this dependable: several adversaries of different capacity that take several steps for each of
the filter's and start afresh in turn, the mean of the filter's last weights in place of the last ones,
and a choice among restarts by attackers that were not in the fit.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from privsdk.errors import UnworkablePairError
from privsdk.filters import divergences, posterior
from privsdk.filters.linear import LinearFilter
from privsdk.filters.nonlinear import NonlinearFilter
from privsdk.fitting.check import judge, torch_attackers
from privsdk.fitting.data import FitData
from privsdk.progress import Progress

Floats = NDArray[np.float32]
Form = Literal["linear", "nonlinear"]
Divergence = Literal["l2", "kl"]

BUDGET_SHARE = 0.3  # of the mean squared distance between the latents of two samples
RESTARTS = 2
STEPS = 250
BATCH = 256
ADVERSARY_WEIGHT = 2.0  # lambda
ADVERSARIES: tuple[tuple[int, ...], ...] = ((), (64,), (128, 128))  # hidden units; none: logistic regression
UTILITY_CLASSIFIER = (64,)
CLASSIFIER_STEPS = 4  # for each step of the filter
WARM_UP = 60  # steps of the classifiers alone, before the filter's first
RENEWAL = 60  # filter steps from one adversary's fresh start to the next one's
CATCH_UP = 60  # steps of the classifiers alone after a fresh start
CLASSIFIER_RATE = 3e-3
FILTER_HIDDEN = (128, 128)
FILTER_RATE: dict[Form, float] = {"linear": 1e-2, "nonlinear": 2e-3}
FIRST_NOISE = 0.6  # of each dimension's spread
FIRST_SHIFT = 0.02
AVERAGE = 0.98  # the filter's weights are averaged over about 1 / (1 - AVERAGE) steps
VALIDATION = 0.2
MEASURED = 4000  # latents on which the budget of the frozen filter is held
MEASURED_KL = 500  # the same for the KL of a linear filter, which takes a determinant for each
PRIVATE_ATTACKERS = ("logistic", "mlp standardised")
UTILITY_READER = "logistic"


def default_budget(data: FitData, divergence: Divergence) -> float:
    """The budget of a fit that was given none.

    For "l2" a share of the mean squared distance between two samples' latents; for "kl" the KL of a shift
    of that length whose direction is taken at random.
    """
    mean, variance = data.mean[:, data.used], data.variance[:, data.used]
    squared = BUDGET_SHARE * 2 * float((mean.var(axis=0) + variance.mean(axis=0)).sum())
    return squared if divergence == "l2" else squared * float((1 / variance).mean()) / 2


def fit_minmax(
    data: FitData,
    form: Form = "nonlinear",
    label_aware: bool = False,
    budget: float | None = None,
    divergence: Divergence = "l2",
    seed: int = 0,
    on_progress: Progress | None = None,
) -> LinearFilter | NonlinearFilter:
    """Fits the paper's filter to ``data``.

    ``form`` is "linear", (23), which is label-aware, or "nonlinear".  ``budget`` bounds the mean over samples
    of the ``divergence`` between what leaves the filter and what enters it: "l2" is E ||z~ - z||^2, "kl" the
    exact Gaussian form for the linear filter and d' S^-1 d / 2 of each shift d for the nonlinear one, S the
    sample's own posterior variance; by default :func:`default_budget`.  Dimensions that are not ``used``
    leave as fresh noise and do not count.  The same ``seed`` gives the same filter.  Arguments are as
    :class:`~privsdk.fitting.asked.Asked` lets them through.

    :raises UnworkablePairError: a label has one class only.
    """
    _check_classes(data)
    report: Progress = on_progress or (lambda stage, done, total: None)
    limit = _Limit(divergence, default_budget(data, divergence) if budget is None else budget)
    training, validation = data.split((1 - VALIDATION, VALIDATION), seed)

    candidates = []
    for restart in range(RESTARTS):
        fitting = _Fitting(training, form, label_aware, limit, seed * RESTARTS + restart)
        for step in range(STEPS):
            fitting.step(step)
            report("min-max", restart * STEPS + step + 1, RESTARTS * STEPS)
        candidates.append(fitting.frozen())
    costs = []
    for candidate in candidates:
        costs.append(_cost(candidate, validation, seed))
        report("choice", len(costs), RESTARTS)
    return candidates[int(np.argmin(costs))]


def _check_classes(data: FitData) -> None:
    if len(np.unique(data.private)) < 2:
        raise UnworkablePairError("the private label has one class only: there is nothing to hide")
    if (data.utility.min(axis=0) == data.utility.max(axis=0)).any():
        raise UnworkablePairError("a utility label has one class only: there is nothing to keep")


def _cost(fitted: LinearFilter | NonlinearFilter, validation: FitData, seed: int) -> float:
    """How much attackers, trained afresh, tell of the private label, less what is told of the utility labels.

    Both as AUROC on released validation latents, each half judged by who was trained on the other: the strongest
    attacker's on the most exposed class, and the mean of logistic regression's over the utility labels.
    """
    seeds = np.random.default_rng([seed, 1]).integers(0, 2**63, len(validation), dtype=np.uint64)
    private = validation.private if fitted.label_aware else None
    released = fitted.perturb(validation.mean, validation.variance, seeds, private)
    attackers = torch_attackers(seed)

    def told(attacker: str, labels: NDArray[np.bool_]) -> float:
        return judge(attackers[attacker], released, labels.astype(np.float32)).leakage

    classes = range(1 if validation.private_classes == 2 else 0, validation.private_classes)
    leaked = [told(attacker, validation.private == label) for attacker in PRIVATE_ATTACKERS for label in classes]
    kept = [told(UTILITY_READER, labels > 0) for labels in validation.utility.T]
    return max(leaked) - float(np.mean(kept))


class _Fitting:
    """One filter in training, with its classifiers: the adversaries and the utility classifier."""

    def __init__(self, data: FitData, form: Form, label_aware: bool, limit: _Limit, seed: int) -> None:
        self.data, self.limit = data, limit
        self.generator = torch.Generator().manual_seed(seed)
        self.units = _Units.of(data)
        mean, variance = (torch.from_numpy(array[:, data.used]) for array in (data.mean, data.variance))
        scale = torch.from_numpy(self.units.scale)
        self.mean = (mean - torch.from_numpy(self.units.centre)) / scale
        self.spread = variance.sqrt() / scale
        self.weights = limit.weights(scale, variance)
        self.private = torch.from_numpy(data.private)
        self.utility = torch.from_numpy(data.utility)

        size, classes = len(scale), data.private_classes
        self.filter: _Linear | _Nonlinear
        if form == "linear":
            self.filter = _Linear(size, classes, self.generator)
        else:
            self.filter = _Nonlinear(size, classes if label_aware else 0, self.generator)
        self.averaged = copy.deepcopy(self.filter)
        self.optimizer = torch.optim.Adam(self.filter.parameters(), FILTER_RATE[form], betas=(0.5, 0.99), fused=True)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, STEPS, FILTER_RATE[form] / 20)

        self.adversaries = [_network((size, *hidden, classes), self.generator) for hidden in ADVERSARIES]
        self.reader = _network((size, *UTILITY_CLASSIFIER, self.utility.shape[1]), self.generator)
        self.classifiers = nn.ModuleList([*self.adversaries, self.reader])
        self.classifier_optimizer = torch.optim.Adam(self.classifiers.parameters(), CLASSIFIER_RATE, fused=True)
        self._train_classifiers(WARM_UP)

    def step(self, step: int) -> None:
        """One step of the filter, after several of the classifiers."""
        if step % RENEWAL == RENEWAL - 1:
            self._renew(self.adversaries[step // RENEWAL % len(self.adversaries)])
            self._train_classifiers(CATCH_UP)
        self._train_classifiers(CLASSIFIER_STEPS)
        adversary_losses, utility_loss = self._losses(*self._release())
        self.optimizer.zero_grad(set_to_none=True)
        (utility_loss - ADVERSARY_WEIGHT * torch.stack(adversary_losses).mean()).backward()
        self.optimizer.step()
        self.schedule.step()
        with torch.no_grad():
            keep = min(AVERAGE, (step + 1) / (step + 10))
            for mean, last in zip(self.averaged.parameters(), self.filter.parameters(), strict=True):
                mean.lerp_(last, 1 - keep)

    def frozen(self) -> LinearFilter | NonlinearFilter:
        """The filter with its averaged weights, within the budget."""
        return self.averaged.frozen(self.units, self.limit, self.data)

    def _train_classifiers(self, steps: int) -> None:
        for _ in range(steps):
            with torch.no_grad():
                released, rows = self._release()
            adversary_losses, utility_loss = self._losses(released, rows)
            self.classifier_optimizer.zero_grad(set_to_none=True)
            (torch.stack(adversary_losses).sum() + utility_loss).backward()
            self.classifier_optimizer.step()

    def _release(self) -> tuple[Tensor, Tensor]:
        """A batch of releases, float32 [B, U] in units of the latents' spread, and their rows in the data."""
        rows = torch.randint(len(self.mean), (BATCH,), generator=self.generator)
        drawn = torch.randn(2, BATCH, self.mean.shape[1], generator=self.generator)
        x = self.mean[rows] + self.spread[rows] * drawn[0]
        label = one_hot(self.private[rows], self.data.private_classes).float()
        residual = self.filter(x, drawn[1], label)
        return x + self.filter.within(self.limit, residual, self.weights[rows], label) * residual, rows

    def _losses(self, released: Tensor, rows: Tensor) -> tuple[list[Tensor], Tensor]:
        """The cross-entropy of each adversary, and that of the utility classifier."""
        private = self.private[rows]
        return (
            [cross_entropy(adversary(released), private) for adversary in self.adversaries],
            binary_cross_entropy_with_logits(self.reader(released), self.utility[rows]),
        )

    def _renew(self, adversary: nn.Sequential) -> None:
        """A fresh start for ``adversary``, which then seeks what the filter has hidden from its old weights."""
        _initialise(adversary, self.generator)
        for parameter in adversary.parameters():
            self.classifier_optimizer.state.pop(parameter, None)


@dataclass(frozen=True)
class _Limit:
    """The distortion budget, for latents in units of their spread."""

    divergence: Divergence
    budget: float

    def weights(self, scale: Tensor, variance: Tensor) -> Tensor:
        """What a squared shift in units of ``scale`` [U] costs at the posterior ``variance``, both [N, U]."""
        squared = scale**2
        return squared.expand_as(variance) if self.divergence == "l2" else squared / (2 * variance)

    def factor(self, cost: Tensor, gains: Tensor) -> Tensor:
        """The largest c <= 1 at which the residual c r is within the budget, differentiable.

        c r spends c^2 ``cost`` - sum ln(1 + c^2 ``gains``) / 2; ``gains`` are those of a linear filter's
        noise under KL and empty otherwise.
        """
        known_cost, known_gains = cost.item(), gains.detach().numpy()
        solution = _largest_factor(
            lambda c: c**2 * known_cost - float(np.log1p(c**2 * known_gains).sum()) / 2, self.budget
        )
        if solution == 1.0:
            return torch.ones(())
        spent = solution**2 * cost - torch.log1p(solution**2 * gains).sum() / 2
        slope = 2 * solution * known_cost - (solution * known_gains / (1 + solution**2 * known_gains)).sum()
        # A Newton step from the solution hardly moves it and gives it its derivative.
        return solution - (spent - self.budget) / float(slope)


def _largest_factor(spent: Callable[[float], float], budget: float) -> float:
    """The largest c in [0, 1] with ``spent(c)``, which grows with c, within ``budget``, to 1 in 100,000."""
    if spent(1.0) <= budget:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(17):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) <= budget else (low, middle)
    return low


@dataclass(frozen=True)
class _Units:
    """Latents in units of their spread: x = (z - centre) / scale in the U dimensions that are used."""

    centre: Floats
    scale: Floats

    @classmethod
    def of(cls, data: FitData) -> _Units:
        """Those of ``data``'s posterior samples."""
        mean, variance = data.mean[:, data.used], data.variance[:, data.used]
        return cls(mean.mean(axis=0), np.sqrt(mean.var(axis=0) + variance.mean(axis=0)))


class _Linear(nn.Module):
    """Gamma of (23) for latents in units of their spread."""

    def __init__(self, size: int, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.noise = nn.Parameter(FIRST_NOISE * torch.eye(size))
        self.label = nn.Parameter(FIRST_SHIFT * torch.randn(classes, size, generator=generator))

    def forward(self, x: Tensor, eps: Tensor, label: Tensor) -> Tensor:
        """The residual for latents ``x`` and noise ``eps``, both [N, U], and one-hot labels [N, C]."""
        return eps @ self.noise + label @ self.label

    def within(self, limit: _Limit, residual: Tensor, weights: Tensor, label: Tensor) -> Tensor:
        """The factor that brings the filter within ``limit``, by the exact mean over eps."""
        mean_weights = weights.mean(0)
        cost = ((label @ self.label) ** 2 * weights).sum(1).mean() + (self.noise**2 * mean_weights).sum()
        if limit.divergence == "l2":
            return limit.factor(cost, torch.zeros(0))
        relative = self.noise * (2 * mean_weights).sqrt()
        return limit.factor(cost, torch.linalg.eigvalsh(relative.T @ relative).clamp(min=0))

    def frozen(self, units: _Units, limit: _Limit, data: FitData) -> LinearFilter:
        """The filter in the latents' own units, within ``limit`` on ``data``."""
        noise = _columns(_rows(self.noise.detach().numpy() * units.scale, data.used), data.used)
        label = _columns(self.label.detach().numpy() * units.scale, data.used)
        few = data[: MEASURED if limit.divergence == "l2" else MEASURED_KL]

        def spent(factor: float) -> float:
            shift, widened = factor * label[few.private], factor * noise.T
            if limit.divergence == "l2":
                return float(divergences.l2(shift, widened).mean())
            return float(divergences.kl(shift, few.variance, widened).mean())

        factor = _largest_factor(spent, limit.budget)
        return LinearFilter(
            np.float32(factor) * noise,
            np.float32(factor) * label,
            data.used,
            limit.divergence,
            limit.budget,
            spent(factor),
        )


class _Nonlinear(nn.Module):
    """r of the nonlinear filter for latents in units of their spread; label-free where ``classes`` is 0."""

    def __init__(self, size: int, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.classes = classes
        inputs = 2 * size + classes
        self.network = _network((inputs, *FILTER_HIDDEN, size), generator)
        self.skip = nn.Parameter(torch.zeros(inputs, size))
        with torch.no_grad():
            self.skip[size : 2 * size] = FIRST_NOISE * torch.eye(size)

    def forward(self, x: Tensor, eps: Tensor, label: Tensor) -> Tensor:
        """The residual for latents ``x`` and noise ``eps``, both [N, U], and one-hot labels [N, C]."""
        inputs = torch.cat([x, eps, label] if self.classes else [x, eps], dim=1)
        residual: Tensor = self.network(inputs) + inputs @ self.skip
        return residual

    def within(self, limit: _Limit, residual: Tensor, weights: Tensor, label: Tensor) -> Tensor:
        """The factor that brings this batch's ``residual`` within ``limit``."""
        return limit.factor((residual**2 * weights).sum(1).mean(), torch.zeros(0))

    def frozen(self, units: _Units, limit: _Limit, data: FitData) -> NonlinearFilter:
        """The filter in the latents' own units, within ``limit`` on one draw of ``data``."""
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
            limit.divergence,
            limit.budget,
            reached=math.inf,
        )

        few = data[:MEASURED]
        seeds = np.arange(len(few), dtype=np.uint64)
        z = posterior.sample(few.mean, few.variance, seeds, data.used)
        shift = whole.perturb(few.mean, few.variance, seeds, few.private) - z
        spent = divergences.l2(shift) if limit.divergence == "l2" else divergences.kl(shift, few.variance)
        factor = min(1.0, math.sqrt(limit.budget / float(spent.mean())))
        shrunk = np.float32(factor)
        return replace(
            whole,
            weights=(*weights[:-1], shrunk * weights[-1]),
            biases=(*biases[:-1], shrunk * biases[-1]),
            skip=shrunk * skip,
            reached=factor**2 * float(spent.mean()),
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


def _network(sizes: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Fully connected layers of these sizes with an ELU between; torch's own random state stays as it is."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(sizes, sizes[1:], strict=False):
        layers += [nn.utils.skip_init(nn.Linear, inputs, outputs), nn.ELU()]
    network = nn.Sequential(*layers[:-1])
    _initialise(network, generator)
    return network


def _initialise(network: nn.Sequential, generator: torch.Generator) -> None:
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.Linear):
                layer.weight.normal_(0, layer.in_features**-0.5, generator=generator)
                layer.bias.zero_()
