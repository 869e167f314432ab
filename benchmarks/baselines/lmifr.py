"""Lagrangian mutual-information fair representations (Song, Kalluri, Grover, Zhao, Ermon, 2019).

u is the private label.  The representation z ~ q(z|x, u) shall tell as much of x as it may,

    max  I(x; z|u) >= E_q[log p(x|z, u)] + a constant    subject to    C1 <= EPSILON_1,  C2 <= EPSILON_2

with their two estimates of I(z; u),

    C1 = E[KL(q(z|x, u) || N(0, I))],  a bound from above
    C2 = max over psi of E_q[log p_psi(u|z) - log p(u)],  by an adversary

The Lagrangian dual is a game: encoder and decoder descend -E_q[log p(x|z, u)] + l1 (C1 - EPSILON_1) +
l2 (C2 - EPSILON_2), the adversary ascends C2, and the multipliers l >= 0 ascend what is violated.  The utility label
takes no part.  Released is a sample of q(z|x, u), which is what C2 is about: means told sex at .86 to
.91.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.baselines.interface import Representation, Samples
from benchmarks.baselines.training import (
    LATENT,
    RATE,
    Batch,
    batches,
    cost,
    descend,
    drawn,
    label_loss,
    perceptron,
    posterior,
    tensors,
    without_gradients,
)
from export.losses import cross_entropy, divergence_from_prior

PASSES = 25
EPSILON_1 = 12.0  # nats; it binds
EPSILON_2 = 0.14  # nats, of .63 that there are to know of sex; .13 and .16 give accuracies of .729 and .750
DUAL_RATES = (0.01, 1.0)  # C2 is a hundredth of C1
ADVERSARY_STEPS = 2  # for each of the encoder's


class LMIFR(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.encoder = posterior(inputs + 1)  # q(z|x, u)
        self.decoder = perceptron(LATENT + 1, inputs)  # p(x|z, u)

    def q(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x, u), [B, LATENT] each."""
        return self.encoder(torch.cat([batch.x, batch.private], dim=1))


class Multipliers:
    """l1 and l2, one a constraint, that ascend the dual."""

    def __init__(self) -> None:
        self.values = torch.ones(2)
        self._limits = torch.tensor([EPSILON_1, EPSILON_2])
        self._rates = torch.tensor(DUAL_RATES)

    def ascend(self, constraints: Tensor) -> None:
        """``constraints`` C, [2]: what exceeds its limit raises its multiplier; none falls below 0."""
        self.values = (self.values + self._rates * (constraints - self._limits)).clamp(min=0)


def constraints(q: tuple[Tensor, Tensor], logits: Tensor, private: Tensor, entropy: float) -> Tensor:
    """C1 and C2 in nats, [2]; ``logits`` are the adversary's, ``entropy`` is H(u)."""
    return torch.stack([divergence_from_prior(*q), entropy - label_loss(logits, private)])


def entropy_of(private: np.ndarray) -> float:
    """H(u) in nats of labels [N]; 0 of labels that are all alike."""
    shares = np.bincount(private) / len(private)
    return float(-sum(share * np.log(share) for share in shares if share))


def train(samples: Samples, seed: int) -> tuple[LMIFR, nn.Module, Multipliers]:
    """The networks, with the adversary and the multipliers as the game left them."""
    torch.manual_seed(seed)
    model, adversary, multipliers = LMIFR(samples.x.shape[1]), perceptron(LATENT, 1, layers=2), Multipliers()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    against = torch.optim.Adam(adversary.parameters(), lr=RATE)  # its rate stays: it must keep up to the end
    entropy = entropy_of(samples.private)
    for batch in batches(samples, PASSES, optimizer):
        q = model.q(batch)
        z = drawn(*q)
        for _ in range(ADVERSARY_STEPS):
            descend(against, label_loss(adversary(z.detach()), batch.private))
        found = constraints(q, adversary(z), batch.private, entropy)
        distortion = cross_entropy(batch.x, model.decoder(torch.cat([z, batch.private], dim=1)))
        descend(optimizer, distortion + multipliers.values @ found)
        multipliers.ascend(found.detach())
    return model, adversary, multipliers


def fit(train_samples: Samples, valid: Samples, seed: int) -> Representation:
    began = time.perf_counter()
    model, adversary, multipliers = train(train_samples, seed)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        batch = tensors(valid)
        q = model.q(batch)
        found = constraints(q, adversary(drawn(*q)), batch.private, entropy_of(valid.private))
    names = ("C1", "C2", "multiplier of C1", "multiplier of C2")
    return Representation(
        without_gradients(lambda batch: drawn(*model.q(batch)), seed),
        cost(nn.ModuleList([model, adversary]), model.encoder, torch.zeros(1, valid.x.shape[1] + 1), seconds),
        dict(zip(names, torch.cat([found, multipliers.values]).tolist(), strict=True)),
    )
