"""Every experiment by its name: a file for each, and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.paper import (
    cost,
    figure_1,
    figure_3,
    figure_4,
    figure_5,
    figure_6,
    figure_7,
    figure_8,
    figure_9,
    high_cheekbones,
    table_1,
    table_2,
    table_3,
    table_3_published,
    table_4,
    ten_users,
)
from benchmarks.paper.experiment import Experiment

EXPERIMENTS: Mapping[str, Experiment] = {
    "table-1": table_1.EXPERIMENT,
    "table-2": table_2.EXPERIMENT,
    "table-3": table_3.EXPERIMENT,
    "table-3-published": table_3_published.EXPERIMENT,
    "table-3-high-cheekbones": high_cheekbones.EXPERIMENT,
    "table-4": table_4.EXPERIMENT,
    "ten-users": ten_users.EXPERIMENT,
    "figure-1": figure_1.EXPERIMENT,
    "figure-3": figure_3.EXPERIMENT,
    "figure-4": figure_4.EXPERIMENT,
    "figure-5": figure_5.EXPERIMENT,
    "figure-6": figure_6.EXPERIMENT,
    "figure-7": figure_7.EXPERIMENT,
    "figure-8": figure_8.EXPERIMENT,
    "figure-9": figure_9.EXPERIMENT,
    "cost-rows": cost.ON_ROWS,
    "cost-faces": cost.ON_FACES,
}
