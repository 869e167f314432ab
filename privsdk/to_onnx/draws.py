"""The random numbers that a graph takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NORMAL: Literal["normal"] = "normal"
UNIFORM: Literal["uniform"] = "uniform"


@dataclass(frozen=True)
class Draw:
    """``width`` numbers of each sample: standard normal, or uniform in [0, 1).

    ``purpose`` is that under which :mod:`privsdk.noise` draws them.
    """

    purpose: str
    distribution: Literal["normal", "uniform"]
    width: int
