"""What the benchmark's table says of a figure, and that finished parts are kept whole."""

from __future__ import annotations

import numpy as np

from benchmarks.cells import Cell
from benchmarks.table import Goal, Line, table
from privsdk.auditing.metrics import Estimate


def estimate(value: float, spread: float) -> Estimate:
    return Estimate(value, value + spread * np.linspace(-1, 1, 101))


def test_verdicts() -> None:
    goal = Goal(0.6)
    assert Line("row", "leakage", [estimate(0.55, 0.02)], goal).verdict == "met"
    assert Line("row", "leakage", [estimate(0.65, 0.02)], goal).verdict == "missed"
    assert Line("row", "leakage", [estimate(0.59, 0.02)], goal).verdict == "not decided (mean met)"
    assert Line("row", "leakage", [estimate(0.61, 0.02)], goal).verdict == "not decided (mean missed)"
    assert Line("row", "leakage", [estimate(0.61, 0.02)]).verdict == "-"
    assert Line("row", "leakage", [], goal).verdict == "not measured"
    assert Line("row", "found", [estimate(0.995, 0.001)], Goal(0.99, at_most=False)).verdict == "met"
    assert Line("row", "error", [Estimate(79.0, np.empty(0))], Goal(80)).verdict == "met"


def test_mean_and_spread_over_seeds() -> None:
    line = Line("row", "leakage", [estimate(0.5, 0.01), estimate(0.6, 0.01)], Goal(0.6))
    assert np.isclose(line.mean.value, 0.55)
    assert np.isclose(line.spread, 0.0707, atol=1e-4)
    assert "| 0.550 | 0.071 (2) |" in table([line])
    assert line.to_json()["values"] == [0.5, 0.6]


def test_a_cell_comes_back_as_it_was() -> None:
    cell = Cell({"leakage": estimate(0.5, 0.01), "alone": Estimate(3.0, np.empty(0))}, {"samples": 6000}, 1.5)
    back = Cell.from_json(cell.to_json())
    assert back.notes == cell.notes
    assert back["alone"].value == 3.0
    assert np.allclose(back["leakage"].draws, cell["leakage"].draws, atol=1e-5)
    assert np.isclose((back["leakage"] - cell["leakage"]).value, 0)
