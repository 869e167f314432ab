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
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

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
from export.losses import cross_entropy, squared_error
from export.networks import vae
from export.networks.blocks import to_input
from export.train import accelerator

PASSES = 30
FACE_PASSES = 10  # with 30 its own classifier was no better on the valid partition
UTILITY = 1.0
RECONSTRUCTION = 0.01  # of a sum over all inputs, which the utility label's loss is small beside
FAIRNESS = 1.0
NOISE = 0.3
ADVERSARY_STEPS = 2  # for each of the encoder's


@dataclass(frozen=True)
class Networks:
    """How f and k are made for one kind of sample: f gives [N, latent], k takes [N, latent + 1].

    ``to_input`` turns what ``Samples`` hold into what both work on; ``loss`` is L_Dec.
    """

    latent: int
    encoder: Callable[[], nn.Module]
    decoder: Callable[[], nn.Module]
    to_input: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]


def of_rows(inputs: int) -> Networks:
    """For rows float [N, ``inputs``] in [0, 1]."""
    encoder, decoder = partial(perceptron, inputs, LATENT), partial(perceptron, LATENT + 1, inputs)
    return Networks(LATENT, encoder, decoder, lambda x: x, cross_entropy)


class FaceEncoder(nn.Module):
    """The mean of the encoder that ships, of float [N, 3, 64, 64]; some at a time, as a whole data set fills memory."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.posterior = vae.Encoder(latent)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.posterior(part)[0] for part in x.split(1000)])


def of_faces() -> Networks:
    """For images uint8 [N, 64, 64, 3], with networks as large as those of the bundle that ships."""
    latent = 50
    return Networks(latent, partial(FaceEncoder, latent), partial(vae.Decoder, latent + 1), to_input, squared_error)


class LAFTR(nn.Module):
    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.networks = networks
        self.encoder = networks.encoder()  # f
        self.classifier = perceptron(networks.latent, 1)  # g
        self.decoder = networks.decoder()  # k

    def encoded(self, x: Tensor) -> Tensor:
        """f(x) with its noise, [B, latent]."""
        mean = torch.tanh(self.encoder(self.networks.to_input(x)))
        return mean + NOISE * torch.randn_like(mean)


def told(logits: Tensor, private: Tensor) -> Tensor:
    """L_Adv of an adversary's ``logits`` in nats, both [B, 1]: log 2 where it knows all, 0 where it knows nothing.

    A group that a batch has nobody of counts as guessed by chance.
    """
    groups = [private == one for one in (0, 1)]
    wrong = [label_loss(logits[own], private[own]) if own.any() else logits.new_tensor(math.log(2)) for own in groups]
    return math.log(2) - sum(wrong) / 2


def train(samples: Samples, networks: Networks, passes: int, seed: int) -> tuple[LAFTR, nn.Module]:
    """The networks, and the adversary as the game left it."""
    torch.manual_seed(seed)
    device = accelerator()
    model, adversary = LAFTR(networks).to(device), perceptron(networks.latent, 1).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    against = torch.optim.Adam(adversary.parameters(), lr=RATE)  # its rate stays: it must keep up to the end
    for batch in batches(samples, passes, optimizer):
        x, private, utility = (one.to(device) for one in batch)
        z = model.encoded(x)
        for _ in range(ADVERSARY_STEPS):
            descend(against, -told(adversary(z.detach()), private))
        reconstructed = model.decoder(torch.cat([z, private], dim=1))
        descend(
            optimizer,
            UTILITY * label_loss(model.classifier(z), utility)
            + RECONSTRUCTION * networks.loss(networks.to_input(x), reconstructed)
            + FAIRNESS * told(adversary(z), private),
        )
    return model.cpu().eval(), adversary.cpu()


def fit(train_samples: Samples, valid: Samples, seed: int) -> Representation:
    return fitted(train_samples, valid, of_rows(valid.x.shape[1]), PASSES, seed)


def fit_faces(train_samples: Samples, valid: Samples, seed: int) -> Representation:
    """Of images."""
    return fitted(train_samples, valid, of_faces(), FACE_PASSES, seed)


def fitted(train_samples: Samples, valid: Samples, networks: Networks, passes: int, seed: int) -> Representation:
    """Trained with these networks, in so many passes over the samples."""
    began = time.perf_counter()
    model, adversary = train(train_samples, networks, passes, seed)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        x, private, utility = tensors(valid)
        z = model.encoded(x)
        notes = {
            "accuracy of its own adversary": accuracy(adversary(z), private),
            "accuracy of its own classifier": accuracy(model.classifier(z), utility),
        }
        example = networks.to_input(x[:1])
    return Representation(
        without_gradients(lambda batch: model.encoded(batch.x), seed),
        cost(nn.ModuleList([model, adversary]), model.encoder, example, seconds),
        notes,
    )
