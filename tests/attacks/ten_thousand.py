"""Ten thousand photos, stopped in the middle and gone on: how much memory and time each of them takes."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from privsdk.release import photos
from tests.attacks.releasing import Place, Scene, emptied, listed
from tests.attacks.trial import Attempt, Fault, Outcome, Trial

NOTES = 200
"""How often it is looked at memory and time."""

WARM = 0.05
"""The share of the photos after which all that is needed once is there."""

MEGABYTES, MEGABYTES_AT_FIRST = 20, 5
"""By so much memory may grow over ten thousand photos, and over few, where the allocator's own steps count for much."""

SLOWER = 1.5
"""How much more of the processor a photo of the last quarter may take than one of the first."""

PASSED = 0.1
"""The share of the time that photos took in which they are passed by when they are done already."""


@dataclass(frozen=True)
class Note:
    """After ``photos`` photos: seconds on the clock and of the processor, and megabytes of it and of its parsers."""

    photos: int
    clock: float
    processor: float
    memory: float
    parsers: float


def run(attempt: Attempt) -> Outcome:
    count = attempt.size
    scene = Scene.made(attempt.folder, count)
    broken = Counter[str]()
    with emptied(attempt.folder / "place") as folder:
        place = Place(scene, folder)
        first, code = _released(place, count, stop_at=count // 2)
        if code != -signal.SIGKILL:
            broken[f"it was not stopped: exit code {code}"] += 1
        before = {path.name: path.stat().st_ino for path in place.output.glob("*.png")}
        second, code = _released(place, count)
        if code or not place.is_finished():
            broken[f"it does not go on: exit code {code}"] += 1
        images = place.images()
        if not len({*images.values()}) == len(images) == count or place.recorded() != sorted(images):
            broken["not every photo is there once"] += 1
        kept = sum(name in images and (place.output / name).stat().st_ino == inode for name, inode in before.items())
    if len(before) < count // 2 - photos.BATCH or kept < len(before) - photos.BATCH:
        broken[f"{len(before) - kept} images were written again"] += 1

    half = [note for note in second if note.photos > count // 2 + photos.BATCH]
    growth = max(_growth(first, count), _growth(half, count))
    allowed = MEGABYTES_AT_FIRST + (MEGABYTES - MEGABYTES_AT_FIRST) * count / TRIAL.size
    if growth > allowed:
        broken[f"memory grows by more than {allowed:.0f} MB"] += 1
    quarters = (_pace(first[: len(first) // 2], "processor"), _pace(half[len(half) // 2 :], "processor"))
    slower = quarters[1] / quarters[0]
    if slower > SLOWER:
        broken["it is not linear in time"] += 1
    done = [note for note in second if note.photos <= len(before)]
    passed = (done[-1].clock - done[0].clock) / (first[-1].clock - first[0].clock)
    if passed > PASSED:
        broken["what was done is done again"] += 1
    clocks = _pace(half[len(half) // 2 :], "clock") / _pace(first[: len(first) // 2], "clock")
    first_ms, last_ms = (f"{1000 * quarter:.1f}" for quarter in quarters)
    seen = f"memory grew by {growth:.1f} MB; a photo of the first quarter took {first_ms} ms of the processor, one of "
    seen += f"the last {last_ms}, {slower:.2f} times as much (on the clock {clocks:.2f} times); stopped after "
    seen += f"{len(before):,}, of which {kept:,} were not touched again and {100 * passed:.1f}% of the time was needed"
    return Outcome(not broken, seen + listed(broken))


def _released(place: Place, count: int, stop_at: int | None = None) -> tuple[list[Note], int]:
    """A release in a process of its own, killed after ``stop_at`` photos: what was noted, and its exit code."""
    notes = place.folder / "notes"
    notes.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            with notes.open("w", buffering=1) as file:
                every = max(1, count // NOTES)

                def progress(stage: str, done: int, all: int) -> None:
                    if done % every == 0:
                        file.write(json.dumps(asdict(_note(done))) + "\n")
                    if done == stop_at:
                        os.kill(os.getpid(), signal.SIGKILL)

                place.scene.opened().release(
                    place.scene.photos, place.output, aligned=True, folder=place.home, on_progress=progress
                )
            os._exit(0)
        except BaseException:  # noqa: BLE001 - nothing of the fork may go on in its parent's code
            traceback.print_exc()
        os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [Note(**json.loads(line)) for line in notes.read_text().splitlines()], code


def _note(done: int) -> Note:
    parsers = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return Note(done, time.monotonic(), time.process_time(), _memory("self"), sum(map(_memory, parsers)))


def _memory(process: str) -> float:
    """What it has in memory, in megabytes."""
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS:")).split()[1]) / 1024


def _growth(notes: Sequence[Note], count: int) -> float:
    """By how many megabytes memory grew at most once it was warm, of the process or of its parsers."""
    warm = [note for note in notes if note.photos >= notes[0].photos + WARM * count]
    return max(max(note.memory for note in warm) - warm[0].memory, max(note.parsers for note in warm) - warm[0].parsers)


def _pace(notes: Sequence[Note], of: str) -> float:
    """Seconds a photo."""
    return (getattr(notes[-1], of) - getattr(notes[0], of)) / (notes[-1].photos - notes[0].photos)


def _keep_samples() -> None:
    photos.MOST_PAIRS = 10**9


def _look_at_all_before() -> None:
    write = photos._Run._write_photo

    def written(self: photos._Run, *arguments: object) -> bool:
        there = {path.read_bytes() for path in self._folder.glob("*.png")}
        return write(self, *arguments) and bool(len(there) + 1)

    photos._Run._write_photo = written


TRIAL = Trial(
    name="ten-thousand",
    tries="so many photos in one folder, stopped in the middle (SIGKILL) and gone on",
    must=f"memory flat within {MEGABYTES} MB, linear in time (the last quarter at most {SLOWER} times the first), "
    "nothing done again",
    size=10_000,
    part=300,
    enough=600,
    run=run,
    faults=(
        Fault("keeps-samples", _keep_samples),
        Fault("looks-at-all-before", _look_at_all_before),
    ),
)
