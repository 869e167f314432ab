"""No training at all: what has a closed form."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
from numpy.typing import NDArray

from privsdk.fitting.check import Attacker, nearest_neighbours, numpy_logistic
from privsdk.fitting.engines.engine import Size
from privsdk.progress import Progress

Floats = NDArray[np.float32]


class ClosedForm:
    """The affine maps alone, checked by logistic regression and 30 nearest neighbours."""

    name = "closed-form"

    def couplings(self, residual: Floats, context: Floats, size: Size, seed: int, report: Progress) -> None:
        """None: couplings have no closed form."""

    def attackers(self, seed: int) -> dict[str, Attacker]:
        """Neither draws anything."""
        return {"logistic": numpy_logistic, "k-nearest neighbours": nearest_neighbours}

    def ready(self) -> AbstractContextManager[None]:
        """Nothing."""
        return nullcontext()
