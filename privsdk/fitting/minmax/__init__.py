"""The paper's filters, fitted against adversaries under a distortion budget: (2)-(5)."""

from __future__ import annotations

from privsdk.fitting.minmax.drawing import draw
from privsdk.fitting.minmax.fit import fit_minmax
from privsdk.fitting.minmax.polish import polish

__all__ = ["draw", "fit_minmax", "polish"]
