"""The flow of couplings in torch: defined and trained here, applied by ``privsdk.filters.couplings``.

One definition serves the public flow g (no context; trained centrally for many minutes, with checkpoints) and
the code's conditional flow f (context: scores; trained on the device in seconds).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from privsdk.filters.couplings import LOG_SCALE_BOUND, Couplings
from privsdk.fitting.schedule import Schedule


class CouplingFlow(nn.Module):
    """A chain of affine couplings of halves, each behind a fixed random rotation; at first, rotations alone.

    ``size`` is the number of inputs, ``context`` that of the numbers the couplings may look at besides;
    ``width`` that of the units in each of a conditioner's two hidden SiLU layers.
    """

    def __init__(self, size: int, couplings: int, width: int, context: int = 0, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        kept = size - size // 2
        moved = size // 2
        random = torch.randn(couplings, size, size, generator=generator, dtype=torch.float64)
        self.register_buffer("rotation", torch.linalg.qr(random)[0].float())
        self.rotation: Tensor

        def weight(inputs: int, outputs: int) -> nn.Parameter:
            spread = math.sqrt(2.0 / inputs)
            return nn.Parameter(spread * torch.randn(couplings, inputs, outputs, generator=generator))

        self.weight_1 = weight(kept + context, width)
        self.bias_1 = nn.Parameter(torch.zeros(couplings, width))
        self.weight_2 = weight(width, width)
        self.bias_2 = nn.Parameter(torch.zeros(couplings, width))
        self.weight_3 = nn.Parameter(torch.zeros(couplings, width, 2 * moved))
        self.bias_3 = nn.Parameter(torch.zeros(couplings, 2 * moved))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Codes [N, D] of ``x`` [N, D] given ``context`` [N, C], and the log-determinant [N]."""
        log_determinant = x.new_zeros(x.shape[0])
        for rotation, *conditioner in self._layers():
            x = x @ rotation
            a, b = _halves(x)
            log_scale, shift = _conditioner(a, context, *conditioner)
            x = torch.cat([a, b * log_scale.exp() + shift], dim=1)
            log_determinant = log_determinant + log_scale.sum(1)
        return x, log_determinant

    def inverse(self, code: Tensor, context: Tensor | None = None) -> Tensor:
        """What :meth:`forward` makes ``code`` of."""
        x = code
        for rotation, *conditioner in reversed(self._layers()):
            a, b = _halves(x)
            log_scale, shift = _conditioner(a, context, *conditioner)
            x = torch.cat([a, (b - shift) * (-log_scale).exp()], dim=1) @ rotation.T
        return x

    def negative_log_likelihood(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Of each row, in nats a dimension, up to the constant of the normal density: [N]."""
        code, log_determinant = self(x, context)
        return (0.5 * code.square().sum(1) - log_determinant) / x.shape[1]

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The weights by name, as :class:`privsdk.filters.couplings.Couplings` reads them."""
        return {name: value.detach().cpu().numpy().astype(np.float32) for name, value in self.state_dict().items()}

    def to_numpy(self) -> Couplings:
        """The same flow in NumPy."""
        return Couplings.from_arrays(self.arrays())

    def _layers(self) -> list[tuple[Tensor, ...]]:
        """Of each coupling the rotation and the conditioner's weights."""
        # Taken apart once: the gradient of every weight[layer] would be a whole tensor, nearly all of it zeros.
        conditioner = (self.weight_1, self.bias_1, self.weight_2, self.bias_2, self.weight_3, self.bias_3)
        return list(zip(self.rotation, *conditioner, strict=True))


class FlowTraining:
    """Trains a flow one step at a time; can be stopped anywhere and go on from :meth:`state`.

    ::

        training = FlowTraining(flow, Schedule(steps=1000))
        while training.step < training.schedule.steps:
            training.take(batch)                  # returns the mean negative log-likelihood
        flow = training.averaged
    """

    def __init__(self, flow: CouplingFlow, schedule: Schedule) -> None:
        self.flow = flow
        self.schedule = schedule
        self.averaged = copy.deepcopy(flow).requires_grad_(False)
        self.step = 0
        self._optimizer = torch.optim.AdamW(
            flow.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
        )

    def take(self, x: Tensor, context: Tensor | None = None) -> float:
        """One step on the batch ``x`` [N, D], ``context`` [N, C]; its mean negative log-likelihood."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        loss = self.flow.negative_log_likelihood(x, context).mean()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.flow.parameters(), self.schedule.clip)
        self._optimizer.step()
        self.step += 1
        self._average()
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """All that :meth:`load` needs to go on as if nothing had happened."""
        return {
            "step": self.step,
            "flow": self.flow.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state` of a training with the same flow and schedule."""
        self.step = state["step"]
        self.flow.load_state_dict(state["flow"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _average(self) -> None:
        kept = self.schedule.kept(self.step)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.flow.parameters()), 1 - kept)


def _conditioner(
    a: Tensor,
    context: Tensor | None,
    weight_1: Tensor,
    bias_1: Tensor,
    weight_2: Tensor,
    bias_2: Tensor,
    weight_3: Tensor,
    bias_3: Tensor,
) -> tuple[Tensor, Tensor]:
    """The conditioner: log s and m for the half that is moved, each [N, D // 2]."""
    if context is not None:
        a = torch.cat([a, context], dim=1)
    hidden = nn.functional.silu(torch.addmm(bias_1, a, weight_1))
    hidden = nn.functional.silu(torch.addmm(bias_2, hidden, weight_2))
    log_scale, shift = torch.addmm(bias_3, hidden, weight_3).chunk(2, dim=1)
    return LOG_SCALE_BOUND * torch.tanh(log_scale / LOG_SCALE_BOUND), shift


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """What a coupling leaves as it is, and what it moves."""
    kept = x.shape[1] - x.shape[1] // 2
    return x[:, :kept], x[:, kept:]


def validation_loss(flow: CouplingFlow, x: Tensor, context: Tensor | None = None, batch: int = 4096) -> float:
    """The mean negative log-likelihood of ``x`` [N, D], as :class:`FlowTraining` gives it."""
    with torch.no_grad():
        total = sum(
            float(
                flow.negative_log_likelihood(
                    x[start : start + batch], None if context is None else context[start : start + batch]
                ).sum()
            )
            for start in range(0, len(x), batch)
        )
    return total / len(x)
