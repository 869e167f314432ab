"""What was released from this device, so that one photo never goes out twice in two ways.

The same sample, and samples that are nearly equal (the frames of a burst, a photo saved again), share their *origin*,
from which all random choices of a release come: what they have in common cannot be averaged out of their noise.  A
second, different filter for an origin is refused unless insisted on: nobody has measured what two tell together.

The ledger is an SQLite file that holds keyed digests alone.  Whoever takes it without the key learns how many samples
were released, and which of them were alike or went through the same filter; not what they show, and not the labels.
"""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import StoreError
from privsdk.noise import check_key, sample_digests
from privsdk.store import likeness
from privsdk.store.folder import data_folder, private_file

LEDGER_NAME = "ledger.sqlite"
SCHEMA = 1
PATIENCE = 60.0
"""Seconds to wait for another process that is writing."""

TABLES = """
CREATE TABLE sample (number INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, origin BLOB NOT NULL);
CREATE TABLE mark (mark INTEGER NOT NULL, sample INTEGER NOT NULL, PRIMARY KEY (mark, sample)) WITHOUT ROWID;
CREATE TABLE filtered (origin BLOB NOT NULL, filter BLOB NOT NULL, PRIMARY KEY (origin, filter)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Entry:
    """One sample in the ledger: where its random choices come from, and whether another filter has had it before, so
    that it was not entered.
    """

    origin: bytes
    refused: bool


class Ledger:
    """The ledger in the user's data folder, for one device key.  Processes and threads may use it at once."""

    def __init__(self, key: bytes, folder: Path | None = None) -> None:
        """``folder`` as in :func:`privsdk.store.folder.data_folder`.

        Raises UsageError for what is no key, and StoreError where the ledger is damaged or cannot be used.
        """
        check_key(key)
        self._key = key
        self._path = data_folder(folder) / LEDGER_NAME
        with self._transaction() as connection:
            (schema,) = connection.execute("PRAGMA user_version").fetchone()
            if schema == 0:
                for statement in TABLES.strip().splitlines():
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {SCHEMA}")
            elif schema != SCHEMA:
                raise StoreError(
                    f"the ledger {self._path} has schema {schema}, this version reads {SCHEMA}: update privsdk"
                )

    def enter(
        self,
        samples: NDArray[np.uint8],
        filters: Sequence[str],
        alike: bool,
        insist: bool = False,
    ) -> list[Entry]:
        """Enter ``samples`` [N, ...], each with the name of what it is to be filtered by, before they are released.

        ``alike`` looks for samples that are nearly equal, which must be faces, uint8 [N, 64, 64, 3].  A sample that
        another filter has had, or one nearly equal to it, is entered only if the user does ``insist``.  What else is to
        be entered is, or nothing where that fails.  Raises StoreError.
        """
        digests = sample_digests(self._key, samples)
        marks = likeness.marks(self._key, samples).view(np.int64).tolist() if alike else [[]] * len(digests)
        with self._transaction() as connection:
            return [
                self._entered(connection, digest, own, self._keyed(filter), insist)
                for digest, own, filter in zip(digests, marks, filters, strict=True)
            ]

    def _entered(
        self, connection: sqlite3.Connection, digest: bytes, marks: list[int], filter: bytes, insist: bool
    ) -> Entry:
        known = connection.execute("SELECT origin FROM sample WHERE digest = ?", (digest,)).fetchone()
        origin = known[0] if known else _alike(connection, marks) or digest
        query = "SELECT count(*) FROM filtered WHERE origin = ? AND filter <> ?"
        (others,) = connection.execute(query, (origin, filter)).fetchone()
        if others and not insist:
            return Entry(origin, refused=True)
        if not known:
            number = connection.execute("INSERT INTO sample (digest, origin) VALUES (?, ?)", (digest, origin)).lastrowid
            connection.executemany("INSERT INTO mark VALUES (?, ?)", [(mark, number) for mark in {*marks}])
        connection.execute("INSERT OR IGNORE INTO filtered VALUES (?, ?)", (origin, filter))
        return Entry(origin, refused=False)

    def _keyed(self, name: str) -> bytes:
        return hmac.digest(self._key, f"filter {name}".encode(), hashlib.sha256)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it happens, down to the disk, or nothing."""
        try:
            private_file(self._path)
            with closing(sqlite3.connect(self._path, timeout=PATIENCE, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA secure_delete = ON")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    if connection.in_transaction:  # a full disk has ended it already
                        connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"the ledger {self._path} cannot be used ({error}): make room or mend its permissions; if it is "
                "damaged, put back a copy, or move it away, and what was released before is not known any more"
            ) from error


def _alike(connection: sqlite3.Connection, marks: list[int]) -> bytes | None:
    """The origin of the sample that shares most marks, where they are enough."""
    if not marks:
        return None
    places = ", ".join("?" * len(marks))
    query = (
        f"SELECT sample FROM mark WHERE mark IN ({places}) GROUP BY sample HAVING count(*) >= ? "
        "ORDER BY count(*) DESC, sample LIMIT 1"
    )
    found = connection.execute(query, (*marks, likeness.ENOUGH)).fetchone()
    if found is None:
        return None
    (origin,) = connection.execute("SELECT origin FROM sample WHERE number = ?", found).fetchone()
    return bytes(origin)
