"""The patch critic that the decoder is sharpened against."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


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
