"""The trials by name, in the order of the table; each is a module, loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module

from tests.attacks.trial import Trial

NAMES = (
    "damaged-photos",
    "failures",
    "kills",
    "disks",
    "canaries",
    "bombs",
    "odd-files",
    "bit-flips",
    "hostile-graphs",
    "fuzzing",
    "averaging",
    "bursts",
    "repeats",
    "guessing",
    "tracing",
    "two-processes",
    "ten-thousand",
)


def trial(name: str) -> Trial:
    """The trial of that name."""
    found: Trial = import_module(f"tests.attacks.{name.replace('-', '_')}").TRIAL
    return found
