"""A small training that kills itself: ``python tests/killed_training.py FOLDER STEP [all|first]``.

At that step, never at -1, all of its processes end, or the first alone.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

from export import processes
from export.loop import Schedule, train


def main(folder: Path, kill_at: int, whom: str = "all") -> None:
    torch.manual_seed(0)
    network = torch.nn.Linear(4, 1)
    optimizer = torch.optim.AdamW(network.parameters())
    data = torch.randn(64, 4)

    def step(number: int, rows: np.ndarray) -> dict[str, float]:
        if number == kill_at and (whom == "all" or processes.is_first()):
            os.kill(os.getpid(), signal.SIGKILL)
        x = processes.share(data[rows] + torch.randn(len(rows), 4))
        loss = (network(x) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        processes.average_gradients(network)
        optimizer.step()
        return {"loss": loss.item()}

    def validate() -> dict[str, float]:
        return {"loss": (network(data) - 1).square().mean().item()}

    train(folder, Schedule(64, 8, 40, 1e-2), {"net": network}, {"optimizer": optimizer}, step, validate, every=5)
    if processes.is_first():
        torch.save(network.state_dict(), folder / "result.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
