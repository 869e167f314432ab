"""What a trial is: something that tries to break one promise of docs/threat-model.md, and can fail."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Outcome:
    """Whether the promise held, and what was seen: figures in words, for one cell of the table."""

    held: bool
    seen: str


@dataclass(frozen=True)
class Fault:
    """A mistake that somebody could make in privsdk; ``plant`` makes it, in this process alone."""

    name: str
    plant: Callable[[], None]


@dataclass(frozen=True)
class Attempt:
    """One run of a trial: an empty ``folder`` of its own, how much is tried, the seed, and the planted fault."""

    folder: Path
    size: int
    seed: int
    fault: str | None = None
    trial: str = ""

    def command(self, *arguments: str) -> list[str]:
        """``privsdk`` with these arguments as a process of its own, with the same fault in it."""
        return [sys.executable, "-m", "tests.attacks.planted", self.trial, self.fault or "none", *arguments]

    def environment(self) -> Mapping[str, str]:
        """For such a process: a data folder below :attr:`folder`, modules found as here, one thread."""
        home = self.folder / "home"
        return os.environ | {"PRIVSDK_HOME": str(home), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Trial:
    """One row of the table.

    ``tries`` says what is tried and ``must`` what must come of it.  ``size`` is the whole trial, ``part`` what CI runs,
    ``enough`` the size at which each of ``faults`` is caught.
    """

    name: str
    tries: str
    must: str
    size: int
    part: int
    enough: int
    run: Callable[[Attempt], Outcome]
    faults: tuple[Fault, ...]

    def fault(self, name: str) -> Fault:
        """The fault of that name; raises LookupError where there is none."""
        for fault in self.faults:
            if fault.name == name:
                return fault
        raise LookupError(f"{self.name} has no fault {name}: it has {', '.join(one.name for one in self.faults)}")
