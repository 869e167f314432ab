"""Small variational autoencoders whose decoder gives the logits of independent Bernoulli variables.

That is the likelihood of (1) in Chen, Navidi, Ermon, Rajagopal (2019) for binary data.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.networks.blocks import bounded


class BernoulliVAE(nn.Module):
    """Encoder, decoder, and linear attribute heads on the latent mean, for samples of one shape.

    ``encoder`` takes float [N, *shape] in [0, 1] and gives mean and log-variance, float [N, latent] each; ``decoder``
    takes float [N, latent] and gives logits [N, *shape].
    """

    sample_shape: tuple[int, ...]
    encoder: nn.Module
    decoder: nn.Module
    heads: nn.Linear

    def to_input(self, samples: Tensor) -> Tensor:
        """Stored samples, uint8 [N, *shape], as the encoder takes them."""
        raise NotImplementedError

    def to_samples(self, logits: Tensor) -> Tensor:
        """What a device decodes, uint8 [N, *shape], for the decoder's logits."""
        raise NotImplementedError

    def drawn(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """Samples like those of the data set, uint8 [N, *shape], drawn with the decoder's logits."""
        raise NotImplementedError


class Posterior(nn.Module):
    """Features to mean and log-variance of q(z|x), float [N, latent] each."""

    def __init__(self, features: nn.Module, size: int, latent: int) -> None:
        super().__init__()
        self.features = features
        self.output = nn.Linear(size, 2 * latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return bounded(self.output(self.features(x)))


class DigitVAE(BernoulliVAE):
    """28x28 grey digits, ink 255; a pixel's share of ink is the probability of a 1."""

    sample_shape = (28, 28)

    def __init__(self, latent: int, attributes: int) -> None:
        super().__init__()
        convolutions = nn.Sequential(
            nn.Unflatten(1, (1, 28)),
            nn.Conv2d(1, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 256),
            nn.ReLU(),
        )
        self.encoder = Posterior(convolutions, 256, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, 256),
            nn.ReLU(),
            nn.Linear(256, 32 * 7 * 7),
            nn.ReLU(),
            nn.Unflatten(1, (32, 7, 7)),
            nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1),
            nn.Flatten(1, 2),
        )
        self.heads = nn.Linear(latent, attributes)

    def to_input(self, samples: Tensor) -> Tensor:
        return samples.float() / 255

    def to_samples(self, logits: Tensor) -> Tensor:
        return (torch.sigmoid(logits) * 255).round().to(torch.uint8)

    def drawn(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        # Pixels drawn one by one would be noise, as in no digit.
        return self.to_samples(logits)


class TableVAE(BernoulliVAE):
    """Rows of one-hot groups of these ``sizes``; the most likely row has one 1 in each group."""

    def __init__(self, latent: int, attributes: int, sizes: Sequence[int], width: int = 256) -> None:
        super().__init__()
        inputs = sum(sizes)
        self.sizes = list(sizes)
        self.sample_shape = (inputs,)
        layers = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.encoder = Posterior(layers, width, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, inputs)
        )
        self.heads = nn.Linear(latent, attributes)

    def to_input(self, samples: Tensor) -> Tensor:
        return samples.float()

    def to_samples(self, logits: Tensor) -> Tensor:
        groups = [
            (group.argmax(dim=1, keepdim=True) == torch.arange(size)).to(torch.uint8)
            for group, size in zip(logits.split(self.sizes, dim=1), self.sizes, strict=True)
        ]
        return torch.cat(groups, dim=1)

    def drawn(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        groups = [
            F.one_hot(torch.multinomial(probabilities, 1, generator=generator)[:, 0], size)
            for probabilities, size in zip(torch.sigmoid(logits).split(self.sizes, dim=1), self.sizes, strict=True)
        ]
        return torch.cat(groups, dim=1).to(torch.uint8)
