"""The critic that the decoder is sharpened against: one part sees patches of pixels, one the teacher's features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Critic(nn.Module):
    """Scores of images, float [N, 3, 64, 64], and of their features in the teacher's first stages.

    Patches judge texture (skin, hair, grain).  What they are too small for, whether a face hangs together, the features
    tell: a small critic on those of a trained network need not learn first what a face is (projected GANs: Sauer,
    Chitta, Mueller and Geiger, 2021).
    """

    def __init__(self, stages: Sequence[int]) -> None:
        super().__init__()
        self.patches = PatchCritic()
        self.features = FeatureCritic(stages)

    def forward(self, images: Tensor, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return self.patches(images).float(), self.features(features).float()


class PatchCritic(nn.Module):
    """One score for each patch of an image; float [N, 3, 64, 64] to float [N, 1, 16, 16].

    It sees few pixels at once, so it judges texture (skin, hair, grain) and not who is shown.
    """

    def __init__(self, channels: tuple[int, ...] = (24, 48, 96)) -> None:
        super().__init__()
        first, second, third = channels
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(3, first, 3, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(first, second, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(second, third, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(third, third, 3, padding=1)),
            nn.LeakyReLU(0.2),
            nn.Conv2d(third, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(2 * x - 1)


class FeatureCritic(nn.Module):
    """One score for each place of each stage: feature maps float [N, channels, H, W] each to float [N, places]."""

    def __init__(self, stages: Sequence[int], hidden: int = 48) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(channels, hidden, 3, padding=1)), nn.LeakyReLU(0.2), nn.Conv2d(hidden, 1, 1)
            )
            for channels in stages
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        scores = [judge(seen).flatten(1) for judge, seen in zip(self.stages, features, strict=True)]
        return torch.cat(scores, dim=1)
