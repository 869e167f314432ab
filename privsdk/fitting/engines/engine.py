"""What an engine does, and the size of what it trains."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.couplings import Couplings
from privsdk.fitting.check import Attacker
from privsdk.fitting.schedule import Schedule
from privsdk.progress import Progress

Floats = NDArray[np.float32]

BATCH = 512
SCORE_NOISE = 0.05
"""By how much scores are shaken in a step, so that couplings do not learn single ones."""


@dataclass(frozen=True)
class Size:
    """How many couplings, how many units each of their two hidden layers has, and how they are trained."""

    couplings: int
    width: int
    schedule: Schedule


# More of them learn the public latents by heart, and leak more of people; many classes lie in shapes of their own,
# which few do not undo.
PLAIN = Size(2, 32, Schedule(400, average=0.99))
FOR_CLASSES = Size(6, 64, Schedule(1500, average=0.99))


@dataclass(frozen=True)
class Network:
    """How an attacker with two hidden layers of ELUs is trained: by AdamW, a fifth of the rows says when to stop."""

    width: int = 64
    epochs: int = 30
    batch: int = 256
    patience: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2


class Engine(Protocol):
    """What trains: ``name`` is that of :func:`privsdk.fit`."""

    @property
    def name(self) -> str: ...

    def couplings(self, residual: Floats, context: Floats, size: Size, seed: int, report: Progress) -> Couplings | None:
        """Couplings that make normal what the affine maps have left, float32 [N, U], given a ``context`` [N, C].

        None where the engine trains none.
        """
        ...

    def attackers(self, seed: int) -> dict[str, Attacker]:
        """Who checks a filter, by name."""
        ...

    def ready(self) -> AbstractContextManager[None]:
        """What training needs around it."""
        ...
