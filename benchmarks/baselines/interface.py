"""What every baseline takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Samples:
    """What is in one partition: labels 0 or 1, int64 [N] each, and ``x``.

    Of rows ``x`` is float32 [N, D] in [0, 1]; of images, which one baseline takes, uint8 [N, H, W, 3].
    """

    x: Floats | NDArray[np.uint8]
    private: NDArray[np.int64]
    utility: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | NDArray) -> Samples:
        return Samples(self.x[rows], self.private[rows], self.utility[rows])


@dataclass(frozen=True)
class Cost:
    """What one more pair of labels costs.

    ``parameters`` are all that are trained for it, those of decoders and adversaries among them; ``weight_bytes`` is
    the size of those weights that a representation needs, in which form a device would get them; ``multiply_adds`` are
    those of one representation, from the sample on; ``seconds`` is the time of the training, on this machine.
    """

    parameters: int
    multiply_adds: int
    weight_bytes: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Representation:
    """What a baseline releases in place of a sample.

    ``represent`` gives float32 [N, Z], and the same for the same samples; ``notes`` are what the method itself measured
    on the valid partition, by name.
    """

    represent: Callable[[Samples], Floats]
    cost: Cost
    notes: Mapping[str, float] = field(default_factory=dict)


Baseline = Callable[[Samples, Samples, int], Representation]  # fit(train, valid, seed)
