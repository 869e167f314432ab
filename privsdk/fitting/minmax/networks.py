"""Networks whose weights come from a generator of their own; torch's random state stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def perceptron(sizes: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Fully connected layers of these sizes with an ELU between."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(sizes, sizes[1:], strict=False):
        layers += [nn.utils.skip_init(nn.Linear, inputs, outputs), nn.ELU()]
    network = nn.Sequential(*layers[:-1])
    initialise(network, generator)
    return network


def quadratic(size: int, classes: int, generator: torch.Generator) -> nn.Sequential:
    """Any quadratic form of a latent for each class: what tells spreads and correlations apart."""
    network = nn.Sequential(
        nn.utils.skip_init(nn.Linear, size, size), _WithSquares(), nn.utils.skip_init(nn.Linear, 2 * size, classes)
    )
    initialise(network, generator)
    return network


def initialise(network: nn.Sequential, generator: torch.Generator) -> None:
    """Fresh weights for every layer."""
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.Linear):
                layer.weight.normal_(0, layer.in_features**-0.5, generator=generator)
                layer.bias.zero_()


class _WithSquares(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x.square()], dim=1)
