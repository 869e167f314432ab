"""Every trial can fail: a planted fault is caught, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.attacks.trial import REPOSITORY
from tests.attacks.trials import TRIALS

FAULTS = [(trial.name, fault.name) for trial in TRIALS.values() for fault in trial.faults]


@pytest.mark.parametrize(("trial", "fault"), FAULTS)
def test_a_planted_fault_is_caught(trial: str, fault: str) -> None:
    command = [sys.executable, "-m", "tests.attacks", "--only", trial, "--fault", fault]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=280)
    assert done.stdout.strip().endswith("| BROKEN |"), done.stdout + done.stderr


def test_every_trial_has_a_fault() -> None:
    assert [trial.name for trial in TRIALS.values() if not trial.faults] == []
