"""What a process asks of the system: every call that writes, one by one, and what happens where one of them fails.

By strace, which attaches to a fork that waits (:class:`tests.attacks.releasing.Process`); it follows the first thread
alone, the one that writes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from privsdk.files import PART
from tests.attacks.releasing import Ended, Process

NEW, CHANGED, SYNCED = ("mkdir", "link", "rename"), ("write", "pwrite64", "ftruncate"), ("fsync", "fdatasync")
CALLS = ("openat", *NEW, *CHANGED, *SYNCED, "unlink", "utimensat")
LINE = re.compile(r"(?P<call>\w+)\((?P<arguments>.*)")


@dataclass(frozen=True)
class Step:
    """One call that writes: the ``number``th of that name, from 1, and a file or folder that it is about."""

    call: str
    number: int
    path: str


class OtherCallError(RuntimeError):
    """A step was another call than in the run that it was counted in: now and then a process asks for one file more."""


def is_here() -> bool:
    return shutil.which("strace") is not None


def steps(log: str, folder: Path) -> list[Step]:
    """The calls that write below ``folder``, in order, of a process that was not disturbed."""
    found, counts = [], Counter[str]()
    for line in log.splitlines():
        if (seen := LINE.match(line)) is None:
            continue
        call, arguments = seen["call"], seen["arguments"]
        counts[call] += 1
        writes = call != "openat" or "O_CREAT" in arguments or "O_RDWR" in arguments or "O_WRONLY" in arguments
        paths = re.findall(rf'[<"]({re.escape(str(folder))}[^">]*)[">]', arguments)
        if writes and paths:
            found.append(Step(call, counts[call], paths[0]))
    return found


def kinds_first(steps: Sequence[Step], random: np.random.Generator) -> list[int]:
    """Places of ``steps``, in a random order in which each kind of call and of file comes before any comes twice."""
    counts = Counter[tuple[str, str]]()
    turns = {}
    for place in random.permutation(len(steps)).tolist():
        sort = (steps[place].call, kind(steps[place].path))
        turns[place] = counts[sort]
        counts[sort] += 1
    return sorted(turns, key=turns.__getitem__)


def kind(path: str) -> str:
    """Which file or folder it is, in words that are the same in every run."""
    name = Path(path).name
    return "of a temporary file" if PART.fullmatch(name) else f"of {re.sub('[0-9a-f]{16,}', '*', name)}"


def run(process: Process, log: Path, step: Step | None = None, fate: str = "") -> Ended:
    """Let ``process`` go under strace; ``log`` gets its calls.  At ``step`` it meets its ``fate``, as strace writes it.

    Raises OtherCallError where that call is none of the same kind, and RuntimeError where it cannot be traced.
    """
    command = ["strace", "-y", "-s", "0", "-o", str(log), "-e", f"trace={','.join(CALLS)}", "-p", str(process.pid)]
    if step is not None:
        command += ["-e", f"inject={step.call}:{fate}:when={step.number}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        said = tracer.stderr.readline()
        if "attached" not in said:
            process.kill()
            raise RuntimeError(f"strace cannot trace here: {said.strip()}")
        process.let_go()
        ended = process.ended()
        tracer.communicate()
    if step is not None:
        same = [line for line in log.read_text().splitlines() if line.startswith(f"{step.call}(")]
        if len(same) < step.number or not _is_about(step.path, same[step.number - 1]):
            raise OtherCallError(f"{step} is another call in another run: {same[step.number - 1 :][:1]}")
    return ended


def _is_about(path: str, line: str) -> bool:
    return kind(path) in {kind(named) for named in re.findall(r'[<"]([^">]*)[">]', line)}
