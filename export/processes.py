"""The processes that train one network together: those that torchrun has started, or this one alone.

Each takes a share of every batch, and their gradients are averaged before a step, so all have the same weights all the
time.  Random choices are made for the whole batch by each, and a batch's first rows are the first rows of the shares:
however many processes there are, a step is the same up to rounding, and a run that N have begun M can finish.

This is what torch's DistributedDataParallel does, but with the average taken by hand, once a step: our steps go
backward more than once (gradient penalty, critic) and call parts of a network by themselves, which its wrapper does not
allow.
Lightning Fabric finds the devices, and the processes each other (gloo between CPUs, nccl between GPUs).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from privsdk.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PATIENCE = timedelta(days=1)
"""How long one waits for another: while the first reads a data set's images, the others have nothing to do."""

Rows = TypeVar("Rows", np.ndarray, Tensor)


def accelerator() -> torch.device:
    """Where images are trained on: an NVIDIA GPU where torch finds one, each process on its own, else the processor."""
    if count() > 1:
        return _fabric().device
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def count() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the one that writes and prints."""
    return count() == 1 or _fabric().is_global_zero


def wait() -> None:
    """Until all processes have come here."""
    if count() > 1:
        _fabric().barrier()


def check_batch(batch: int) -> None:
    """Raises UsageError where a batch cannot be cut into equal shares."""
    if batch % count():
        raise UsageError(
            f"{count()} processes cannot share a batch of {batch} equally: start as many as divide it (torchrun "
            "--nproc-per-node)"
        )


def share(rows: Rows) -> Rows:
    """What of ``rows`` [N, ...] is this process's own."""
    return rows if count() == 1 else rows[_fabric().global_rank :: count()]


def drawn(draw: Callable[..., Tensor], rows: int, *shape: int, device: torch.device) -> Tensor:
    """This process's own ``rows`` of what ``draw``, torch.rand or torch.randn, gives for the whole batch."""
    return share(draw(rows * count(), *shape, device=device))


def shared_out(work: Callable[[np.ndarray], Tensor], rows: np.ndarray) -> Tensor:
    """``work(rows)``, which gives a row for a row, with each row done by one process, and all of it known to all."""
    if count() == 1:
        return work(rows)
    if len(rows) < count():
        raise UsageError(f"{count()} processes are more than a partition has samples: start fewer (--nproc-per-node)")
    done = work(share(rows))
    everything = done.new_zeros(len(rows), *done.shape[1:])
    share(everything)[:] = done
    return summed(everything)


def summed(ours: Tensor) -> Tensor:
    """The sum over all processes."""
    if count() == 1:
        return ours
    return _summed(ours.to(accelerator(), copy=True)).to(ours.device)


def summed_figures(ours: Mapping[str, float]) -> dict[str, float]:
    """The sum over all processes of each figure."""
    if count() == 1:
        return dict(ours)
    return dict(zip(ours, summed(torch.tensor(list(ours.values()), dtype=torch.float64)).tolist(), strict=True))


def norm(ours: Tensor) -> Tensor:
    """The norm of what all processes have, as one tensor."""
    return ours.norm() if count() == 1 else summed(ours.square().sum()).sqrt()


def average_gradients(network: nn.Module) -> None:
    """Give each process the mean of what all have found, before it takes a step."""
    if count() == 1:
        return
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    mean = _summed(torch.cat([gradient.flatten() for gradient in gradients])) / count()
    for gradient, own in zip(gradients, mean.split([one.numel() for one in gradients]), strict=True):
        gradient.copy_(own.view_as(gradient))


def averaged(ours: Tensor) -> Tensor:
    """The mean over all processes."""
    return ours if count() == 1 else _summed(ours.clone()) / count()


def _summed(ours: Tensor) -> Tensor:
    """The sum over all processes, in the place of ``ours``."""
    _fabric()
    # Fabric's own waits for all processes once more before each sum, and a step has a hundred of them.
    torch.distributed.all_reduce(ours)
    return ours


@cache
def _fabric() -> Fabric:
    """What binds the processes; raises MissingExtraError without the extra ``cluster``."""
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy
    except ImportError as error:
        raise MissingExtraError("to train in several processes needs: pip install 'privsdk[cluster]'") from error
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    fabric = Fabric(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        strategy=DDPStrategy(timeout=PATIENCE),
        devices=here,
        num_nodes=count() // here,
    )
    fabric.launch()
    return fabric
