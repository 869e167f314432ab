"""Small releases for trials that disturb them: photos, a bundle and a privatizer on the disk, and what must hold."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from privsdk import Bundle, Privatizer, PrivsdkError, Release, cli
from privsdk.files import PART
from privsdk.noise import KEY_BYTES, sample_digests
from privsdk.planning import RECORD, UNFINISHED
from privsdk.release.repeats import RELEASED_AT
from privsdk.store import folder as folders
from privsdk.store.key import KEY_NAME
from privsdk.store.ledger import LEDGER_NAME
from tests.make_bundle import flow_privatizer, make_bundle

RELEASED = re.compile(r"[0-9a-f]{32}\.png")
PATIENCE = 120.0
"""Seconds after which a process that was started counts as hanging."""

MOST_LISTED = 12
SET_PTRACER = 0x59616D61
"""By prctl a process lets others trace it that are not its parents, where Linux's Yama guards that."""


def picture(number: int) -> NDArray[np.uint8]:
    """An aligned sample, unlike that of any other number: uint8 [64, 64, 3]."""
    coarse = np.random.default_rng([7, number]).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)


@dataclass(frozen=True)
class Scene:
    """What is released: ``photos`` by the ``privatizer`` (a file) with the ``bundle`` (a folder)."""

    photos: Path
    bundle: Path
    privatizer: Path

    @classmethod
    def made(cls, folder: Path, photos: int) -> Scene:
        """Below ``folder``, with so many photos, which are samples already."""
        scene = cls(folder / "photos", folder / "bundle", folder / "some.privatizer")
        make_bundle(scene.bundle)
        flow_privatizer(Bundle.open(scene.bundle)).save(scene.privatizer)
        scene.photos.mkdir()
        for number in range(photos):
            Image.fromarray(picture(number)).save(scene.photos / f"{number:05}.png")
        return scene

    def opened(self) -> Privatizer:
        return Privatizer.load(self.privatizer, Bundle.open(self.bundle))

    def inputs(self) -> dict[str, tuple[str, int, int]]:
        """Of every input what must stay as it is: its bytes' digest, its time and its permissions."""
        found = {}
        for path in sorted([*self.photos.iterdir(), *self.bundle.iterdir(), self.privatizer]):
            status = path.stat()
            found[path.name] = (hashlib.sha256(path.read_bytes()).hexdigest(), status.st_mtime_ns, status.st_mode)
        return found


class Undisturbed:
    """What releases of a scene are when nothing disturbs them, for any device key."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.privatizer = scene.opened()
        self._photos, self._folder = scene.photos, folder
        self._known: dict[bytes, dict[bytes, bytes]] = {}
        self.releases(bytes(KEY_BYTES))  # what is imported on the way is, so that forks make the same calls each time

    def releases(self, key: bytes) -> dict[bytes, bytes]:
        """For the bytes of each released file what the ledger calls the sample that it comes from."""
        if key not in self._known:
            results = self.privatizer.release(
                self._photos, self._folder / "output", aligned=True, key=key, folder=self._folder / "home"
            )
            released = [result for result in results if isinstance(result, Release)]
            samples = np.stack([np.array(Image.open(result.source)) for result in released])
            digests = sample_digests(key, samples)
            self._known[key] = {
                result.path.read_bytes(): digest for result, digest in zip(released, digests, strict=True)
            }
            shutil.rmtree(self._folder)
        return self._known[key]


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, minus the signal that killed it, and what it said on stderr."""

    code: int
    said: str

    def unclear(self, *words: str) -> list[str]:
        """What is wrong with an error that a user met: one line is due, with one of ``words`` in it."""
        if self.code not in (2, 3):
            return [f"exit code {self.code} ({self.said[-300:].strip()!r})"]
        if "Traceback" in self.said or self.said.count("\n") != 1 or not self.said.startswith("privsdk: "):
            return [f"not one line on stderr: {self.said!r}"]
        if words and not any(word in self.said for word in words):
            return [f"no clear error: {self.said!r}"]
        return []


@dataclass(frozen=True)
class Place:
    """A release of ``scene`` to an output, called ``name``, with a data folder, both in ``folder``, which is there."""

    scene: Scene
    folder: Path
    name: str = "output"

    @property
    def output(self) -> Path:
        return self.folder / self.name

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def arguments(self) -> list[str]:
        """Those of the command line that makes this release."""
        scene = self.scene
        options = ["--privatizer", str(scene.privatizer), "--bundle", str(scene.bundle), "--output", str(self.output)]
        return ["privatize", str(scene.photos), *options, "--aligned", "--quiet"]

    def started(self, called: str = "once") -> Process:
        """The command line, in a fork of this process that waits until it is let go."""
        # What it says goes beside the folder, since the disk there may be full.
        said = self.folder.with_name(f"{self.folder.name}-{self.name}-{called}.said")
        return Process(self.arguments(), self.home, said)

    def run(self) -> Ended:
        process = self.started()
        process.let_go()
        return process.ended()

    def go_on(self, privatizer: Privatizer) -> list[str]:
        """Make the same release in this process, when what is hidden in the data folder is hours old: what is wrong."""
        hours_ago = time.time() - 7200
        for path in self.home.glob(".*"):
            os.utime(path, (hours_ago, hours_ago))
        try:
            privatizer.release(self.scene.photos, self.output, aligned=True, folder=self.home)
        except PrivsdkError as error:
            return [f"it does not go on: {error}".replace(str(self.folder), "")]
        return []

    def images(self) -> dict[str, bytes]:
        """What was released, by name."""
        return {path.name: path.read_bytes() for path in self.output.glob("*.png")}

    def is_finished(self) -> bool:
        return (self.output / RECORD).exists() and not (self.output / UNFINISHED).exists()

    def complaints(self, undisturbed: Undisturbed, parts: bool = False) -> list[str]:
        """What is wrong here, whatever happened; ``parts`` allows files that were being written."""
        found = []
        names, kept = (os.listdir(folder) if folder.exists() else [] for folder in (self.output, self.home))
        if not parts and any(PART.fullmatch(name) for name in (*names, *kept)):
            found.append("a temporary file stays")
        for name in names:
            if PART.fullmatch(name):
                continue
            if name not in (RECORD, UNFINISHED) and not RELEASED.fullmatch(name):
                found.append(f"{name} in the output")
            elif name != UNFINISHED and int((self.output / name).stat().st_mtime) != RELEASED_AT:
                found.append("a released file tells when it was written")
        images = self.images()
        expected = undisturbed.releases((self.home / KEY_NAME).read_bytes()) if images else {}
        if not {*images.values()} <= {*expected}:
            found.append("an image is none of an undisturbed release")
        if len({*images.values()}) < len(images):
            found.append("a photo went out twice")
        try:
            if not {expected[content] for content in images.values() if content in expected} <= self.ledger():
                found.append("an image is not in the ledger")
        except sqlite3.Error as error:
            found.append(f"the ledger is damaged ({error})")
        if RECORD in names and (self.recorded() != sorted(images) or len(images) < len(expected)):
            found.append("the record is not complete")
        return found

    def unfinished(self, undisturbed: Undisturbed) -> list[str]:
        """What is missing from, or left over by, a release that is done."""
        found = self.complaints(undisturbed)
        if not self.is_finished():
            return [*found, "it is not finished"]
        if len(self.images()) < len(undisturbed.releases((self.home / KEY_NAME).read_bytes())):
            found.append("photos are missing")
        return found

    def litter(self) -> list[str]:
        """What the data folder holds of a release that is done."""
        stored = {path.relative_to(self.home).as_posix() for path in self.home.rglob("*")}
        stray = sorted(stored - {KEY_NAME, LEDGER_NAME, "unfinished-releases"})
        kinds = [re.sub("[0-9a-f]{16,}", "*", name) for name in stray if not PART.fullmatch(name)]
        return [f"the data folder keeps {kind}" for kind in kinds]

    def recorded(self) -> list[str] | None:
        """The names of released files in the record; None where it is damaged."""
        try:
            lines = [json.loads(line) for line in (self.output / RECORD).read_text().splitlines()]
            return sorted(line["file"] for line in lines if line["status"] == "released")
        except (ValueError, LookupError):
            return None

    def ledger(self) -> set[bytes]:
        """The samples in the ledger; read from a copy, as the next process would read it.  Raises sqlite3.Error."""
        if not (self.home / LEDGER_NAME).exists():
            return set()
        copy = self.folder.with_suffix(".copy")
        shutil.copytree(self.home, copy)
        try:
            with closing(sqlite3.connect(copy / LEDGER_NAME)) as connection:
                (whole,) = connection.execute("PRAGMA integrity_check").fetchone()
                if whole != "ok":
                    raise sqlite3.DatabaseError(whole)
                if not connection.execute("SELECT name FROM sqlite_schema").fetchall():  # nothing was entered yet
                    return set()
                return {row[0] for row in connection.execute("SELECT digest FROM sample")}
        finally:
            shutil.rmtree(copy)


class Process:
    """A fork of this process that runs the command line when it is let go: what was planted here is planted there."""

    def __init__(self, arguments: list[str], home: Path, said: Path) -> None:
        """``home`` is its data folder; what it says on stdout and stderr goes to the file ``said``."""
        self._said = said
        waiting, self._gate = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._gate)
            _command_line(arguments, home, said, waiting)
        os.close(waiting)

    def let_go(self) -> None:
        os.write(self._gate, b"!")  # to close it is not enough: forks that were made since have it too
        os.close(self._gate)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def ended(self) -> Ended:
        """Wait until it has ended; one that hangs is killed."""
        give_up = time.monotonic() + PATIENCE
        while (ended := os.waitpid(self.pid, os.WNOHANG)) == (0, 0):
            if time.monotonic() > give_up:
                self.kill()
            time.sleep(0.001)
        said = self._said.read_text(errors="replace").replace(str(self._said.parent), "")
        return Ended(os.waitstatus_to_exitcode(ended[1]), said)


def _command_line(arguments: list[str], home: Path, said: Path, waiting: int) -> NoReturn:
    """In the fork: the command line, and the end of the process."""
    code = 1
    try:
        descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.environ["PRIVSDK_HOME"] = str(home)
        ctypes.CDLL(None).prctl(SET_PTRACER, -1)
        sys.argv = ["privsdk", *arguments]
        os.read(waiting, 1)
        cli.main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 - what Python itself would say of it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def listed(broken: Counter[str]) -> str:
    """What is broken and how often, for the end of a sentence."""
    if not broken:
        return ""
    rest = len(broken) - MOST_LISTED
    found = [f"{count} x {what}" for what, count in broken.most_common(MOST_LISTED)]
    return f": {'; '.join(found)}{f'; and {rest} others' if rest > 0 else ''}"


@contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def new_key(home: Path, key: bytes) -> None:
    """Put a device key into a new data folder."""
    home.mkdir(mode=0o700)
    descriptor = os.open(home / KEY_NAME, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(descriptor, key)
    os.close(descriptor)


def leave_temporary_files() -> None:
    """Plant that a file that could not be written whole stays."""

    def write(path: Path, data: bytes, mode: int = 0o666, modified: int | None = None) -> Path:
        temporary = path.parent / f".{os.urandom(8).hex()}.part"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            if modified is not None:
                os.utime(temporary, (modified, modified))
            os.fsync(file.fileno())
        return temporary

    folders.write_beside = write
