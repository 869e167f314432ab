"""A generator against a fixed classifier (Rezaei, Xiao, Gao, Li, 2018): it fools that one, and no other.

Two classifiers, of the private label p and of the utility label u, are trained on samples as they are and stay so.  A
generator G then turns samples into samples,

    min over G   UTILITY H(u, c_u(G(x))) + PRIVATE H(pi, c_p(G(x))) + DISTANCE ||G(x) - x||^2

H being the cross-entropy and pi the share of p = 1: in our reading the private classifier shall answer of everybody
what is true of all.  In place of a discriminator the distance alone keeps G(x) near to what samples look like.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.baselines.interface import Representation, Samples
from benchmarks.baselines.training import (
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

CLASSIFIER_PASSES = 5
PASSES = 15
UTILITY = 1.0
PRIVATE = 10.0
DISTANCE = 0.02


class Generator(nn.Module):
    """float [N, D] in [0, 1] to float [N, D] in [0, 1]."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.layers = perceptron(inputs, inputs, layers=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.layers(x))


@dataclass(frozen=True)
class Trained:
    generator: Generator
    private: nn.Module  # c_p, logits [N, 1]
    utility: nn.Module  # c_u


def train(samples: Samples, seed: int) -> Trained:
    torch.manual_seed(seed)
    inputs = samples.x.shape[1]
    private_classifier, utility_classifier = perceptron(inputs, 1), perceptron(inputs, 1)
    classifiers = nn.ModuleList([private_classifier, utility_classifier])
    optimizer = torch.optim.Adam(classifiers.parameters(), lr=RATE)
    for x, private, utility in batches(samples, CLASSIFIER_PASSES, optimizer):
        descend(optimizer, label_loss(private_classifier(x), private) + label_loss(utility_classifier(x), utility))
    classifiers.requires_grad_(False)

    generator, share = Generator(inputs), float(samples.private.mean())
    optimizer = torch.optim.Adam(generator.parameters(), lr=RATE)
    for x, private, utility in batches(samples, PASSES, optimizer):
        made = generator(x)
        descend(
            optimizer,
            UTILITY * label_loss(utility_classifier(made), utility)
            + PRIVATE * label_loss(private_classifier(made), torch.full_like(private, share))
            + DISTANCE * (made - x).square().sum(dim=1).mean(),
        )
    return Trained(generator, private_classifier, utility_classifier)


def fit(train_samples: Samples, valid: Samples, seed: int) -> Representation:
    began = time.perf_counter()
    trained = train(train_samples, seed)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        x, private, utility = tensors(valid)
        made = trained.generator(x)
        notes = {
            "accuracy of its fixed private classifier": accuracy(trained.private(made), private),
            "accuracy of its fixed utility classifier": accuracy(trained.utility(made), utility),
            "squared distance": float((made - x).square().sum(dim=1).mean()),
        }
    everything = nn.ModuleList([trained.generator, trained.private, trained.utility])
    return Representation(
        without_gradients(lambda batch: trained.generator(batch.x), seed),
        cost(everything, trained.generator, x[:1], seconds),
        notes,
    )
