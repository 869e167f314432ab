"""A fit's training, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from privsdk.fitting.minmax.recipe import Step

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(steps: Sequence[Step]) -> Figure:
    """The losses of each adversary and of the utility classifier, and the budget spent, over a fit's ``steps``.

    One column a start.  ``steps`` are what ``fit_minmax`` told ``on_step``, at least one.  Needs matplotlib.
    """
    from matplotlib.figure import Figure

    starts = sorted({step.start for step in steps})
    figure = Figure(figsize=(5 * len(starts), 5), layout="constrained")
    axes = figure.subplots(2, len(starts), sharex=True, sharey="row", squeeze=False)
    for column, start in zip(axes.T, starts, strict=True):
        mine = [step for step in steps if step.start == start]
        at = [step.step for step in mine]
        for number, losses in enumerate(np.array([step.adversary_losses for step in mine]).T, start=1):
            column[0].plot(at, losses, linewidth=0.8, label=f"adversary {number}")
        column[0].plot(at, [step.utility_loss for step in mine], color="black", linewidth=0.8, label="utility")
        column[1].plot(at, [step.spent for step in mine], linewidth=0.8)
        column[0].set_title(f"start {start + 1}")
        column[1].set_xlabel("step of the filter")
    axes[0, 0].set_ylabel("cross-entropy (nats)")
    axes[1, 0].set_ylabel("budget spent")
    axes[0, 0].legend(fontsize="small")
    return figure
