"""The variational autoencoder for 64x64 images: q(z|x) = N(mean, diag(exp(log-variance))) and its decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.networks.blocks import BatchNorm2d, ResidualBlock, bounded

SIDE = 64
HALF = SIDE // 2


class Encoder(nn.Module):
    """float [N, 3, 64, 64] in [0, 1] to mean and log-variance, float [N, latent] each.

    Stride-2 convolutions with a residual block at each size but the last; 62 million multiply-adds.  Beside them
    a linear map of the image at half size adds to the mean: what is linear need not go through the convolutions.
    """

    def __init__(self, latent: int, channels: tuple[int, ...] = (24, 64, 128, 256)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        incoming = 3
        for i, outgoing in enumerate(channels):
            layers.append(nn.Conv2d(incoming, outgoing, 3, stride=2, padding=1))
            if i < len(channels) - 1:
                layers += [ResidualBlock(outgoing), BatchNorm2d(outgoing), nn.ReLU()]
            incoming = outgoing
        side = SIDE >> len(channels)
        self.convolutions = nn.Sequential(*layers, BatchNorm2d(incoming), nn.ReLU(), nn.Flatten())
        self.output = nn.Linear(incoming * side * side, 2 * latent)
        self.linear = nn.Linear(3 * HALF * HALF, latent, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = 2 * x - 1
        mean, log_variance = bounded(self.output(self.convolutions(x)))
        return mean + self.linear(F.avg_pool2d(x, 2).flatten(1)).float(), log_variance


class Decoder(nn.Module):
    """float [N, latent] to float [N, 3, 64, 64]; what the final clamp to [0, 1] cuts off is the caller's.

    Bilinear upsampling throughout: a pixel shuffle leaves a faint grid.  Few channels at full size, since
    layers with many channels there cost as much as all the rest.  The convolutions add to a linear map of z to an
    image of half the size, and begin with nothing to add: they have only to learn what is not linear.
    """

    def __init__(self, latent: int, channels: tuple[int, ...] = (256, 128, 64, 32, 16)) -> None:
        super().__init__()
        top, eight, sixteen, thirty_two, full = channels
        self.input = nn.Linear(latent, top * 4 * 4)
        self.top = top
        self.linear = nn.Linear(latent, 3 * HALF * HALF)
        nn.init.normal_(self.linear.weight, std=0.01)
        self.convolutions = nn.Sequential(
            BatchNorm2d(top),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(top, eight, 3, padding=1),
            ResidualBlock(eight),
            BatchNorm2d(eight),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(eight, sixteen, 3, padding=1),
            ResidualBlock(sixteen),
            BatchNorm2d(sixteen),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(sixteen, thirty_two, 3, padding=1),
            BatchNorm2d(thirty_two),
            nn.ReLU(),
            nn.Conv2d(thirty_two, full, 3, padding=1),
            BatchNorm2d(full),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(full, full, 3, padding=1),
            ResidualBlock(full),
            BatchNorm2d(full),
            nn.ReLU(),
            nn.Conv2d(full, 3, 3, padding=1),
        )
        for parameter in self.convolutions[-1].parameters():
            nn.init.zeros_(parameter)

    def per_pixel(self) -> list[nn.Module]:
        """Layers with weights of their own for each pixel."""
        return [self.linear]

    def forward(self, z: Tensor) -> Tensor:
        x = self.input(z).reshape(-1, self.top, 4, 4).contiguous(memory_format=torch.channels_last)
        coarse = self.linear(z).reshape(-1, 3, HALF, HALF)
        coarse = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        return 0.5 + 0.5 * (self.convolutions(x) + coarse)
