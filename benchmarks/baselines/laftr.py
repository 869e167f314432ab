"""Adversarially fair representations (Madras, Creager, Pitassi, Zemel, 2018), for demographic parity.

An encoder f, a decoder k, a classifier g of the utility label y, and an adversary h that seeks the private label a,

    min over f, g, k  max over h
        UTILITY L_C(g(f(x)), y) + RECONSTRUCTION L_Dec(k(f(x), a), x) + FAIRNESS L_Adv(h(f(x)), a)

with L_Adv = log 2 - the mean over a = 0, 1 of the adversary's cross-entropy among those with that label, normalised by
group as theirs is.  With |h - a| in place of the cross-entropy, as they have it, the adversary fell behind, and fresh
attackers read all.  So they did where f is deterministic, as theirs is: the smallest trace of a label is then read as
well as a large one.  Hence f(x) lies in [-1, 1] here, and has noise.
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
    accuracy,
    batches,
    cost,
    descend,
    label_loss,
    perceptron,
    tensors,
    without_gradients,
)
from export.losses import cross_entropy

PASSES = 30
UTILITY = 1.0
RECONSTRUCTION = 0.01  # of a sum over all inputs, which the utility label's loss is small beside
FAIRNESS = 1.0
NOISE = 0.3
ADVERSARY_STEPS = 2  # for each of the encoder's


class LAFTR(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.encoder = perceptron(inputs, LATENT)  # f
        self.classifier = perceptron(LATENT, 1)  # g
        self.decoder = perceptron(LATENT + 1, inputs)  # k

    def encoded(self, x: Tensor) -> Tensor:
        """f(x) with its noise, [B, LATENT]."""
        mean = torch.tanh(self.encoder(x))
        return mean + NOISE * torch.randn_like(mean)


def told(logits: Tensor, private: Tensor) -> Tensor:
    """L_Adv of an adversary's ``logits`` in nats, both [B, 1]: log 2 where it knows all, 0 where it knows nothing.

    A group that a batch has nobody of counts as guessed by chance.
    """
    groups = [private == one for one in (0, 1)]
    wrong = [label_loss(logits[own], private[own]) if own.any() else logits.new_tensor(math.log(2)) for own in groups]
    return math.log(2) - sum(wrong) / 2


def train(samples: Samples, seed: int) -> tuple[LAFTR, nn.Module]:
    """The networks, and the adversary as the game left it."""
    torch.manual_seed(seed)
    model, adversary = LAFTR(samples.x.shape[1]), perceptron(LATENT, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    against = torch.optim.Adam(adversary.parameters(), lr=RATE)  # its rate stays: it must keep up to the end
    for x, private, utility in batches(samples, PASSES, optimizer):
        z = model.encoded(x)
        for _ in range(ADVERSARY_STEPS):
            descend(against, -told(adversary(z.detach()), private))
        reconstructed = model.decoder(torch.cat([z, private], dim=1))
        descend(
            optimizer,
            UTILITY * label_loss(model.classifier(z), utility)
            + RECONSTRUCTION * cross_entropy(x, reconstructed)
            + FAIRNESS * told(adversary(z), private),
        )
    return model, adversary


def fit(train_samples: Samples, valid: Samples, seed: int) -> Representation:
    began = time.perf_counter()
    model, adversary = train(train_samples, seed)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        x, private, utility = tensors(valid)
        z = model.encoded(x)
        notes = {
            "accuracy of its own adversary": accuracy(adversary(z), private),
            "accuracy of its own classifier": accuracy(model.classifier(z), utility),
        }
    return Representation(
        without_gradients(lambda batch: model.encoded(batch.x), seed),
        cost(nn.ModuleList([model, adversary]), model.encoder, valid.x.shape[1], seconds),
        notes,
    )
