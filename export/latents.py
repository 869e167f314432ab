"""Latents of a data set, through the exported encoder: for everything the central side fits on latents."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from export.networks.blocks import to_input, to_pixels
from privsdk.codec import Codec

USED_VARIANCE = 0.8


@dataclass(frozen=True)
class Posteriors:
    """q(z|x) of N samples: mean and variance, float32 [N, Z]."""

    mean: np.ndarray
    variance: np.ndarray

    @property
    def used(self) -> np.ndarray:
        """bool [Z]: the dimensions in which the encoder says something (posterior narrower than the prior)."""
        return self.variance.mean(0) < USED_VARIANCE


def encode(codec: Codec, samples: np.ndarray) -> Posteriors:
    """Posteriors of uint8 [N, *shape], through the exported graph, as a device computes them."""
    latents = codec.encode(samples)
    return Posteriors(latents.mean, latents.variance)


def encode_views(codec: Codec, pixels: np.ndarray, views: int, seed: int, batch: int = 256) -> Posteriors:
    """Posteriors of images uint8 [N, 64, 64, 3] as they are and ``views`` times moved: N * (1 + views) rows."""
    generator = torch.Generator().manual_seed(seed)
    parts = [encode(codec, pixels)]
    for _ in range(views):
        for begin in range(0, len(pixels), batch):
            x = moved(to_input(torch.from_numpy(pixels[begin : begin + batch])), generator)
            parts.append(encode(codec, to_pixels(x)))
    return Posteriors(np.concatenate([p.mean for p in parts]), np.concatenate([p.variance for p in parts]))


def moved(x: Tensor, generator: torch.Generator) -> Tensor:
    """x, float [N, 3, H, W], mirrored at random, turned by about 4 degrees, scaled and shifted by about 5%."""
    count = len(x)
    angle = torch.randn(count, generator=generator) * math.radians(2)
    scale = 1 + 0.025 * torch.randn(count, generator=generator)
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    shift = 0.05 * torch.randn(count, 2, generator=generator)
    rows = torch.stack(
        [
            torch.stack([mirror * scale * angle.cos(), -scale * angle.sin(), shift[:, 0]], dim=1),
            torch.stack([mirror * scale * angle.sin(), scale * angle.cos(), shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(rows, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)
