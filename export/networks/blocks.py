"""Parts that the networks share, and the way from stored pixels to a network's input."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export import processes


def to_input(pixels: Tensor) -> Tensor:
    """Stored pixels, uint8 [N, H, W, 3], as float32 [N, 3, H, W] in [0, 1], channels last in memory."""
    return pixels.permute(0, 3, 1, 2).float() / 255


def to_stored(x: Tensor) -> Tensor:
    """float [N, 3, H, W] in about [0, 1] as stored pixels, uint8 [N, H, W, 3]."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def to_pixels(x: Tensor) -> np.ndarray:
    """:func:`to_stored` as a NumPy array."""
    return to_stored(x).contiguous().cpu().numpy()


def bounded(output: Tensor) -> tuple[Tensor, Tensor]:
    """An encoder's last layer, float [N, 2 * latent], as mean and log-variance, float32 [N, latent] each.

    The bounds are far outside what training reaches: they keep exp() finite on samples unlike any other.
    """
    mean, log_variance = output.float().chunk(2, dim=1)
    return mean, log_variance.clamp(-12.0, 4.0)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the whole batch, also where several processes have a share of it each."""

    momentum: float
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or processes.count() == 1:
            return super().forward(x)
        # By the library's own pass: torch.var_mean takes seven times as long.  It gives its figures in the type of the
        # running ones, which it leaves as they are.
        mean, variance = torch.batch_norm_update_stats(x.detach(), self.running_mean, self.running_var, momentum=0.0)
        mean, square = processes.averaged(torch.stack([mean, variance + mean.square()]))
        variance = square - mean.square()
        values = x.numel() // x.shape[1] * processes.count()
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (values / (values - 1)), self.momentum)
        self.num_batches_tracked += 1
        return cast(Tensor, _Normalise.apply(x, self.weight, self.bias, mean, variance, self.eps))  # type: ignore[no-untyped-call]


class _Normalise(torch.autograd.Function):
    """To mean 0 and variance 1 over the whole batch, by a mean and a variance that all its values have a part in."""

    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float
    ) -> Tensor:
        context.save_for_backward(x, weight, mean, variance)
        context.eps = eps
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(context: Any, asked: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = context.saved_tensors
        # As if mean and variance were given; what is missing then is one affine map of x for each channel.
        inverse = (variance + context.eps).rsqrt()  # on a GPU the pass wants it beside the variance
        to_x, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            asked, x, weight, mean, variance, mean, inverse, False, context.eps, [True, True, True]
        )
        values = x.numel() // x.shape[1]
        weight_share, bias_share = processes.averaged(torch.stack([to_weight, to_bias])) / values
        slope = -weight * weight_share * inverse.square()
        offset = -weight * bias_share * inverse - slope * mean
        one = torch.full_like(mean, 1 - context.eps)  # with the eps, of which none is refused
        missing = F.batch_norm(x, torch.zeros_like(mean), one, slope, offset, training=False, eps=context.eps)
        return to_x.add_(missing), to_weight, to_bias, None, None, None


class Dropout(nn.Dropout):
    """Dropout that draws for the whole batch, also where several processes have a share of it each."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or processes.count() == 1:
            return super().forward(x)
        whole = x.new_ones(len(x) * processes.count(), *x.shape[1:])
        return x * processes.share(super().forward(whole))


class ResidualBlock(nn.Module):
    """x + convolutions(x), pre-activated; channels and size stay the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convolutions(x)


def multiply_adds(network: nn.Module, example: Tensor) -> int:
    """Multiply-adds of the convolutions and linear layers for one forward pass of ``example`` [1, ...]."""
    count = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal count
        if isinstance(module, nn.Conv2d):
            per_output = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
            count += output.numel() * per_output
        elif isinstance(module, nn.ConvTranspose2d):
            per_input = module.out_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
            count += inputs[0].numel() * per_input
        elif isinstance(module, nn.Linear):
            count += output.numel() * module.in_features

    handles = [module.register_forward_hook(add) for module in network.modules()]
    was_training = network.training
    with torch.no_grad():
        network.eval()(example)
    network.train(was_training)
    for handle in handles:
        handle.remove()
    return count
