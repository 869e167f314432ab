"""Every trial can fail: a planted fault is caught, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.attacks.trial import REPOSITORY
from tests.attacks.trials import NAMES, trial

# With -m "not every" the first fault of each trial is planted alone: all of them take minutes more.
FAULTS = [
    pytest.param(name, fault.name, marks=[pytest.mark.every] if number else [])
    for name in NAMES
    for number, fault in enumerate(trial(name).faults)
]


@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_a_planted_fault_is_caught(name: str, fault: str) -> None:
    command = [sys.executable, "-m", "tests.attacks", "--only", name, "--fault", fault]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=280)
    assert done.stdout.strip().endswith("| BROKEN |"), done.stdout + done.stderr


def test_every_trial_has_faults() -> None:
    assert [name for name in NAMES if len(trial(name).faults) < 2] == []


def test_a_trial_is_called_as_its_module() -> None:
    assert [trial(name).name for name in NAMES] == list(NAMES)
