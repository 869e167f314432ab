"""The trials, in the order of the table."""

from __future__ import annotations

from tests.attacks import fuzzing
from tests.attacks.trial import Fault, Trial

TRIALS: dict[str, Trial] = {trial.name: trial for trial in (fuzzing.TRIAL,)}


def faults() -> dict[str, Fault]:
    """Every fault that can be planted, by its name."""
    return {fault.name: fault for trial in TRIALS.values() for fault in trial.faults}
