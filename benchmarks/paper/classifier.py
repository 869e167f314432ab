"""The paper's classifier (6.5.3): two fully connected layers with an ELU between them, trained by Adam."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from privsdk.auditing.attackers import Attacker

HIDDEN = 64  # the text of the paper that we have does not give it
BATCH = 100
PASSES = 20
RATE = 1e-3


class PapersClassifier(Attacker):
    """Takes latents as they come and gives unnormalised logits, of a private label or of a utility label.

    All of its randomness comes from ``seed``: torch's own random state stays as it is.
    """

    name = "the paper's classifier"

    def __init__(self, seed: int = 0, threads: int = 1, setting: int = 0) -> None:
        self._seed = seed

    def fit(self, x: NDArray, y: NDArray) -> Self:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            z, labels = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.int64))
            self._network = nn.Sequential(
                nn.Linear(z.shape[1], HIDDEN), nn.ELU(), nn.Linear(HIDDEN, int(labels.max()) + 1)
            )
            optimizer = torch.optim.Adam(self._network.parameters(), RATE, fused=True)
            for _ in range(PASSES):
                for rows in torch.randperm(len(z)).split(BATCH):
                    optimizer.zero_grad(set_to_none=True)
                    cross_entropy(self._network(z[rows]), labels[rows]).backward()
                    optimizer.step()
        return self

    @torch.no_grad()
    def score(self, x: NDArray) -> NDArray[np.float64]:
        logits = self._network(torch.from_numpy(x.astype(np.float32))).double().numpy()
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits
