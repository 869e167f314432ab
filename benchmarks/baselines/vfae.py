"""The variational fair autoencoder (Louizos, Swersky, Li, Welling, Zemel, 2016), with all labels known.

s is the private label and y the utility label:

    p:  z2 ~ N(0, I),  z1 ~ p(z1|z2, y),  x ~ p(x|z1, s)        q:  q(z1|x, s),  q(z2|z1, y),  q(y|z1)

Trained by the bound for labelled samples, with their terms for the label and for the MMD,

    min  E_q[-log p(x|z1, s) + KL(q(z1|x, s) || p(z1|z2, y)) + KL(q(z2|z1, y) || N(0, I)) - LABEL log q(y|z1)]
         + FAIRNESS || mean of psi(z1) where s = 0  -  mean of psi(z1) where s = 1 ||^2

Released is the mean of q(z1|x, s), which takes the private label to make, and the MMD is of means too.  Attackers
other than the paper's read the label in them nearly always, perhaps where they hardly vary, which the MMD overlooks.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor, nn

from benchmarks.baselines.interface import Representation, Samples
from benchmarks.baselines.training import (
    LATENT,
    RATE,
    Batch,
    accuracy,
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

PASSES = 12
LABEL = 10.0  # with 20 income is read at a balanced accuracy up to .79, above what was published
# On Adult the mean comes near to the published figures, but what the paper's classifier reads of sex swings by a tenth
# from seed to seed, and falls steeply between 45 and 80.  More passes want more.
FAIRNESS = 65.0
FEATURES = 500
# A wide kernel, 1 / LATENT, leaves sex at an accuracy of .88; a narrow one, 1, leaves nothing.
GAMMA = 4 / LATENT


class VFAE(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.encoder = posterior(inputs + 1)  # q(z1|x, s)
        self.upper = posterior(LATENT + 1)  # q(z2|z1, y)
        self.lower = posterior(LATENT + 1)  # p(z1|z2, y)
        self.decoder = perceptron(LATENT + 1, inputs)  # p(x|z1, s)
        self.classifier = perceptron(LATENT, 1)  # q(y|z1)

    def q1(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z1|x, s), [B, LATENT] each."""
        return self.encoder(torch.cat([batch.x, batch.private], dim=1))

    def loss(self, batch: Batch) -> Tensor:
        """What is minimised, in nats."""
        x, private, utility = batch
        q1 = self.q1(batch)
        z1 = drawn(*q1)
        q2 = self.upper(torch.cat([z1, utility], dim=1))
        p1 = self.lower(torch.cat([drawn(*q2), utility], dim=1))
        bound = (
            cross_entropy(x, self.decoder(torch.cat([z1, private], dim=1)))
            + divergence(q1, p1)
            + divergence_from_prior(*q2)
        )
        return bound + LABEL * label_loss(self.classifier(z1), utility) + FAIRNESS * apart(q1[0], private)


def divergence(q: tuple[Tensor, Tensor], p: tuple[Tensor, Tensor]) -> Tensor:
    """KL(q || p) in nats, the mean over the batch, of diagonal Gaussians by mean and log-variance, [B, LATENT] each."""
    mean, log_variance = q
    other_mean, other_log_variance = p
    ratio = (log_variance.exp() + (mean - other_mean).square()) / other_log_variance.exp()
    return 0.5 * (ratio - 1 + other_log_variance - log_variance).sum(dim=1).mean()


def apart(z: Tensor, private: Tensor) -> Tensor:
    """:func:`fast_mmd` of the two private classes, [B, Z] and [B, 1]; 0 where one of them is missing in the batch."""
    one, other = z[private[:, 0] == 1], z[private[:, 0] == 0]
    return fast_mmd(one, other, GAMMA) if len(one) and len(other) else z.new_zeros(())


def fast_mmd(one: Tensor, other: Tensor, gamma: float) -> Tensor:
    """The squared maximum mean discrepancy of [N, Z] and [M, Z] under k(z, z') = exp(-gamma ||z - z'||^2), about.

    By random kitchen sinks (Rahimi and Recht, 2009): psi(z) = sqrt(2 / D) cos(sqrt(2 gamma) zW + b) has D features,
    with W ~ N(0, I) and b ~ U[0, 2 pi], and its inner products have k as their expectation.
    """
    directions = math.sqrt(2 * gamma) * torch.randn(one.shape[1], FEATURES)
    phases = 2 * math.pi * torch.rand(FEATURES)
    mean, other_mean = (torch.cos(z @ directions + phases).mean(dim=0) for z in (one, other))
    return 2 / FEATURES * (mean - other_mean).square().sum()


def train(samples: Samples, seed: int) -> VFAE:
    torch.manual_seed(seed)
    model = VFAE(samples.x.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for batch in batches(samples, PASSES, optimizer):
        descend(optimizer, model.loss(batch))
    return model


def fit(train_samples: Samples, valid: Samples, seed: int) -> Representation:
    began = time.perf_counter()
    model = train(train_samples, seed)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        batch = tensors(valid)
        mean, _ = model.q1(batch)
        notes = {
            "MMD": float(apart(mean, batch.private)),
            "accuracy of its own classifier": accuracy(model.classifier(mean), batch.utility),
        }
    return Representation(
        without_gradients(lambda batch: model.q1(batch)[0], seed),
        cost(model, model.encoder, torch.zeros(1, valid.x.shape[1] + 1), seconds),
        notes,
    )
