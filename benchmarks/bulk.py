"""How fast `examples/bulk.py` releases photos, what it holds meanwhile, and what comes out when workers are killed.

    python -m benchmarks.bulk PRIVATIZER [--photos 20000] [--few 2000] [--rounds 3] [--kills 5] [--seed 0]

First ``--few`` photos with one worker and with two, in turn: photos a second from the second finished shard to the
last, on the clock, and by the processor time of the busier actor and its parser, which is how long it takes where each
actor has a core to itself.  Then all of them with two workers: the actors' memory early and late, and whether
anything of an original is in the memory that Ray's object store shares, looked for every five seconds.  Then all again
while workers are killed at random moments, and whether the same bytes come out.  Photos are CelebA's aligned images.
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

    def rates(self) -> tuple[float, float]:
        """Photos a second, on the clock and by processor time; a start costs seconds, and is no part of it."""
        # The last actors may end before a moment in which everything is finished is noted.
        working = [moment for moment in self.moments if moment.processor]
        first, last = working[0], max(working, key=lambda moment: moment.finished)
        photos = SHARD * (last.finished - first.finished)
        busiest = max(seconds - first.processor.get(actor, 0.0) for actor, seconds in last.processor.items())
        return photos / (last.second - first.second), photos / busiest

    def largest_actor(self, begin: float, end: float) -> float:
        """MB of the largest actor between two shares of the time in which there were any."""
        first, length = self.memory[0][0], self.memory[-1][0] - self.memory[0][0]
        return max(size for second, size in self.memory if begin * length <= second - first <= end * length) / 1e6


def descendants(of: int) -> Iterator[tuple[int, str]]:
    """The processes that this one and its own have started, and their command lines."""
    parents, lines = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            lines[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has ended
    inside = {of}
    while further := {process for process, parent in parents.items() if parent in inside} - inside:
        inside |= further
    yield from ((process, lines[process]) for process in inside - {of})


def actors(of: int) -> list[int]:
    """The processes with a privatizer each."""
    return [process for process, line in descendants(of) if line.startswith("ray::") and "Map(Actor)" in line]


def resident(process: int) -> int:
    """Bytes of its own that a process has in memory; 0 where it has ended."""
    try:
        fields = Path(f"/proc/{process}/statm").read_text().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def processor_seconds(process: int) -> float:
    """What a process and those that it has started have taken of a processor; of one that has ended nothing."""
    ticks = 0
    for one in (process, *(child for child, _ in descendants(process))):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def shared_memory(of: int) -> Iterator[bytes]:
    """What is in Ray's object store, which the process that runs it has mapped."""
    for process, line in descendants(of):
        if "raylet" not in line.partition(" ")[0]:
            continue
        try:
            with open(f"/proc/{process}/maps") as maps, open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
                for mapping in maps:
                    if "/dev/shm/" in mapping or "plasma" in mapping:
                        start, end = (int(part, 16) for part in mapping.split()[0].split("-"))
                        memory.seek(start)
                        yield memory.read(end - start)
        except OSError:
            continue  # it has ended


def originals_in(stored: Iterator[bytes]) -> int:
    """How many originals are in memory that is shown, also where the place has been given back, not written over."""
    return sum(part.count(JPEG) for part in stored)


def run(
    privatizer: Path, photos: Path, output: Path, workers: int, each: Callable[[int, float, Watched], None]
) -> Watched:
    """Release ``photos`` with so many workers; ``each`` gets, twice a second, process, second and what was seen."""
    watched = Watched()
    command = [sys.executable, str(BULK), str(privatizer), str(photos), str(output), "--workers", str(workers)]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while process.poll() is None:
            second = time.monotonic() - began
            if output.is_dir() and (done := sum(name.endswith(".jsonl") for name in os.listdir(output))) > 1:
                spent = {actor: processor_seconds(actor) for actor in actors(process.pid)}
                watched.moments.append(Moment(second, done, spent))  # at the end all records become one
            each(process.pid, second, watched)
            time.sleep(0.5)
        said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(said)
    return watched


def digest(folder: Path) -> str:
    """Of all names and bytes of a release."""
    whole = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        whole.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def taken(source: Path, count: int, folder: Path) -> Path:
    """A folder of the first ``count`` photos of ``source``."""
    folder.mkdir()
    for photo in sorted(source.glob("*.jpg"))[:count]:
        shutil.copyfile(photo, folder / photo.name)
    return folder


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk", description=__doc__.splitlines()[0])
    parser.add_argument("privatizer", type=Path)
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--few", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    asked = parser.parse_args(arguments)
    if not (data := os.environ.get("PRIVSDK_DATA")):
        parser.error("PRIVSDK_DATA is not set: it names the folder that holds celeba/ in its official layout")
    source = Path(data) / "celeba" / "img_align_celeba"
    figures: dict[str, object] = {"processor": bench.cpu_name()}
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        os.environ["PRIVSDK_HOME"] = str(root / "home")
        os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - they would give way to whatever else is done here
        photos, few = taken(source, asked.photos, root / "photos"), taken(source, asked.few, root / "few")
        figures["rates"] = rates(asked.privatizer, few, root, asked.rounds)
        seconds, figures["whole"] = whole(asked.privatizer, photos, root)
        figures["killed"] = killed(asked.privatizer, photos, root, seconds, asked.kills, random.Random(asked.seed))
        figures["same bytes"] = digest(root / "whole") == digest(root / "killed")
        print(f"the same bytes: {figures['same bytes']}")
    if asked.json is not None:
        write_atomically(asked.json, json.dumps(figures, indent=1).encode())


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
    figures = {"photos/s": [clock, processor], "MB": [early, late], "originals found": watched.found}
    return watched.moments[-1].second, figures


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
