"""Encoder and decoder of Chen, Navidi, Ermon, Rajagopal (2019), Tables 5 and 6, for 64x64 images.

The text of the tables gives layers and replications; growth rate and channels are formulas in it that we do not have.
They are taken as in DenseNet-BC (Huang, Liu, van der Maaten, Weinberger, 2017) with its smallest growth rate, 12:
twice that many channels to begin with, bottlenecks of four times as many, and half of all channels after a transition.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.networks.blocks import BatchNorm2d, bounded
from export.networks.vae import SIDE

GROWTH = 12
LAYERS = 12  # of a block
BLOCKS = 3


def normalised(*convolution: nn.Module, channels: int) -> list[nn.Module]:
    return [BatchNorm2d(channels), nn.ReLU(), *convolution]


class DenseLayer(nn.Module):
    """[N, C, H, W] to [N, C + GROWTH, H, W]: the new channels beside those that they come from."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        bottleneck = 4 * GROWTH
        self.convolutions = nn.Sequential(
            *normalised(nn.Conv2d(channels, bottleneck, 1, bias=False), channels=channels),
            *normalised(nn.Conv2d(bottleneck, GROWTH, 3, padding=1, bias=False), channels=bottleneck),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.convolutions(x)], dim=1)


class DenseEncoder(nn.Module):
    """float [N, 3, 64, 64] in [0, 1] to mean and log-variance, float [N, latent] each; 758 million multiply-adds."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        channels = 2 * GROWTH
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1)]
        for _ in range(BLOCKS):
            layers += [DenseLayer(channels + i * GROWTH) for i in range(LAYERS)]
            channels += LAYERS * GROWTH
            layers += normalised(nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2), channels=channels)
            channels //= 2
        side = SIDE >> BLOCKS
        self.layers = nn.Sequential(*layers, BatchNorm2d(channels), nn.Flatten())
        self.output = nn.Linear(channels * side * side, 2 * latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return bounded(self.output(self.layers(2 * x - 1)))


class DenseDecoder(nn.Module):
    """float [N, latent] to float [N, 3, 64, 64]; what the final clamp to [0, 1] cuts off is the caller's."""

    def __init__(self, latent: int, channels: tuple[int, ...] = (256, 128, 64, 32, 16)) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(latent, channels[0] * 4 * 4), nn.Unflatten(1, (channels[0], 4, 4))]
        for incoming, outgoing in zip(channels, channels[1:], strict=False):
            upsampling = nn.ConvTranspose2d(incoming, outgoing, 3, stride=2, padding=1, output_padding=1)
            layers += [upsampling, nn.ReLU(), BatchNorm2d(outgoing)]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(channels[-1], 3, 5, padding=2))

    def per_pixel(self) -> list[nn.Module]:
        """Layers with weights of their own for each pixel."""
        return []

    def forward(self, z: Tensor) -> Tensor:
        return 0.5 + 0.5 * self.layers(z)
