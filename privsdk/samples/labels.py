"""Labels that a person gives: read from a CSV file, and told apart for the photos that they are of."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path, PurePath
from typing import TypeAlias, TypeVar

from privsdk.errors import UsageError
from privsdk.files import read_regular
from privsdk.names import folded

Labels: TypeAlias = Mapping[str, Mapping[str, int]]
"""For a file's name, or the end of its path, the labels of the person on it, 0 or 1."""

Value = TypeVar("Value")

VALUES = {"1": 1, "yes": 1, "true": 1, "+1": 1, "0": 0, "-1": 0, "no": 0, "false": 0}
LARGEST = 100_000_000


def read_labels(
    path: str | Path, columns: Sequence[str] | None = None, needed: Sequence[str] = ()
) -> dict[str, dict[str, int]]:
    """For each file name in the first column of a CSV file its labels, 0 or 1, by the names in the first
    line.

    Fields are parted by commas, semicolons or tabs; a label is 0 or 1, -1 or 1, yes or no, true or false; an
    empty field is no label.  With ``columns`` only those are read (names match without regard to case, spaces
    and underscores), so other columns may hold anything; one of them must be there, and all that are ``needed``.
    Raises UsageError, with the number of the line, for
    anything else.
    """
    wanted = None if columns is None else {folded(column) for column in columns}
    header, rows = _table(Path(path))
    _check_columns(path, header, columns, needed)
    return {
        name: {
            column: _value(field, f"{where}, field {number}")
            for number, (column, field) in enumerate(zip(header[1:], fields, strict=True), 2)
            if field and (wanted is None or folded(column) in wanted)
        }
        for name, (where, fields) in rows.items()
    }


def label_columns(path: str | Path) -> tuple[str, ...]:
    """The names of the columns of a CSV file that hold labels, as :func:`read_labels` takes them, and nothing else."""
    header, rows = _table(Path(path))
    return tuple(
        column
        for place, column in enumerate(header[1:])
        if all(fields[place].casefold() in VALUES for _, fields in rows.values() if fields[place])
    )


def read_column(path: str | Path, column: str) -> dict[str, str]:
    """For each file name in the first column of a CSV file what stands in another one; raises UsageError."""
    header, rows = _table(Path(path))
    _check_columns(path, header, None, [column])
    place = [folded(name) for name in header[1:]].index(folded(column))
    for where, fields in rows.values():
        if not fields[place]:
            raise UsageError(f"{where}: {column} is empty: fill it in, or leave the line out")
    return {name: fields[place] for name, (_, fields) in rows.items()}


def read_numbers(path: str | Path) -> dict[str, list[float]]:
    """For each name in the first column of a CSV file the numbers in the others; raises UsageError."""
    _, rows = _table(Path(path))
    try:
        return {name: [float(field) for field in fields] for name, (_, fields) in rows.items()}
    except ValueError as error:
        raise UsageError(f"{path} holds a field that is no number ({error}): leave such columns out") from error


def labels_of_photos(labels: Labels, photos: Sequence[Path], wanted: Sequence[str]) -> list[dict[str, int]]:
    """For each photo those of the ``wanted`` labels that are given for it, by these names.

    They stand under the longest end of the photo's path that there is: ``b/1.jpg`` before ``1.jpg``.  Raises
    UsageError for a label that is neither 0 nor 1, and where one name is that of several photos: nobody could
    say whose labels they are.
    """
    by_folded = {folded(label): label for label in wanted}
    known = {
        name: {
            by_folded[folded(column)]: _zero_or_one(value, name)
            for column, value in row.items()
            if folded(column) in by_folded
        }
        for name, row in labels.items()
    }
    return [row or {} for row in of_photos(known, photos)]


def of_photos(known: Mapping[str, Value], photos: Sequence[Path]) -> list[Value | None]:
    """For each photo what is known under its name, or the longest end of its path that there is; None for nothing.

    Raises UsageError where one name is that of several photos.
    """
    photo_of: dict[str, Path] = {}
    found: list[Value | None] = []
    for photo in photos:
        ends = (PurePath(*photo.parts[start:]).as_posix() for start in range(len(photo.parts)))
        name = next((end for end in ends if end in known), None)
        if name is None:
            found.append(None)
            continue
        if name in photo_of:
            raise UsageError(
                f"the labels of {name} may be those of {photo_of[name]} or of {photo}: write the folder before the name"
            )
        photo_of[name] = photo
        found.append(known[name])
    return found


def _table(path: Path) -> tuple[list[str], dict[str, tuple[str, list[str]]]]:
    """The first line of a CSV file, and for each name in its first column where the line is and its other fields."""
    text = _text(path)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text.partition("\n")[0]), strict=True)
    rows: dict[str, tuple[str, list[str]]] = {}
    header: list[str] = []
    try:
        for fields in lines:
            if not any(field.strip() for field in fields):
                continue
            if not header:
                header = _header(path, fields)
                continue
            where = f"{path}, line {lines.line_num}"
            if len(fields) != len(header):
                raise UsageError(f"{where}: {len(fields)} fields, the first line has {len(header)}: mend the line")
            name = fields[0].strip().replace("\\", "/")
            if not name or name in rows:
                raise UsageError(
                    f"{where}: {f'{name} is there twice' if name else 'there is no file name'}: mend the line"
                )
            rows[name] = where, [field.strip() for field in fields[1:]]
    except csv.Error as error:
        raise UsageError(f"{path}, line {lines.line_num}: {error}: save the table as CSV again") from error
    if not rows:
        raise UsageError(f"{path} holds no labels: it needs a first line with names and one line for each photo")
    return header, rows


def _text(path: Path) -> str:
    try:
        return read_regular(path, LARGEST).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"the labels {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8: save the table as CSV in UTF-8") from error


def _delimiter(first_line: str) -> str:
    return max(",;\t", key=first_line.count)


def _header(path: str | Path, fields: Sequence[str]) -> list[str]:
    header = [field.strip() for field in fields]
    columns = [folded(column) for column in header[1:]]
    if not columns:
        raise UsageError(
            f"{path}, line 1: there is no label column: the first line names the file column and the labels"
        )
    for column in columns:
        if not column or columns.count(column) > 1:
            raise UsageError(
                f"{path}, line 1: a label column has {'no name' if not column else 'its name twice'}: mend it"
            )
    return header


def _check_columns(
    path: str | Path, header: Sequence[str], columns: Sequence[str] | None, needed: Sequence[str]
) -> None:
    there = {folded(column) for column in header[1:]}
    missing = [label for label in needed if folded(label) not in there]
    if missing:
        raise UsageError(f"{path} has no column for {len(missing)} of the labels that are needed: add that")
    if columns is not None and not any(folded(label) in there for label in columns):
        raise UsageError(f"{path} has a column for none of the labels that are asked for: add one")


def _value(field: str, where: str) -> int:
    value = VALUES.get(field.strip().casefold())
    if value is None:
        raise UsageError(f"{where}: a label is none: write 0 or 1, -1 or 1, yes or no, true or false")
    return value


def _zero_or_one(value: object, name: str) -> int:
    if not isinstance(value, Integral) or value not in (0, 1):
        raise UsageError(f"a label of {name} is neither 0 nor 1: mend it")
    return int(value)
