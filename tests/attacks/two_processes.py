"""Two processes release the same photos at once: to one output, to two, and by two filters."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from privsdk import Bundle
from privsdk.store.journal import Done, Journal
from privsdk.store.key import KEY_NAME
from privsdk.store.ledger import Ledger
from tests.attacks.releasing import Ended, Place, Scene, Undisturbed, emptied, listed, new_key
from tests.attacks.trial import Attempt, Fault, Outcome, Trial
from tests.make_bundle import flow_privatizer

FEW, MANY = 5, 20
"""Photos that go to one output, or to two; and by two filters, in more than one batch."""

KEY = bytes(range(32))


def run(attempt: Attempt) -> Outcome:
    random = np.random.default_rng(attempt.seed)
    broken = Counter[str]()
    shared = 0
    (attempt.folder / "few").mkdir()
    (attempt.folder / "many").mkdir()
    few, many = Scene.made(attempt.folder / "few", FEW), Scene.made(attempt.folder / "many", MANY)
    other = replace(many, privatizer=attempt.folder / "other.privatizer")
    flow_privatizer(Bundle.open(many.bundle), rho=0.5).save(other.privatizer)
    undisturbed = Undisturbed(few, attempt.folder / "undisturbed")
    by_both = [Undisturbed(scene, attempt.folder / "undisturbed") for scene in (many, other)]
    with emptied(attempt.folder / "dry") as dry:
        began = time.monotonic()
        Place(few, dry).run()
        seconds = time.monotonic() - began
    for number in range(attempt.size):
        with emptied(attempt.folder / "one-output") as folder:
            found = _one_output(Place(few, folder), undisturbed, random, seconds, pause=number % 2 == 1)
            broken.update(f"{each} (one output)" for each in found)
        with emptied(attempt.folder / "two-outputs") as folder:
            places = [Place(few, folder, "one"), Place(few, folder, "two")]
            broken.update(f"{each} (two outputs)" for each in _two_outputs(places, undisturbed, random, seconds))
        with emptied(attempt.folder / "two-filters") as folder:
            places = [Place(many, folder, "one"), Place(other, folder, "two")]
            found, mixed = _two_filters(places, by_both, random, seconds)
            broken.update(f"{each} (two filters)" for each in found)
            shared += mixed
    seen = f"{attempt.size} rounds of each; by two filters {MANY} photos each, of which both released some {shared} "
    seen += f"times; {sum(broken.values())} went wrong"
    return Outcome(not broken, seen + listed(broken))


def _one_output(
    place: Place, undisturbed: Undisturbed, random: np.random.Generator, seconds: float, pause: bool
) -> list[str]:
    """What is wrong after two that release to one output; with ``pause`` the first is stopped for a while."""
    processes = [place.started(), place.started("again")]
    processes[0].let_go()
    if pause:
        time.sleep(random.uniform(0, seconds))
        os.kill(processes[0].pid, signal.SIGSTOP)
        processes[1].let_go()
        time.sleep(2 * seconds)  # time enough for the other one to finish, where it may
        os.kill(processes[0].pid, signal.SIGCONT)
    else:
        time.sleep(random.choice([0, random.uniform(0, seconds)]))
        processes[1].let_go()
    ended = [process.ended() for process in processes]
    found = [] if sorted(each.code for each in ended) == [0, 2] else [f"exit codes {[each.code for each in ended]}"]
    for each in ended:
        found += each.unclear("another process is releasing", "exists already") if each.code else []
    return found + place.unfinished(undisturbed) + place.litter()


def _two_outputs(
    places: list[Place], undisturbed: Undisturbed, random: np.random.Generator, seconds: float
) -> list[str]:
    """What is wrong after two that release to two outputs."""
    found = _failed(_at_once(places, random, seconds), (0,))
    for place in places:
        found += place.unfinished(undisturbed)
    return found + places[0].litter() + _entered(places[0], undisturbed)


def _two_filters(
    places: list[Place], undisturbed: list[Undisturbed], random: np.random.Generator, seconds: float
) -> tuple[list[str], bool]:
    """What is wrong after two that release by two filters; and whether each of them had some of the photos."""
    new_key(places[0].home, KEY)
    found = _failed(_at_once(places, random, seconds), (0, 1))
    went_out = []
    for place, expected in zip(places, undisturbed, strict=True):
        images, by_content = place.images(), expected.releases(KEY)
        if not {*images.values()} <= {*by_content}:
            found.append("an image is none of an undisturbed release")
            continue
        if not place.is_finished() or place.recorded() != sorted(images):
            found.append("the record is not complete")
        went_out.append({by_content[content] for content in images.values()})
    if len(went_out) == 2 and went_out[0] & went_out[1]:
        found.append("a photo went out by both filters")
    if len(went_out) == 2 and len(went_out[0] | went_out[1]) < MANY:
        found.append("a photo went out by no filter")
    return found + places[0].litter() + _entered(places[0], undisturbed[0]), all(went_out)


def _at_once(places: list[Place], random: np.random.Generator, seconds: float) -> list[Ended]:
    """Both started together, or one a little later."""
    processes = [place.started() for place in places]
    processes[0].let_go()
    time.sleep(random.choice([0, random.uniform(0, seconds / 4)]))
    processes[1].let_go()
    return [process.ended() for process in processes]


def _failed(ended: list[Ended], allowed: tuple[int, ...]) -> list[str]:
    found = [f"exit code {each.code}: {each.said[-200:]!r}" for each in ended if each.code not in allowed]
    return found + ["a traceback" for each in ended if "Traceback" in each.said]


def _entered(place: Place, undisturbed: Undisturbed) -> list[str]:
    """Whether the ledger is whole and holds each sample once."""
    expected = {*undisturbed.releases((place.home / KEY_NAME).read_bytes()).values()}
    try:
        return [] if place.ledger() == expected else ["the ledger does not hold what was released"]
    except sqlite3.Error as error:
        return [f"the ledger is damaged ({error})"]


def _take_no_lock() -> None:
    def unlocked(self: Journal) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=60, isolation_level=None)

    done = Journal.done

    def slow(self: Journal, photo: int) -> Done | None:
        time.sleep(0.2 if photo < FEW else 0)  # so that few rounds are enough for two to meet
        return done(self, photo)

    Journal._locked, Journal.done = unlocked, slow


class _Slow(sqlite3.Connection):
    """One that rests between what it has asked and what it enters, so that few rounds are enough to meet another."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql.startswith("INSERT OR IGNORE INTO filtered"):
            time.sleep(0.3)
        return super().execute(sql, parameters)


def _begin_no_transaction() -> None:
    @contextmanager
    def separately(self: Ledger) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=60, isolation_level=None, factory=_Slow)) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # else it is so slow that somebody would notice
            yield connection

    Ledger._transaction = separately


TRIAL = Trial(
    name="two-processes",
    tries="two processes at once with one ledger: to one output, one of them paused at times; to two; by two filters",
    must="every photo once in each output, the same bytes; none by both filters; the ledger whole; never a traceback",
    size=100,
    part=2,
    enough=2,
    run=run,
    faults=(
        Fault("take-no-lock", _take_no_lock),
        Fault("begin-no-transaction", _begin_no_transaction),
    ),
)
