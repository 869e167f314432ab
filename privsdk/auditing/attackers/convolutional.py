"""Convolutional networks on pixels: shapes and textures, and faint patterns at their places."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from privsdk.auditing.attackers.attacker import Attacker
from privsdk.fitting.engines.by_torch import TorchEngine

CHANNELS = (32, 64, 128)
PATCHES = 32  # along the shorter side of an image: what the first layer takes together grows with the image
GRID = 4  # places along a side that the last layer tells apart; of one mean over all it tells faces less well
BATCH = 64
PASSES = 6
LEAST_STEPS = 150  # of few images more passes are made: in fewer steps the weights hardly move
RATE = 3e-3
WEIGHT_DECAY = 0.05
SHIFT = 2  # pixels that a varied batch is moved by at most
# Images are mirrored too where the average image and its mirror image differ by less than this share of its variance:
# of aligned faces it is .01 to .04, of digits .2 and more, and a mirrored digit is none.
ASYMMETRY = 0.1
AT_ONCE = 256  # images scored at a time


class ConvolutionalNetwork(Attacker):
    """A small convolutional network, trained from scratch on uint8 ``[N, H, W, C]`` or ``[N, H, W]``.

    Every other batch is moved by up to two pixels, and mirrored where that makes sense: few images go further so.  The
    others stay as they are, for a label may be hidden in the same pixels of every image.

    It has one thread, and torch's threads and random state are afterwards as they were; one is trained at a time.
    """

    name = "convolutional network"
    limit = 2000

    def __init__(self, seed: int = 0, threads: int = 1, setting: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def fit(self, x: NDArray, y: NDArray) -> Self:
        images = _with_channels(x)
        self._mean = images.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._spread = max(float(np.std(images[:AT_ONCE] - self._mean)), 1.0)
        classes = torch.from_numpy(y.astype(np.int64))
        batch = min(BATCH, max(2, len(images) // 2))
        steps = len(images) // batch
        steps *= max(PASSES, math.ceil(LEAST_STEPS / steps))
        with TorchEngine().ready():
            self._network = _network(images.shape[1:], int(y.max()) + 1, self._generator)
            optimiser = torch.optim.AdamW(self._network.parameters(), RATE, weight_decay=WEIGHT_DECAY)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
            for step, rows in zip(range(steps), self._batches(len(images), batch), strict=False):
                pixels = self._scaled(images[rows.numpy()])
                loss = nn.functional.cross_entropy(
                    self._network(self._varied(pixels) if step % 2 else pixels), classes[rows]
                )
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
            self._network.eval()
        return self

    def score(self, x: NDArray) -> NDArray[np.float64]:
        images = _with_channels(x)
        parts = [images[start : start + AT_ONCE] for start in range(0, len(images), AT_ONCE)]
        with TorchEngine().ready(), torch.inference_mode():
            logits = torch.cat([self._network(self._scaled(part)) for part in parts]).double()
            return (logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits.log_softmax(dim=1)).numpy()

    def _batches(self, count: int, size: int) -> Iterator[Tensor]:
        """Rows for one step after the other, in a new order at each pass."""
        while True:
            yield from torch.randperm(count, generator=self._generator)[: count - count % size].split(size)

    def _scaled(self, images: NDArray[np.uint8]) -> Tensor:
        """float32 ``[N, C, H, W]``, still channels-last in memory."""
        return torch.from_numpy((images - self._mean) / np.float32(self._spread)).permute(0, 3, 1, 2)

    def _varied(self, pixels: Tensor) -> Tensor:
        """Mirrored one by one where that makes sense, moved as a batch."""
        if np.square(self._mean - self._mean[:, ::-1]).mean() < ASYMMETRY * self._mean.var():
            mirrored = torch.rand(len(pixels), generator=self._generator) < 0.5
            pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
        down, right = torch.randint(-SHIFT, SHIFT + 1, (2,), generator=self._generator).tolist()
        return pixels.roll((down, right), (2, 3)).contiguous(memory_format=torch.channels_last)


def _network(shape: tuple[int, ...], classes: int, generator: torch.Generator) -> nn.Sequential:
    """For images of ``shape`` (H, W, C): float32 ``[N, C, H, W]`` to logits ``[N, classes]``."""
    height, width, channels = shape
    patch = max(1, round(min(height, width) / PATCHES))
    layers = _layer(channels, CHANNELS[0], patch, generator)
    for inputs, outputs in pairwise(CHANNELS):
        layers += _layer(inputs, outputs, 1, generator)
    features = CHANNELS[-1] * GRID**2
    head = nn.utils.skip_init(nn.Linear, features, classes)
    nn.init.normal_(head.weight, 0, features**-0.5, generator=generator)
    nn.init.zeros_(head.bias)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(GRID), nn.Flatten(), head)


def _layer(inputs: int, outputs: int, patch: int, generator: torch.Generator) -> list[nn.Module]:
    """Takes three by three patches together, two patches apart."""
    # Drawing the weights as usual would advance the random state of the whole process.
    convolution = nn.utils.skip_init(nn.Conv2d, inputs, outputs, 3 * patch, 2 * patch, patch, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu", generator=generator)
    return [convolution, nn.BatchNorm2d(outputs), nn.SiLU()]


def _with_channels(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return images if images.ndim == 4 else images[..., None]
