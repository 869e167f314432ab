"""How far a release has come, so that one that was stopped goes on where it was, and no two work on one folder at once.

A journal is an SQLite file in the user's data folder, named by a keyed digest of the output folder; it is there while a
release into that folder is unfinished, and locked while a process works on it.  It holds keyed digests and counts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privsdk.errors import OutputExistsError, StoreError, UsageError
from privsdk.store.folder import data_folder, private_file

TABLES = """
CREATE TABLE run (id BLOB NOT NULL, settings BLOB NOT NULL);
CREATE TABLE done (photo INTEGER PRIMARY KEY, samples INTEGER NOT NULL, shown INTEGER NOT NULL);
"""

PATIENCE = 1.0
"""Seconds to wait for another process that may be about to finish."""


@dataclass(frozen=True)
class Done:
    """A photo whose release is on the disk: how many samples of it went out, and how many it shows."""

    samples: int
    shown: int


class Journal:
    """The journal of one output folder, held by this process until :meth:`close` or :meth:`discard`."""

    def __init__(
        self,
        key: bytes,
        output: Path,
        settings: Mapping[str, Any],
        resume: Callable[[], bool],
        folder: Path | None = None,
    ) -> None:
        """``settings`` (JSON) are all that the releases depend on; ``resume``, asked once no other process works on
        ``output``, says whether an unfinished release lies there; ``folder`` as in
        :func:`privsdk.store.folder.data_folder`.

        Raises UsageError where another process is working on ``output``, OutputExistsError where the unfinished release
        had other settings or is not known here, and StoreError where the journal cannot be used.
        """
        self._key = key
        self._output = output
        name = self.keyed("output", os.path.realpath(output)).hex()
        try:
            place = data_folder(folder) / "unfinished-releases"
            place.mkdir(mode=0o700, exist_ok=True)
            self._path = place / f"{name}.sqlite"
            self._connection = self._locked()
            try:
                resuming = resume()
            except BaseException:
                self.discard()
                raise
            try:
                self.run = self._begun(self.keyed("settings", json.dumps(settings, sort_keys=True)), resuming)
            except sqlite3.Error:
                self.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error

    def keyed(self, purpose: str, *parts: str) -> bytes:
        """A digest of ``parts`` that only this device can make: 32 bytes."""
        return hmac.digest(self._key, json.dumps([purpose, *parts]).encode(), hashlib.sha256)

    def name(self, photo: int, sample: int) -> str:
        """A name for the release of a photo's sample: 32 random-looking digits, the same again in this run alone."""
        return self.keyed("name", self.run.hex(), str(photo), str(sample))[:16].hex()

    def done(self, photo: int) -> Done | None:
        """What is on the disk of the photo at this position, None where it is still to be done.  Raises StoreError."""
        try:
            row = self._connection.execute("SELECT samples, shown FROM done WHERE photo = ?", (photo,)).fetchone()
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        return None if row is None else Done(*row)

    def finish(self, photos: Iterable[tuple[int, Done]]) -> None:
        """Note that the releases of these photos are on the disk.  Raises StoreError."""
        rows = [(photo, done.samples, done.shown) for photo, done in photos]
        try:
            # Locked for this process alone since it was opened: a transaction ends, the lock stays.
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT OR REPLACE INTO done VALUES (?, ?, ?)", rows)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Leave the journal for a later process."""
        self._connection.close()

    def discard(self) -> None:
        """The release is finished, or has not begun: the journal goes."""
        with suppress(OSError):  # what is left is in nobody's way: the output says that it is finished
            self._path.with_name(f"{self._path.name}-journal").unlink(missing_ok=True)
            self._path.unlink()
        self._connection.close()

    def _locked(self) -> sqlite3.Connection:
        give_up = time.monotonic() + PATIENCE
        while True:
            private_file(self._path)
            before = self._inode()
            connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA synchronous = FULL")
                # SQLite would take its own journal away by name when it is closed, which may be the next process's.
                connection.execute("PRAGMA journal_mode = TRUNCATE")
                # Locks are kept only once it has the whole one: of two processes that keep a part each, none goes on.
                connection.execute("BEGIN EXCLUSIVE")
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                connection.execute("COMMIT")
                if self._inode() == before:
                    return connection
                connection.close()
            except sqlite3.OperationalError as error:
                connection.close()
                is_another = "locked" in str(error)
                if self._inode() == before and not is_another:
                    raise
                if is_another and time.monotonic() > give_up:
                    raise UsageError(
                        f"another process is releasing to {self._output}: wait for it, or choose another output folder"
                    ) from error
            # Whoever had it takes it away when done.  Begin anew each time: beside a file that is gone, SQLite would
            # find the journal of the next.
            time.sleep(0.01)

    def _inode(self) -> int | None:
        with suppress(FileNotFoundError):
            return os.stat(self._path).st_ino
        return None

    def _begun(self, settings: bytes, resume: bool) -> bytes:
        """The id of the run: that of the unfinished one, or a new one."""
        self._connection.execute("BEGIN")
        if not self._connection.execute("SELECT name FROM sqlite_schema").fetchall():
            for statement in TABLES.strip().splitlines():
                self._connection.execute(statement)
        known = self._connection.execute("SELECT id, settings FROM run").fetchone()
        if not resume:
            self._connection.execute("DELETE FROM run")
            self._connection.execute("DELETE FROM done")
            known = (secrets.token_bytes(16), settings)
            self._connection.execute("INSERT INTO run VALUES (?, ?)", known)
        self._connection.execute("COMMIT")
        if known is None or known[1] != settings:
            self.discard() if known is None else self.close()
            why = "of which nothing is known here" if known is None else "with other settings"
            raise OutputExistsError(
                f"{self._output} holds an unfinished release {why}: finish that one with the same command, or move it "
                "away"
            )
        return bytes(known[0])

    def _unusable(self, error: Exception) -> StoreError:
        return StoreError(
            f"how far the release to {self._output} has come cannot be kept ({error}): make room in the data folder, "
            "or set PRIVSDK_HOME to another one"
        )
