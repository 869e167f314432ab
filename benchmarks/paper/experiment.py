"""What an experiment is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.paper.place import Place
from benchmarks.paper.sheet import Sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Experiment:
    """One table or figure of the paper.

    ``measure`` makes all of it and gives the tables to show; ``text`` says, in Markdown, what we find beside what the
    paper has, why they differ and what would settle it.  ``draw`` makes a picture of the tables.
    """

    title: str
    text: str
    measure: Callable[[Place], Sequence[Sheet]]
    draw: Callable[[Sequence[Sheet]], Figure] | None = None
