"""How fast `examples/bulk.py` releases photos, what it holds meanwhile, and what comes out when workers are killed.

    python -m benchmarks.bulk PRIVATIZER [--photos 20000] [--few 2000] [--rounds 3] [--kills 5] [--seed 0]

First ``--few`` photos with one worker and with two, in turn: photos a second from the second finished shard to the
last, on the clock and by the processor time of the busier actor and of its parser, which is how long it takes where each
has a core to itself.  Then all of them with two workers: the actors' memory early and late in the run, and whether anything of an
original is in the memory that Ray's object store shares, looked for every five seconds.  Then all again while workers
are killed at random moments, and whether the same bytes come out.  The photos are CelebA's aligned images.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from privsdk import bench
from privsdk.store.folder import write_atomically

BULK = Path(__file__).parents[1] / "examples" / "bulk.py"
SHARD = 64
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF"
"""How every original begins."""


@dataclass(frozen=True)
class Moment:
    """Seconds since a run began, how many shards were finished then, and each actor's processor seconds."""

    second: float
    finished: int
    processor: dict[int, float]


@dataclass
class Watched:
    """One run: how far it was when; the actors' bytes; when they were killed; what was found in the object store."""

    moments: list[Moment] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    killed: list[float] = field(default_factory=list)
    looked: int = 0
    found: int = 0

    def rates(privatizer: Path, photos: Path, root: Path, rounds: int) -> dict[str, object]:
    """Photos a second with one worker and with two, in turn."""
    found = np.zeros((rounds, 2, 2))  # round, one worker or two, on the clock or by processor time
    for number in range(rounds):
        for workers in (1, 2):
            watched = run(privatizer, photos, root / f"rate-{number}-{workers}", workers, lambda *_: None)
            found[number, workers - 1] = watched.rates()
        (clock_1, processor_1), (clock_2, processor_2) = found[number]
        print(f"one worker {clock_1:.1f} photos/s (by processor time {processor_1:.1f}), ", end="")
        print(f"two {clock_2:.1f} ({processor_2:.1f})", flush=True)
    clock, processor = np.median(found[:, 1] / found[:, 0], axis=0)
    print(f"two workers, median: {clock:.2f} times one, by processor time {processor:.2f}", flush=True)
    return {"photos/s": found.tolist(), "two to one": [clock, processor]}


def whole(privatizer: Path, photos: Path, root: Path) -> tuple[float, dict[str, object]]:
    """All photos with two workers: how long it took, and what was held meanwhile."""
    count = len(list(photos.iterdir()))

    def each(process: int, second: float, watched: Watched) -> None:
        watched.memory += [(second, resident(actor)) for actor in actors(process)]
        if second >= 5 * (watched.looked + 1):
            watched.looked += 1
            watched.found += originals_in(shared_memory(process))

    watched = run(privatizer, photos, root / "whole", 2, each)
    early, late = watched.largest_actor(0.1, 0.3), watched.largest_actor(0.8, 1.0)
    clock, processor = watched.rates()
    print(f"{count:,} photos, two workers: {clock:.1f} photos/s (by processor time {processor:.1f})", flush=True)
    print(f"the larger actor: {early:.0f} MB in the second tenth and the third, {late:.0f} MB in the last two")
    print(
        f"originals in the object store, looked for {watched.looked} times: {watched.found}",
        flush=True,
    )
    return watched.moments[-1].second, {"photos/s": [clock, processor], "MB early": early, "MB late": late, "found": watched.found}


def killed(
    privatizer: Path, photos: Path, root: Path, seconds: float, kills: int, chance: random.Random
) -> dict[str, object]:
    """All photos again, while actors are killed at random moments of the time that it took without."""
    moments = sorted(chance.uniform(0.1, 0.9) * seconds for _ in range(kills))

    def each(process: int, second: float, watched: Watched) -> None:
        working = actors(process)
        if working and len(watched.killed) < kills and second >= moments[len(watched.killed)]:
            os.kill(chance.choice(working), signal.SIGKILL)
            watched.killed.append(second)

    watched = run(privatizer, photos, root / "killed", 2, each)
    print(f"workers killed after {', '.join(f'{second:.0f}' for second in watched.killed)} s", flush=True)
    return {"killed after": watched.killed}


if __name__ == "__main__":
    main()
