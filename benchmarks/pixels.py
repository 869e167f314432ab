"""Attacks on released images, and how real those images look."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.train import mixed_precision
from privsdk.samples.faces import Detector
from privsdk.store.folder import write_atomically

Pixels = NDArray[np.uint8]

EPOCHS = 6
LONG_EPOCHS = 10  # of the network on raw faces, which others are compared with
BATCH = 128
RATE = 3e-3
SHIFT = 3  # pixels that a training face is moved by at most
MARGIN = 16  # pixels put around an aligned face before the detector looks for it


class PixelNetwork(nn.Module):
    """A plain convolutional network without residual paths, unlike all that a bundle is trained with.

    float32 ``[N, 3, 64, 64]`` in -1..1 to logits ``[N, labels]``; about 36 million multiply-adds a face.
    """

    FEATURES = 256

    def __init__(self, labels: int) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
            convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.SiLU())

        self.body = nn.Sequential(
            layer(3, 32, size=5, stride=2),
            layer(32, 64, stride=2),
            layer(64, 128, stride=2),
            layer(128, 128),
            layer(128, self.FEATURES, stride=2),
            layer(self.FEATURES, self.FEATURES),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(self.FEATURES, labels))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.body(pixels))


class PixelAttacker:
    """A network trained afresh on images, one output for each label asked for."""

    def __init__(self, labels: int, seed: int = 0, epochs: int = EPOCHS) -> None:
        torch.manual_seed(seed)
        self._network = PixelNetwork(labels).to(memory_format=torch.channels_last)
        self._seed = seed
        self._epochs = epochs

    def fit(
        self, pixels: Pixels, labels: NDArray[np.uint8], on_progress: Callable[[str, int, int], None]
    ) -> PixelAttacker:
        """``pixels`` uint8 ``[N, 64, 64, 3]``, ``labels`` 0/1 ``[N, K]``."""
        generator = torch.Generator().manual_seed(self._seed)
        images, targets = torch.from_numpy(pixels), torch.from_numpy(labels).float()
        steps = len(images) // BATCH
        optimiser = torch.optim.AdamW(self._network.parameters(), RATE, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps * self._epochs)
        self._network.train()
        for epoch in range(self._epochs):
            order = torch.randperm(len(images), generator=generator)
            for step in range(steps):
                rows = order[step * BATCH : (step + 1) * BATCH]
                logits = self._logits(_varied(_scaled(images[rows]), generator))
                loss = nn.functional.binary_cross_entropy_with_logits(logits, targets[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
            on_progress("pixel attacker", epoch + 1, self._epochs)
        self._network.eval()
        return self

    def save(self, path: Path) -> None:
        """The weights, whole or not at all."""
        content = BytesIO()
        torch.save(self._network.state_dict(), content)
        write_atomically(path, content.getvalue())

    def load(self, path: Path) -> PixelAttacker:
        """Itself with the weights that were saved there."""
        self._network.load_state_dict(torch.load(path, weights_only=True))
        self._network.eval()
        return self

    def score(self, pixels: Pixels) -> NDArray[np.float64]:
        """Log-odds ``[N, K]``: the mean over a face and its mirror image."""
        return self._over(pixels, lambda x: (self._logits(x) + self._logits(x.flip(3))) / 2)

    def features(self, pixels: Pixels) -> NDArray[np.float64]:
        """What the last layer sees: float64 ``[N, 256]``, for a Frechet distance."""
        return self._over(pixels, self._network.body)

    def _logits(self, scaled: Tensor) -> Tensor:
        with mixed_precision():
            return self._network(scaled).float()

    def _over(self, pixels: Pixels, compute: Callable[[Tensor], Tensor]) -> NDArray[np.float64]:
        with torch.no_grad():
            parts = [
                compute(_scaled(torch.from_numpy(pixels[start : start + 256]))).double().numpy()
                for start in range(0, len(pixels), 256)
            ]
        return np.concatenate(parts)


def _scaled(pixels: Tensor) -> Tensor:
    """uint8 ``[N, H, W, 3]`` to float32 ``[N, 3, H, W]`` in -1..1, still channels-last in memory."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def _varied(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrored one by one, moved a few pixels as a batch."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    down, right = torch.randint(-SHIFT, SHIFT + 1, (2,), generator=generator).tolist()
    return torch.roll(images, (down, right), (2, 3)).contiguous(memory_format=torch.channels_last)


def found_by(detector: Detector, pixels: Pixels) -> NDArray[np.bool_]:
    """In which of the images ``[N, 64, 64, 3]`` the detector finds a face, with a grey margin around each."""
    framed = np.pad(pixels, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=128)
    return np.array([bool(detector.find(image)) for image in framed])
