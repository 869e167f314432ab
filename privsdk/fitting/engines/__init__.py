"""What trains the parts of a filter that have no closed form, and the attackers that check it.

Three engines: torch; ONNX Runtime, which is there wherever privsdk is, with training steps that ``export`` has made of
what torch trains; and the closed form, which leaves the couplings out.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, get_args

from privsdk.errors import MissingExtraError, UsageError
from privsdk.fitting.engines.engine import Engine

__all__ = ["Choice", "Engine", "engine_for", "resolved"]

Choice = Literal["auto", "torch", "onnx", "closed-form"]


def resolved(choice: Choice, method: str) -> str:
    """The engine that is meant: of "auto" torch where it is installed, else ONNX Runtime.

    Raises UsageError for what is no engine, or none that trains this method, and MissingExtraError without torch where
    it is needed.
    """
    if choice not in get_args(Choice):
        raise UsageError(f"there is no engine {choice!r}: choose one of {', '.join(get_args(Choice))}")
    with_torch = find_spec("torch") is not None
    if method == "minmax":
        if choice not in ("auto", "torch"):
            raise UsageError(f"method='minmax' is trained by torch alone, not by {choice!r}: leave the engine out")
        if not with_torch:
            raise MissingExtraError("method='minmax' needs torch: pip install 'privsdk[fit]', or use method='flow'")
    if choice == "torch" and not with_torch:
        raise MissingExtraError("engine='torch' needs torch: pip install 'privsdk[fit]', or leave the engine out")
    if choice != "auto":
        return choice
    return "torch" if with_torch else "onnx"


def engine_for(choice: Choice, method: str) -> Engine:
    """The engine that is meant, as :func:`resolved`."""
    name = resolved(choice, method)
    if name == "torch":
        from privsdk.fitting.engines.by_torch import TorchEngine

        return TorchEngine()
    if name == "onnx":
        from privsdk.fitting.engines.by_onnx import OnnxEngine

        return OnnxEngine()
    from privsdk.fitting.engines.closed_form import ClosedForm

    return ClosedForm()
