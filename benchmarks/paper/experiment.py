"""What an experiment is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.paper.pictures import Picture
from benchmarks.paper.place import Place
from benchmarks.paper.sheet import Sheet


@dataclass(frozen=True)
class Experiment:
    """One table or figure of the paper.

    ``data`` is what it is measured on: "digits", "table" or "faces".  ``measure`` makes all of it and gives the tables
    to show; ``text`` says, in Markdown, what we find beside what the paper has, why they differ and what would settle
    it.  ``pictures`` are made once the tables are there.
    """

    data: str
    title: str
    text: str
    measure: Callable[[Place], Sequence[Sheet]]
    pictures: Callable[[Place, Sequence[Sheet]], Sequence[Picture]] | None = None
