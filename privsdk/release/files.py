"""Many samples in one file: a table, or digits in MNIST's own format; what leaves is one new file.

The rows of a release are shuffled unless asked for otherwise: their order would say whose each is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from privsdk import noise
from privsdk.errors import CancelledError, OutputExistsError, Refusal, UsageError
from privsdk.names import folded
from privsdk.planning import plan_file
from privsdk.progress import Progress
from privsdk.release.repeats import RELEASED_AT, had_by_another_filter
from privsdk.samples.digits import SIDE, idx_bytes, read_idx
from privsdk.samples.tables import Table, TableRows, read_table, write_table
from privsdk.store.folder import write_new
from privsdk.store.key import device_key
from privsdk.store.ledger import Ledger

if TYPE_CHECKING:
    from privsdk.privatizer import Privatizer

Order: TypeAlias = Literal["shuffled", "kept"]
PrivateColumn: TypeAlias = Literal["drop", "resample"]
UtilityColumn: TypeAlias = Literal["keep", "drop"]

AT_ONCE = 2048


@dataclass(frozen=True)
class FileRelease:
    """A file that was released: ``samples`` of them, without the columns ``left_out``; ``refusals`` are the others.

    ``as_given`` are columns of utility labels, which leave as they were.
    """

    path: Path
    samples: int
    left_out: tuple[str, ...]
    as_given: tuple[str, ...]
    refusals: tuple[Refusal, ...]


def release_table(
    privatizer: Privatizer,
    path: str | Path,
    output: str | Path | None = None,
    *,
    private_column: PrivateColumn = "drop",
    utility_column: UtilityColumn = "keep",
    order: Order = "shuffled",
    key: bytes | None = None,
    on_progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    insist: bool = False,
    folder: Path | None = None,
) -> FileRelease:
    """Write a privatized row for each row of a CSV file (:func:`privsdk.read_table`) to a new one.

    What leaves are the columns that the bundle knows as inputs, each with a cell of the decoded row: a category, or the
    typical number of a bin.  A column of a private label does not leave, nor one that says it outright; with
    ``"resample"`` the former holds what the released row makes likely, drawn by the device's key.  A column of a
    utility label leaves as it was given, unless it is to be dropped; whoever sees it can tell of the private label at
    least what the utility label itself tells.  All other columns stay here.  ``output`` is ``<name>-released.csv``
    beside the file without it; ``on_progress`` gets the stage, rows done and all; ``cancel`` is asked before each part.
    A row that another filter has had is refused unless the caller does ``insist``.  ``folder`` is the data folder with
    the key and the ledger, the user's own without it.

    The file is there whole or not at all.  Raises UsageError (OutputExistsError), StoreError, CancelledError, and the
    Refusal of the first row where none at all could be released.
    """
    table = privatizer.bundle.table
    if table is None:
        raise UsageError(f"the bundle {privatizer.bundle.name} is not for tables: take one that is")
    for value, allowed in ((private_column, ("drop", "resample")), (utility_column, ("keep", "drop"))):
        if value not in allowed:
            raise UsageError(f"{value!r} is nothing that is done with a column: {' or '.join(allowed)}")
    _check_order(order)
    target = plan_file(path, output)
    rows = read_table(path, table)
    refusals = list(rows.refusals)
    needed = [*privatizer.private] if privatizer.label_aware else []
    kept = [label for label in privatizer.utility if utility_column == "keep" and label in rows.labels]
    if any(label not in rows.labels for label in needed):
        raise UsageError(
            f"this privatizer needs the private label of each row of {path}: add its column, or fit one that needs none"
        )
    whole = np.ones(len(rows.samples), bool)
    for label in (*needed, *kept):
        for row in np.flatnonzero(whole & (rows.labels[label] < 0)):
            detail = "A label is none that the bundle knows. Mend the row, or leave it out."
            refusals.append(Refusal("label-missing", detail, *_place(path, rows, int(row))))
            whole[row] = False
    chosen = np.flatnonzero(whole)
    private = np.stack([rows.labels[label][chosen] for label in needed], axis=1) if needed else None
    key = key if key is not None else device_key(folder)
    ledger = Ledger(key, folder)
    released, refused = _privatized(privatizer, rows.samples[chosen], private, key, ledger, insist, on_progress, cancel)
    refusals += [refusal.of(*_place(path, rows, int(chosen[row]))) for row, refusal in refused.items()]
    good = np.array([row not in refused for row in range(len(chosen))], bool)
    released, chosen = released[good], chosen[good]
    _require_any(len(released), refusals)
    labels = {label: rows.labels[label][chosen] for label in kept}
    if private_column == "resample":
        labels |= _resampled(privatizer, released, key)
    header, columns = _columns(privatizer, table, rows, released, labels)
    places = _ordered(len(released), order)
    _write(target, write_table(header, [[column[row] for column in columns] for row in places], rows.delimiter))
    left_out = tuple(name for name in rows.header if name not in header)
    as_given = tuple(column.name for column in table.labels if column.attribute in kept)
    return FileRelease(target, len(released), left_out, as_given, tuple(sorted(refusals, key=lambda one: one.position)))


def release_idx(
    privatizer: Privatizer,
    path: str | Path,
    output: str | Path | None = None,
    *,
    order: Order = "shuffled",
    key: bytes | None = None,
    on_progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    insist: bool = False,
    folder: Path | None = None,
) -> FileRelease:
    """Write a privatized digit for each in an idx file to a new one, packed by gzip where its name ends in .gz.

    Arguments and errors as for :func:`release_table`.
    """
    if privatizer.bundle.sample_shape != (SIDE, SIDE):
        raise UsageError(f"the bundle {privatizer.bundle.name} is not for digits: take one that is")
    if privatizer.label_aware:
        raise UsageError("digits in one file have no names to give labels by: give a folder, or a label-free filter")
    _check_order(order)
    target = plan_file(path, output)
    digits = read_idx(path)
    key = key if key is not None else device_key(folder)
    ledger = Ledger(key, folder)
    released, refused = _privatized(privatizer, digits, None, key, ledger, insist, on_progress, cancel)
    refusals = tuple(refusal.of(f"{path}[{row}]", row) for row, refusal in refused.items())
    released = released[[row not in refused for row in range(len(digits))]]
    _require_any(len(released), refusals)
    _write(target, idx_bytes(released[_ordered(len(released), order)], packed=target.suffix == ".gz"))
    return FileRelease(target, len(released), (), (), refusals)


def _privatized(
    privatizer: Privatizer,
    samples: NDArray[np.uint8],
    private: NDArray[np.int64] | None,
    key: bytes,
    ledger: Ledger,
    insist: bool,
    on_progress: Progress | None,
    cancel: Callable[[], bool] | None,
) -> tuple[NDArray[np.uint8], dict[int, Refusal]]:
    released = np.zeros_like(samples)
    refused: dict[int, Refusal] = {}
    for start in range(0, len(samples), AT_ONCE):
        if cancel is not None and cancel():
            raise CancelledError(f"cancelled before sample {start + 1} of {len(samples)}; nothing was written")
        part = slice(start, start + AT_ONCE)
        given = None if private is None else private[part]
        filters = [privatizer.filter_digest] * len(samples[part])
        entries = ledger.enter(samples[part], filters, alike=False, insist=insist)
        released[part], failed = privatizer.privatize_each(samples[part], given, key)
        failed |= {row: had_by_another_filter() for row, entry in enumerate(entries) if entry.refused}
        refused |= {start + row: refusal for row, refusal in failed.items()}
        if on_progress is not None:
            on_progress("privatizing", min(start + AT_ONCE, len(samples)), len(samples))
    return released, refused


def _resampled(privatizer: Privatizer, released: NDArray[np.uint8], key: bytes) -> dict[str, NDArray[np.int64]]:
    """For each private label what the released rows alone make likely, drawn: int64 [N], 0 or 1."""
    bundle = privatizer.bundle
    scores = bundle.scores.scores(bundle.encode(released).mean)
    draws = noise.uniforms(noise.sample_seeds(key, released, "private column"), len(privatizer.private), "drawn")
    return {
        label: (draws[:, place] < 1 / (1 + np.exp(-scores[:, bundle.attributes.index(label)]))).astype(np.int64)
        for place, label in enumerate(privatizer.private)
        if label in bundle.attributes
    }


def _columns(
    privatizer: Privatizer,
    table: Table,
    rows: TableRows,
    released: NDArray[np.uint8],
    labels: Mapping[str, NDArray[np.int64]],
) -> tuple[list[str], list[Sequence[str]]]:
    """The names of the columns that leave, as the file has them and in its order, and their cells."""
    hidden = {*table.repeating(privatizer.private)}
    cells = zip(*table.cells(released), strict=True)
    leaving: dict[str, Sequence[str]] = {
        folded(column.name): values
        for column, values in zip(table.columns, cells, strict=True)
        if column.name not in hidden
    }
    for column in table.labels:
        if column.attribute in labels:
            leaving[folded(column.name)] = [column.cell(side) for side in labels[column.attribute].tolist()]
    header = [name for name in rows.header if folded(name) in leaving]
    return header, [leaving[folded(name)] for name in header]


def _place(path: str | Path, rows: TableRows, row: int) -> tuple[str, int]:
    """What a row of ``rows.samples`` is called in a refusal, and its position."""
    line = int(rows.lines[row])
    return f"{path}, line {line}", line


def _require_any(released: int, refusals: Sequence[Refusal]) -> None:
    if not released:
        raise min(refusals, key=lambda one: one.position)


def _ordered(count: int, order: Order) -> NDArray[np.int64]:
    # Of the system's own randomness: whoever has the key need not be able to put them back.
    return np.arange(count) if order == "kept" else np.random.default_rng().permutation(count)


def _check_order(order: str) -> None:
    if order not in ("shuffled", "kept"):
        raise UsageError(f'the order is {order!r}: give "shuffled" or "kept"')


def _write(path: Path, content: bytes) -> None:
    try:
        write_new(path, content, modified=RELEASED_AT)
    except FileExistsError as error:
        raise OutputExistsError(f"{path} exists already: move it away, or choose another output") from error
    except OSError as error:
        came = "it is there, but its disk fails" if os.path.lexists(path) else "nothing was released"
        raise UsageError(f"{path} cannot be written ({error.strerror}): {came}") from error
