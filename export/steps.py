"""Training steps as ONNX graphs, so that a device without torch fits what torch fits.

Each is forward, backward and optimizer in one, traced from the torch code that trains the same: the gradient is torch's
own.  They fit any batch, latent, context, width and number of classes; of the number of couplings there is one each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch._decomp import get_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from export.to_onnx import exported
from privsdk.fitting.engines.by_onnx import WEIGHTS
from privsdk.fitting.engines.engine import FOR_CLASSES, PLAIN, Network, Size
from privsdk.fitting.flows import CouplingFlow

FIRST, SECOND, SMALL = 0.9, 0.999, 1e-8
"""AdamW's, as torch has them by default."""

SIZES = (PLAIN, FOR_CLASSES)
Step = Callable[..., tuple[Tensor, ...]]


def write(folder: Path) -> list[Path]:
    """All steps as files in ``folder``, which are replaced."""
    steps = {"classifier": classifier_step(), **{f"couplings_{size.couplings}": coupling_step(size) for size in SIZES}}
    written = []
    for name, content in steps.items():
        written.append(folder / f"{name}.onnx")
        written[-1].write_bytes(content)
    return written


def classifier_step() -> bytes:
    """A step of a network with two hidden layers of ELUs, on the cross-entropy with ``targets`` [B, C]."""
    decay, count = Network().weight_decay, len(WEIGHTS)

    def step(z: Tensor, targets: Tensor, rate: Tensor, taken: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        weights = [value.detach().requires_grad_() for value in state[:count]]
        weight_1, bias_1, weight_2, bias_2, weight_3, bias_3 = weights
        hidden = nn.functional.elu(z @ weight_1 + bias_1)
        hidden = nn.functional.elu(hidden @ weight_2 + bias_2)
        # Written out: torch's exporter forgets the mean in the gradient of the loss that takes classes.
        log_likely = nn.functional.log_softmax(hidden @ weight_3 + bias_3, dim=1)
        loss = -(targets * log_likely).sum(1).mean()
        gradients = torch.autograd.grad(loss, weights)
        return loss.detach(), *_adamw(state, gradients, rate, taken, decay)

    rows, size, width, classes = 7, 5, 4, 3
    shapes = [(size, width), (width,), (width, width), (width,), (width, classes), (classes,)]
    weights = [torch.randn(shape) for shape in shapes]
    batch = {"z": torch.randn(rows, size), "targets": torch.eye(classes)[torch.arange(rows) % classes]}
    return _graph(step, batch, weights, ("first", "second"))


def coupling_step(size: Size) -> bytes:
    """A step of a flow of couplings, on the mean negative log-likelihood of ``x`` [B, U] given ``context`` [B, C]."""
    schedule, count = size.schedule, len(WEIGHTS)
    # No two lengths of the example are the same, nor any sum or half of them: the tracer takes them for one.
    example = CouplingFlow(29, size.couplings, 23, 5)

    def step(
        x: Tensor, context: Tensor, rotation: Tensor, kept: Tensor, rate: Tensor, taken: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        weights = [value.detach().requires_grad_() for value in state[:count]]
        named = {"rotation": rotation, **dict(zip(WEIGHTS, weights, strict=True))}
        code, log_determinant = torch.func.functional_call(example, named, (x, context))
        # Products: squares, and their gradients, would be written as powers, which are slow.
        loss = ((0.5 * (code * code).sum(1) - log_determinant) / x.shape[1]).mean()
        gradients = torch.autograd.grad(loss, weights)
        length = torch.stack([(gradient * gradient).sum() for gradient in gradients]).sum().sqrt()
        shorter = torch.clamp(schedule.clip / (length + 1e-6), max=1.0)
        clipped = [gradient * shorter for gradient in gradients]
        new = _adamw(state[: 3 * count], clipped, rate, taken, schedule.weight_decay)
        average = [old + (1 - kept) * (now - old) for old, now in zip(state[3 * count :], new[:count], strict=True)]
        return loss.detach(), *new, *average

    weights = [dict(example.named_parameters())[name].detach() for name in WEIGHTS]
    batch = {
        "x": torch.randn(11, 29),
        "context": torch.randn(11, 5),
        "rotation": example.rotation,
        "kept": torch.tensor(0.9),
    }
    return _graph(step, batch, weights, ("first", "second", "average"))


def _adamw(
    state: Sequence[Tensor], gradients: Sequence[Tensor], rate: Tensor, taken: Tensor, decay: float
) -> tuple[Tensor, ...]:
    """Weights and both moments after a step (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019)."""
    count = len(gradients)
    weights, firsts, seconds = state[:count], state[count : 2 * count], state[2 * count : 3 * count]
    firsts = [old + (1 - FIRST) * (new - old) for old, new in zip(firsts, gradients, strict=True)]
    seconds = [SECOND * old + (1 - SECOND) * new * new for old, new in zip(seconds, gradients, strict=True)]
    of_first, of_second = (1 - torch.exp(taken * torch.log(torch.tensor(kept))) for kept in (FIRST, SECOND))
    moved = [
        weight.detach() * (1 - rate * decay) - rate / of_first * first / (second.sqrt() / of_second.sqrt() + SMALL)
        for weight, first, second in zip(weights, firsts, seconds, strict=True)
    ]
    return *moved, *firsts, *seconds


def _graph(step: Step, batch: dict[str, Tensor], weights: Sequence[Tensor], kept: Sequence[str]) -> bytes:
    """A step as an ONNX file, whose inputs and outputs have the names that by_onnx knows."""
    state = [*weights, *(torch.zeros_like(weight) for _ in kept for weight in weights)]
    names = [*WEIGHTS, *(f"{part}_{name}" for part in kept for name in WEIGHTS)]
    inputs = {**batch, "rate": torch.tensor(1e-3), "count": torch.tensor(1.0), **dict(zip(names, state, strict=True))}
    examples = tuple(inputs.values())
    aten = torch.ops.aten
    # The exporter has no operators for these.
    missing = [aten.silu_backward, aten.tanh_backward, aten.slice_backward]
    written_out: Any = get_decompositions(missing)
    traced = make_fx(step, tracing_mode="symbolic", decomposition_table=written_out)(*examples)
    dynamic_shapes = tuple(dict.fromkeys(range(value.dim()), torch.export.Dim.AUTO) for value in examples)
    outputs = ["loss", *(f"new_{name}" for name in names)]
    model = exported(traced.eval(), examples, list(inputs), outputs, dynamic_shapes)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()
