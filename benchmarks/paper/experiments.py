"""Every experiment by its name: a file for each, and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.paper import cost, figure_3, figure_7, figure_9, table_1, table_2, table_3, table_4
from benchmarks.paper.experiment import Experiment

EXPERIMENTS: Mapping[str, Experiment] = {
    "table-1": table_1.EXPERIMENT,
    "table-2": table_2.EXPERIMENT,
    "table-3": table_3.EXPERIMENT,
    "table-4": table_4.EXPERIMENT,
    "figure-3": figure_3.EXPERIMENT,
    "figure-7": figure_7.EXPERIMENT,
    "figure-9": figure_9.EXPERIMENT,
    "cost": cost.EXPERIMENT,
}
