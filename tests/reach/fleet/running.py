"""``python -m examples.fleet``, run by tests."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DEVICES = 20


@dataclass(frozen=True)
class Fleet:
    """What ``python -m examples.fleet`` left, and printed."""

    runs: Path
    printed: str

    @property
    def folder(self) -> Path:
        return next(self.runs.glob("fleet-*"))

    @property
    def devices(self) -> list[Path]:
        return sorted((self.folder / "devices").iterdir())

    @property
    def server(self) -> Path:
        return self.folder / f"server-{DEVICES}"


def run_fleet(repository: Path, runs: Path, *arguments: str, **environment: str) -> str:
    """What ``python -m examples.fleet`` prints, with these settings of its environment beside the tests'."""
    command = [sys.executable, "-m", "examples.fleet", "--runs", str(runs), *arguments]
    done = subprocess.run(command, cwd=repository, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
