"""A plain variational autoencoder (Kingma and Welling, 2013), which knows no label: what there is to hide.

Trained by (1) of Chen, Navidi, Ermon, Rajagopal (2019), the negative ELBO with independent Bernoulli variables:

    min  E_q(z|x)[-log p(x|z)] + KL(q(z|x) || N(0, I))

Released is the mean of q(z|x).
"""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from benchmarks.baselines.interface import Representation, Samples
from benchmarks.baselines.training import (
    LATENT,
    RATE,
    batches,
    cost,
    descend,
    drawn,
    perceptron,
    posterior,
    tensors,
    without_gradients,
)
from export.losses import cross_entropy, divergence_from_prior

PASSES = 40


class VAE(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.encoder = posterior(inputs)  # q(z|x)
        self.decoder = perceptron(LATENT, inputs)  # p(x|z)

    def loss(self, x: Tensor) -> Tensor:
        """(1) in nats, of x [B, D]."""
        q = self.encoder(x)
        return cross_entropy(x, self.decoder(drawn(*q))) + divergence_from_prior(*q)


def train(samples: Samples, seed: int) -> VAE:
    torch.manual_seed(seed)
    model = VAE(samples.x.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for batch in batches(samples, PASSES, optimizer):
        descend(optimizer, model.loss(batch.x))
    return model


def fit(train_samples: Samples, valid: Samples, seed: int) -> Representation:
    began = time.perf_counter()
    model = train(train_samples, seed)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        notes = {"negative ELBO": float(model.loss(tensors(valid).x))}
    return Representation(
        without_gradients(lambda batch: model.encoder(batch.x)[0], seed),
        cost(model, model.encoder, torch.zeros(1, valid.x.shape[1]), seconds),
        notes,
    )
