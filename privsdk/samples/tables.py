"""Rows of a table: cells to one-hot samples and back, by the columns that a bundle knows.

A sample has a group of inputs for each column, of which exactly one is 1.  What is not told by the groups (the last
digits of a number, a rare country) is never encoded, so it cannot be released.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import Refusal, UsageError
from privsdk.files import read_regular
from privsdk.names import folded

Rows: TypeAlias = NDArray[np.uint8]
"""uint8 [N, D], 0 or 1: one 1 in each column's group."""

LARGEST = 1_000_000_000  # bytes of a file
DELIMITERS = ",;\t"
UNKNOWN = ("", "?")  # cells that say nothing


@dataclass(frozen=True)
class Categories:
    """A column of words.  With ``others`` the last of the ``values`` stands for all that are not named.

    ``repeats`` names the attributes that this column says outright, so that it does not leave where one is hidden.
    """

    name: str
    values: tuple[str, ...]
    others: bool = False
    repeats: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def position(self, cell: str) -> int:
        """Which of the inputs is 1; raises ValueError, which says why, for what is no category."""
        if cell in self.values:
            return self.values.index(cell)
        if cell in UNKNOWN or not self.others:
            raise ValueError(_named(cell, f"it is one of {', '.join(self.values)}"))
        return len(self.values) - 1

    def cell(self, position: int) -> str:
        return self.values[position]


@dataclass(frozen=True)
class Numbers:
    """A column of whole numbers from ``least`` to ``most`` in bins; each of ``edges`` is the least of the next bin.

    A number comes back as the ``typical`` one of its bin.  ``repeats`` as for :class:`Categories`.
    """

    name: str
    edges: tuple[int, ...]
    typical: tuple[int, ...]
    least: int
    most: int
    repeats: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.edges) + 1

    def position(self, cell: str) -> int:
        """Which of the inputs is 1; raises ValueError, which says why, for what is no number of this column."""
        try:
            number = float(cell)
        except ValueError:
            number = math.nan
        if not (number.is_integer() and self.least <= number <= self.most):
            raise ValueError(_named(cell, f"it is a whole number from {self.least} to {self.most}"))
        return int(np.searchsorted(self.edges, number, side="right"))

    def cell(self, position: int) -> str:
        return str(self.typical[position])


@dataclass(frozen=True)
class LabelColumn:
    """A column that holds an attribute and is no input: its words, and whether each says that the attribute is true.

    The first word of each side is the one that is released.
    """

    name: str
    attribute: str
    values: Mapping[str, int]

    def side(self, cell: str) -> int:
        """0 or 1; raises ValueError, which does not say the cell, for what is neither."""
        if cell not in self.values:
            raise ValueError(f"is not one of {', '.join(self.values)}")
        return self.values[cell]

    def cell(self, side: int) -> str:
        return next(word for word, one in self.values.items() if one == side)


@dataclass(frozen=True)
class Table:
    """The columns of the rows that a bundle knows: inputs, labels, and those that are read over and never released."""

    columns: tuple[Categories | Numbers, ...]
    labels: tuple[LabelColumn, ...]
    ignored: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many numbers a sample has."""
        return sum(len(column) for column in self.columns)

    def sample(self, cells: Sequence[str]) -> NDArray[np.uint8]:
        """One cell for each column to uint8 [D]; raises ValueError, which names the column and says why."""
        positions = []
        for column, cell in zip(self.columns, cells, strict=True):
            try:
                positions.append(column.position(cell))
            except ValueError as error:
                raise ValueError(f"{column.name} {error}") from error
        sample = np.zeros(len(self), np.uint8)
        sample[self._starts + positions] = 1
        return sample

    def cells(self, samples: Rows) -> list[list[str]]:
        """For each sample one cell for each column; the likeliest where a group has several inputs that are 1."""
        groups = [
            samples[:, start : start + len(column)].argmax(axis=1)
            for start, column in zip(self._starts, self.columns, strict=True)
        ]
        return [
            [column.cell(position) for column, position in zip(self.columns, row, strict=True)]
            for row in np.stack(groups, axis=1).tolist()
        ]

    def repeating(self, attributes: Sequence[str]) -> tuple[str, ...]:
        """The names of the columns that say one of these attributes outright."""
        return tuple(column.name for column in self.columns if {*column.repeats} & {*attributes})

    @property
    def _starts(self) -> NDArray[np.int64]:
        return np.cumsum([0, *(len(column) for column in self.columns)])[:-1]

    def to_json(self) -> dict[str, Any]:
        """What a bundle's manifest holds under "table"."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Table:
        """What :meth:`to_json` made; raises ValueError where ``value`` is something else."""
        try:
            table = cls(
                tuple(_column(one) for one in value["columns"]),
                tuple(LabelColumn(one["name"], one["attribute"], dict(one["values"])) for one in value["labels"]),
                tuple(value["ignored"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no table ({error!r})") from error
        names = [folded(one.name) for one in (*table.columns, *table.labels)] + [folded(one) for one in table.ignored]
        if not table.columns or not all(names) or len(set(names)) < len(names):
            raise ValueError("a table needs columns, each with a name of its own")
        for label in table.labels:
            if {*label.values.values()} != {0, 1}:
                raise ValueError(f"the words of {label.name} do not say what is 0 and what is 1")
        for column in table.columns:
            if isinstance(column, Numbers) and (
                len(column.typical) != len(column)
                or any(low >= high for low, high in pairwise(column.edges))
                or any(column.position(str(number)) != place for place, number in enumerate(column.typical))
            ):
                raise ValueError(f"the bins of {column.name} do not hold their typical numbers")
        return table


@dataclass(frozen=True, eq=False)
class TableRows:
    """What was read of a file.

    ``samples`` are uint8 [N, D]; ``labels`` has for each attribute with a column int64 [N], 0 or 1, and -1 where the
    cell says neither; ``header`` is the file's first line, ``delimiter`` what parts its fields; ``lines`` are the
    numbers of the rows' lines, int64 [N], and ``refusals`` the rows that are no sample, with their lines as positions.
    """

    samples: Rows
    labels: Mapping[str, NDArray[np.int64]]
    header: tuple[str, ...]
    delimiter: str
    lines: NDArray[np.int64]
    refusals: list[Refusal]


def read_table(path: str | Path, table: Table) -> TableRows:
    """The rows of a CSV file whose first line names its columns, in any order.

    Fields are parted by commas, semicolons or tabs; names match without regard to case, spaces, underscores and
    hyphens.  All inputs must be there, labels and ignored columns may be.  Raises UsageError for a file that cannot be
    read, is no UTF-8, lacks a column, or has one that the bundle does not know: what is not looked at could not be
    released, and must not be lost without a word.  A row with a cell that means nothing is a Refusal (``bad-row``).
    """
    path = Path(path)
    text = _text(path)
    delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = tuple(field.strip() for field in next(lines, []))
        places = _places(path, header, table)
        inputs = [places[folded(column.name)] for column in table.columns]
        given = {one.attribute: (one, places[folded(one.name)]) for one in table.labels if folded(one.name) in places}
        samples, labels, numbers, refusals = [], [], [], []
        for fields in lines:
            if not any(field.strip() for field in fields):
                continue
            cells = [field.strip() for field in fields]
            try:
                if len(cells) != len(header):
                    raise ValueError(f"it has {len(cells)} fields, the first line has {len(header)}")
                samples.append(table.sample([cells[place] for place in inputs]))
            except ValueError as error:
                detail = f"{str(error)[0].upper()}{str(error)[1:]}. Mend the row, or leave it out."
                refusals.append(Refusal("bad-row", detail, f"{path}, line {lines.line_num}", lines.line_num))
                continue
            labels.append([column.values.get(cells[place], -1) for column, place in given.values()])
            numbers.append(lines.line_num)
    except csv.Error as error:
        raise UsageError(f"{path}, line {lines.line_num}: {error}; look for a quote left open") from error
    if not samples and not refusals:
        raise UsageError(f"{path} holds no row: it needs a first line with the columns' names and a line for each row")
    columns = np.array(labels, np.int64).reshape(len(samples), len(given)).T
    return TableRows(
        np.array(samples, np.uint8).reshape(len(samples), len(table)),
        dict(zip(given, columns, strict=True)),
        header,
        delimiter,
        np.array(numbers, np.int64),
        refusals,
    )


def write_table(header: Sequence[str], rows: Sequence[Sequence[str]], delimiter: str) -> bytes:
    """A CSV file in UTF-8."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue().encode()


def _column(value: Mapping[str, Any]) -> Categories | Numbers:
    if "values" in value:
        return Categories(value["name"], tuple(value["values"]), bool(value["others"]), tuple(value["repeats"]))
    least, most = int(value["least"]), int(value["most"])
    return Numbers(value["name"], tuple(value["edges"]), tuple(value["typical"]), least, most, tuple(value["repeats"]))


def _places(path: Path, header: Sequence[str], table: Table) -> dict[str, int]:
    """Where each known column stands, by its folded name."""
    needed = {folded(column.name): column.name for column in table.columns}
    known = needed | {folded(one.name): one.name for one in table.labels} | {folded(one): one for one in table.ignored}
    found = [folded(name) for name in header]
    if len(header) < 2 or not {*found} & {*needed}:
        raise UsageError(
            f"{path}, line 1 names none of the columns {', '.join(needed.values())}: the first line holds the names, "
            "with commas, semicolons or tabs between"
        )
    if missing := [name for short, name in needed.items() if short not in found]:
        raise UsageError(f"{path} has no column {' and no column '.join(missing)}: the bundle needs it, add it")
    if unknown := [name for short, name in zip(found, header, strict=True) if short not in known]:
        raise UsageError(
            f"{path} has the column {unknown[0]!r}, which the bundle does not know and could not release: take it out"
        )
    if twice := [name for short, name in zip(found, header, strict=True) if found.count(short) > 1]:
        raise UsageError(f"{path}, line 1 names {twice[0]} twice: take one out")
    return {short: place for place, short in enumerate(found)}


def _text(path: Path) -> str:
    try:
        return read_regular(path, LARGEST).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"the table {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8 (its byte {error.start}): save the table in UTF-8") from error


def _named(cell: str, allowed: str) -> str:
    return f"is empty: {allowed}" if not cell else f"is {cell!r}: {allowed}"
