"""Whole runs of the command line without any network: every system call that names a file or a socket is looked at."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from privsdk.release import photos
from tests.attacks import strace
from tests.attacks.releasing import Scene, listed
from tests.attacks.trial import REPOSITORY, Attempt, Fault, Outcome, Trial

TRACED = "%network,%file,ftruncate,fallocate,fsync,fdatasync,io_uring_setup"
LINE = re.compile(r"\d+ +(?P<call>\w+)\((?P<arguments>.*)")
NETWORK = re.compile(r"socket|bind|connect|listen|accept|send|recv|get(sock|peer)name|[gs]etsockopt|shutdown|io_uring")
CHANGES = re.compile(
    r"creat|mkdir|mknod|rename|link|symlink|unlink|rmdir|truncate|fallocate|f?chmod|f?l?chown|utime|.*xattr"
)
"""Calls that change what they name; those that open something do where they ask for more than to read."""

TO_WRITE = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)")
ELSEWHERE = re.compile(r"/dev/null|/dev/shm/sem\.[\w-]+")
"""What may be written besides: nothing at all, and semaphores between the processes of an audit, which hold no data."""


@dataclass(frozen=True)
class Call:
    """A system call: its name, its arguments as strace writes them, and the files that they name."""

    name: str
    arguments: str
    paths: tuple[str, ...]


def run(attempt: Attempt) -> Outcome:
    if not strace.is_here():
        return Outcome(False, "not tried: strace is missing")
    folders = {name: attempt.folder / name for name in ("homes", "user", "tmp", "outputs")}
    for folder in folders.values():
        folder.mkdir()
    environment = {
        **{name: value for name, value in attempt.environment().items() if not name.startswith("XDG_")},
        "HOME": str(folders["user"]),
        "TMPDIR": str(folders["tmp"]),
        "PYTHONDONTWRITEBYTECODE": "1",  # compiled code is Python's own, and written whoever it belongs to
    }
    broken = Counter[str]()
    calls = 0
    commands = _commands(attempt.folder, folders["outputs"])[: attempt.size]
    alone = _without_network()
    for home, *arguments in commands:
        environment["PRIVSDK_HOME"] = str(folders["homes"] / home)
        command = [*alone, *_strace(attempt.folder), *attempt.command(*arguments)]
        said, traced = _traced(command, environment, attempt.folder)
        calls += len(traced)
        found = [*said, *_network(traced), *_outside(traced, (folders["homes"], folders["outputs"]))]
        found += _at_home(traced, folders["user"]) + _out_of_order(traced)
        broken.update(f"{each} ({' '.join(arguments[:1])})" for each in found)
    seen = f"{len(commands)} commands, {calls:,} calls, in {'a' if alone else 'NO'} network namespace of their own; "
    seen += f"{sum(broken.values())} that should not be"
    seen += listed(broken)
    return Outcome(not broken, seen.replace(str(attempt.folder), ""))


def _commands(folder: Path, outputs: Path) -> list[list[str]]:
    """A release by a privatizer that is there; fits and other releases; an audit; and some that do little.

    Each after the name of its data folder: what one filter has had in one is refused to another.
    """
    scene = Scene.made(folder, photos=0)
    examples = REPOSITORY / "examples"
    wish = ["--private", "male", "--utility", "smiling"]
    given = ["--privatizer", str(scene.privatizer), "--bundle", str(scene.bundle)]
    return [
        ["given", "privatize", str(examples / "photos"), *given, "--output", str(outputs / "given")],
        ["home", "privatize", str(examples / "photos"), *wish, "--output", str(outputs / "fitted")],
        ["home", "privatize", str(examples / "photos"), *wish, "--output", str(outputs / "fitted-before")],
        ["home", "fit", *wish, "--output", str(outputs / "some.privatizer")],
        [
            *("home", "privatize", str(examples / "people.csv"), "--bundle", "adult", "--private", "sex"),
            *("--utility", "income", "--output", str(outputs / "people.csv")),
        ],
        ["home", "audit", str(outputs / "some.privatizer"), "--quick", "--html", str(outputs / "audit.html")],
        ["home", "verify", "faces"],
        ["home", "key", "show"],
    ]


def _without_network() -> list[str]:
    """What a command begins with that is to have no network interface; nothing where the system forbids it."""
    alone = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") and subprocess.run([*alone, "true"], capture_output=True).returncode == 0:
        return alone
    return []


def _strace(folder: Path) -> list[str]:
    return ["strace", "-f", "--seccomp-bpf", "-y", "-s", "0", "-o", str(folder / "log"), "-e", f"trace={TRACED}"]


def _traced(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> tuple[list[str], list[Call]]:
    """What went wrong with a command, and the calls that it made."""
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True)
    wrong = [f"exit code {done.returncode}: {done.stderr[-300:]!r}"] if done.returncode else []
    calls = []
    for line in (folder / "log").read_text().splitlines():
        if seen := LINE.match(line):
            arguments = seen["arguments"].split(" = ")[0]
            named = re.findall(r'"([^"]*)"', arguments) or re.findall(r"^\d+<([^>]*)>", arguments)
            paths = tuple(os.path.normpath(REPOSITORY / path) for path in named)
            calls.append(Call(seen["call"], arguments, paths))
    return wrong, calls


def _network(calls: Sequence[Call]) -> list[str]:
    return [f"{call.name}({call.arguments[:60]}" for call in calls if NETWORK.match(call.name)]


def _outside(calls: Sequence[Call], named: Sequence[Path]) -> list[str]:
    """What is written, made, renamed or taken away in other places than ``named``."""
    return [
        f"{call.name} of {path}"
        for call in calls
        if CHANGES.match(call.name) or (call.name.startswith("open") and TO_WRITE.search(call.arguments))
        for path in call.paths
        if not any(Path(path).is_relative_to(folder) for folder in named) and not ELSEWHERE.fullmatch(path)
    ]


def _at_home(calls: Sequence[Call], home: Path) -> list[str]:
    """What is opened in the user's home, of which nothing was named."""
    return [
        f"{path} is opened"
        for call in calls
        if call.name.startswith("open")
        for path in call.paths
        if Path(path).is_relative_to(home)
    ]


def _out_of_order(calls: Sequence[Call]) -> list[str]:
    """Files that have their name before they are on the disk, and names that are never brought there."""
    found = []
    synced: set[str] = set()
    owed: set[str] = set()
    for call in calls:
        if call.name in ("fsync", "fdatasync"):
            synced.update(call.paths)
            owed -= {*call.paths}
        elif call.name.startswith(("rename", "link")):
            temporary, name = call.paths[:2]
            if ELSEWHERE.fullmatch(name):
                continue
            if temporary not in synced:
                found.append("a file has its name before it is on the disk")
            owed.add(os.path.dirname(name))
    return found + [f"the names in {folder} are never brought to the disk" for folder in sorted(owed)]


def _call_home() -> None:
    end = photos._Run.end

    def ended(self: photos._Run) -> object:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as counter:
            counter.connect_ex(("192.0.2.1", 9))
        return end(self)

    photos._Run.end = ended


def _write_in_tmp() -> None:
    def write(path: Path, data: bytes, mode: int = 0o666, modified: int | None = None) -> None:
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(data)
        if modified is not None:
            os.utime(file.name, (modified, modified))
        shutil.move(file.name, path)

    photos.write_atomically = write


def _forget_fsync() -> None:
    os.fsync = lambda descriptor: None


TRIAL = Trial(
    name="tracing",
    tries="whole runs of commands in a network namespace without any interface, all system calls traced (strace)",
    must="no socket; no file written, made, renamed or deleted outside the output and the data folder; none opened in "
    "the user's home; every file on the disk before it has its name",
    size=8,
    part=1,
    enough=1,
    run=run,
    faults=(
        Fault("calls-home", _call_home),
        Fault("writes-in-tmp", _write_in_tmp),
        Fault("forgets-fsync", _forget_fsync),
    ),
)
