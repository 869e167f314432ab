"""How a flow is trained, whatever computes the steps."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """AdamW on a one-cycle learning rate, gradients clipped, averaged weights kept.

    ``average`` is the most that the running average keeps of itself in a step (it starts lower, so that a
    short training is averaged too); ``warm_up`` the share of the steps in which the learning rate rises.
    """

    steps: int
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    average: float = 0.999
    warm_up: float = 0.1
    clip: float = 5.0

    def rate(self, step: int) -> float:
        """The learning rate of a step, the first of which is 0."""
        done = step / self.steps
        if done < self.warm_up:
            return self.learning_rate * (0.05 + 0.95 * done / self.warm_up)
        falling = (done - self.warm_up) / (1 - self.warm_up)
        return self.learning_rate * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * min(falling, 1.0))))

    def kept(self, steps: int) -> float:
        """What the running average keeps of itself after so many steps."""
        return min(self.average, (1 + steps) / (10 + steps))
