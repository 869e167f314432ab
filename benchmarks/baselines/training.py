"""What the baselines share: batches, networks, a step of a training, what it costs, and how it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.baselines.interface import Cost, Floats, Samples
from export.networks.bernoulli import Posterior
from export.networks.blocks import multiply_adds

BATCH = 128
RATE = 1e-3
WIDTH = 128  # of hidden layers
LATENT = 30  # as in the table's bundle, whose filters the baselines stand beside


class Batch(NamedTuple):
    """Rows of ``Samples``: ``x`` float [B, D], ``private`` and ``utility`` float [B, 1], 0 or 1."""

    x: Tensor
    private: Tensor
    utility: Tensor


def tensors(samples: Samples) -> Batch:
    """All rows."""
    private, utility = (torch.from_numpy(labels).float()[:, None] for labels in (samples.private, samples.utility))
    return Batch(torch.from_numpy(samples.x), private, utility)


def batches(samples: Samples, passes: int, *optimizers: torch.optim.Optimizer) -> Iterator[Batch]:
    """Every row once in each pass, but for those left over; meanwhile the learning rates fall to 0 along a cosine."""
    everything, size = tensors(samples), min(BATCH, len(samples))
    per_pass = len(samples) // size
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(one, passes * per_pass) for one in optimizers]
    for _ in range(passes):
        for rows in torch.randperm(len(samples))[: per_pass * size].split(size):
            yield Batch(*(one[rows] for one in everything))
            for schedule in schedules:
                schedule.step()


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down ``loss``."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def perceptron(inputs: int, outputs: int, layers: int = 1) -> nn.Sequential:
    """So many hidden layers of ELUs."""
    sizes = [inputs, *[WIDTH] * layers]
    hidden = [part for size in zip(sizes, sizes[1:], strict=False) for part in (nn.Linear(*size), nn.ELU())]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], outputs))


def posterior(inputs: int) -> Posterior:
    """Mean and log-variance, [N, LATENT] each, of a Gaussian given [N, ``inputs``]: one hidden layer."""
    return Posterior(nn.Sequential(nn.Linear(inputs, WIDTH), nn.ELU()), WIDTH, LATENT)


def drawn(mean: Tensor, log_variance: Tensor) -> Tensor:
    """z ~ N(mean, diag(exp(log_variance))), all [N, LATENT], by the reparameterisation of Kingma and Welling (2013)."""
    return mean + (0.5 * log_variance).exp() * torch.randn_like(mean)


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """-log q(label) in nats, the mean over the batch; both [B, 1]."""
    return F.binary_cross_entropy_with_logits(logits, labels)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Both [N, 1]."""
    return float(((logits > 0) == (labels > 0)).float().mean())


def without_gradients(network: Callable[[Batch], Tensor], seed: int) -> Callable[[Samples], Floats]:
    """``network`` as a function of samples; what it draws depends on ``seed`` and the samples' order alone."""

    @torch.no_grad()
    def represent(samples: Samples) -> Floats:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return network(tensors(samples)).numpy()

    return represent


def cost(trained: nn.Module, used: nn.Module, example: Tensor, seconds: float) -> Cost:
    """Of a training of all of ``trained``, of which ``used`` makes a representation of ``example`` [1, ...]."""
    return Cost(parameters(trained), multiply_adds(used, example), 4 * parameters(used), seconds)


def parameters(module: nn.Module) -> int:
    return sum(weights.numel() for weights in module.parameters())
