"""Progress for a person, on stderr: bars on a terminal, a few lines of plain text elsewhere, and the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO, TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]
"""An ``on_progress``: called with the stage, the steps done, and all."""

WIDTH = 30
SECONDS_BETWEEN_LINES = 5.0
SECONDS_TO_JUDGE = 10.0  # before anything is said of the time left


class ProgressText:
    """Shows how far each stage is; an ``on_progress``."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream: TextIO | None = stream if stream is not None else sys.stderr  # None where it was closed
        self._bars = self._stream is not None and self._stream.isatty()
        self._stage = ""
        self._finished = True
        self._shown_at = 0.0
        self._began_at, self._began_with = 0.0, 0
        self._columns = 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        finished = done >= total
        now = time.monotonic()
        if stage == self._stage and self._finished and finished:
            return
        if stage != self._stage:
            self.close()
            self._stage = stage
            self._began_at, self._began_with = now, done
        elif not finished and now - self._shown_at < (0.1 if self._bars else SECONDS_BETWEEN_LINES):
            return
        self._shown_at, self._finished = now, finished
        left = self._left(now, done, total)
        if self._bars:
            filled = WIDTH * done // max(total, 1)
            bar = "#" * filled + "." * (WIDTH - filled)
            line = f"{stage}: [{bar}] {done}/{total}{left}"
            self._write(f"\r{line:<{self._columns}}" + ("\n" if finished else ""))
            self._columns = 0 if finished else len(line)  # what stood there is written over
        else:
            self._write(f"{stage}: {done}/{total}{left}\n")

    def close(self) -> None:
        """End a bar that was left in the middle."""
        if self._bars and not self._finished:
            self._write("\n")
        self._finished, self._columns = True, 0

    def _left(self, now: float, done: int, total: int) -> str:
        """How long it takes yet, at the pace since the stage began; what was done before says nothing of it."""
        here = done - self._began_with
        if here <= 0 or done >= total or now - self._began_at < SECONDS_TO_JUDGE:
            return ""
        seconds = (now - self._began_at) * (total - done) / here
        return f", about {seconds:.0f} s left" if seconds < 90 else f", about {seconds / 60:.0f} min left"

    def _write(self, text: str) -> None:
        # What is worked on must not end because nobody can be told of it.
        if self._stream is not None:
            with suppress(OSError):
                self._stream.write(text)
                self._stream.flush()
