"""A release is killed at a random moment, and at every step at which it writes; the same command goes on."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import numpy as np

from privsdk.release import photos
from privsdk.store.journal import Done
from tests.attacks import strace
from tests.attacks.releasing import Place, Scene, Undisturbed, emptied, listed, new_key
from tests.attacks.trial import Attempt, Fault, Outcome, Trial

MANY, FEW = 18, 3
"""Photos of a release that is killed at a random moment, which has two batches of them, and at a step."""

KEY = bytes(range(32))

GIVE_UP = 25
"""So many kills that broke something are enough to know."""


def run(attempt: Attempt) -> Outcome:
    if not strace.is_here():
        return Outcome(False, "not tried: strace is missing")
    random = np.random.default_rng(attempt.seed)
    broken, at_steps, of_steps = _at_steps(attempt, random)
    more_broken, at_random, finished = _at_random(attempt, random)
    broken += more_broken
    seen = f"killed at {at_steps} of {of_steps} steps and at {at_random} random moments, at {finished} of which it had "
    seen += f"finished; {sum(broken.values())} broke something"
    return Outcome(not broken, seen + listed(broken))


def _at_steps(attempt: Attempt, random: np.random.Generator) -> tuple[Counter[str], int, int]:
    """What broke, at how many steps it was killed, and how many there are."""
    broken = Counter[str]()
    with emptied(attempt.folder / "steps") as folder:
        scene = Scene.made(folder, FEW)
        undisturbed = Undisturbed(scene, folder / "undisturbed")
        with emptied(folder / "dry") as dry:
            strace.run(Place(scene, dry).started(), folder / "log")
            steps = strace.steps((folder / "log").read_text(), dry)
        tried = passed_over = 0
        for step in (steps[place] for place in strace.kinds_first(steps, random)):
            if tried == attempt.size or sum(broken.values()) >= GIVE_UP:
                break
            with emptied(folder / "killed") as killed:
                place = Place(scene, killed)
                try:
                    strace.run(place.started(), folder / "log", step, "signal=KILL")
                except strace.OtherCallError:
                    passed_over += 1
                    continue
                what = _broken(place, undisturbed)
                broken.update(f"{each} (at {step.call} {strace.kind(step.path)})" for each in what)
            tried += 1
    if passed_over > tried and not broken:
        raise RuntimeError(f"only {tried} of {tried + passed_over} steps were met again")
    return broken, tried, len(steps)


def _at_random(attempt: Attempt, random: np.random.Generator) -> tuple[Counter[str], int, int]:
    """What broke, how many kills there were, and how many of them came when it had finished."""
    broken = Counter[str]()
    finished = 0
    with emptied(attempt.folder / "random") as folder:
        scene = Scene.made(folder, MANY)
        undisturbed = Undisturbed(scene, folder / "undisturbed")
        with emptied(folder / "dry") as dry:
            began = time.monotonic()
            Place(scene, dry).run()
            seconds = time.monotonic() - began
        tried = 0
        for moment in random.uniform(0, seconds, attempt.size):
            with emptied(folder / "killed") as killed:
                place = Place(scene, killed)
                new_key(place.home, KEY)  # one for all: what an undisturbed release is must be found out once only
                process = place.started()
                process.let_go()
                time.sleep(moment)
                process.kill()
                process.ended()
                finished += place.is_finished()
                broken.update(_broken(place, undisturbed))
            tried += 1
            if sum(broken.values()) >= GIVE_UP:
                break
    return broken, tried, finished


def _broken(place: Place, undisturbed: Undisturbed) -> list[str]:
    """What is wrong after a kill, and after the same command has gone on."""
    before = place.scene.inputs()
    found = [f"{what} after the kill" for what in place.complaints(undisturbed, parts=True)]
    images = place.images()
    if not place.is_finished():
        if stuck := place.go_on(undisturbed.privatizer):
            return found + stuck
        found += place.litter()
    found += place.unfinished(undisturbed)
    if not images.items() <= place.images().items():
        found.append("an image has another name or content afterwards")
    if place.scene.inputs() != before:
        found.append("an input is another one afterwards")
    return found


def _write_in_place() -> None:
    def write(path: Path, data: bytes, mode: int = 0o666, modified: int | None = None) -> None:
        with open(path, "wb", buffering=0) as file:
            for part in np.array_split(np.frombuffer(data, np.uint8), 16):  # as many calls however large an image is
                file.write(part)
        if modified is not None:
            os.utime(path, (modified, modified))

    photos.write_atomically = write


def _note_before_writing() -> None:
    read = photos._Run.read

    def noted(self: photos._Run, *arguments: object, **named: object) -> photos._Photo | None:
        photo = read(self, *arguments, **named)
        if photo is not None:
            self._journal.finish([(photo.position, Done(len(photo.samples), photo.shown))])
        return photo

    photos._Run.read = noted


TRIAL = Trial(
    name="kills",
    tries="SIGKILL at a random moment of a batch, and at every step that writes (strace)",
    must="no partial file, no half record, inputs as they were; the same command completes, with the same bytes",
    size=500,
    part=30,
    enough=15,
    run=run,
    faults=(
        Fault("writes-in-place", _write_in_place),
        Fault("notes-before-it-writes", _note_before_writing),
    ),
)
