"""The teacher: an attribute network on pixels.

It tells the VAE what in a face matters: its answers are targets for the attribute heads on the latent
mean, and its early features are where reconstructions are compared with their originals (feature matching).
"""

from __future__ import annotations

from torch import Tensor, nn

from export.networks.blocks import BatchNorm2d, Dropout, ResidualBlock


class Teacher(nn.Module):
    """Attribute logits from pixels.

    A 3x3 stem, then stages of one stride-2 convolution and one residual block each.
    """

    def __init__(self, attributes: int, channels: tuple[int, ...] = (32, 64, 128, 256), dropout: float = 0.3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels[0], 3, padding=1)
        incoming = (channels[0], *channels)
        self.stages = nn.ModuleList(
            nn.Sequential(
                BatchNorm2d(incoming[i]),
                nn.ReLU(),
                nn.Conv2d(incoming[i], channels[i], 3, stride=2, padding=1, bias=False),
                ResidualBlock(channels[i]),
            )
            for i in range(len(channels))
        )
        self.head = nn.Sequential(
            BatchNorm2d(channels[-1]),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            Dropout(dropout),
            nn.Linear(channels[-1], attributes),
        )

    def features(self, x: Tensor, stages: int) -> list[Tensor]:
        """Outputs of the first ``stages`` stages for x, float [N, 3, H, W] in [0, 1]."""
        x = self.stem(2 * x - 1)
        outputs = []
        for stage in self.stages[:stages]:
            x = stage(x)
            outputs.append(x)
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        """Attribute logits [N, attributes] for x, float [N, 3, H, W] in [0, 1]."""
        return self.head(self.features(x, len(self.stages))[-1])
