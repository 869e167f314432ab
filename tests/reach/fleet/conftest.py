"""A fleet that is run once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reach.fleet.running import DEVICES, Fleet, run_fleet


@pytest.fixture(scope="session")
def fleet(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Twenty devices, each fitted alone, in Flower's simulation engine."""
    runs = tmp_path_factory.mktemp("runs")
    return Fleet(runs, run_fleet(repository, runs, "--devices", str(DEVICES)))
