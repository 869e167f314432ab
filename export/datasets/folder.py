"""Anybody's images: a folder and a ``labels.csv``.

The CSV has a column ``file``, optionally ``partition`` (train, valid or test) and ``identity`` (who is shown:
any text), and a column for each attribute with 0 or 1 (or -1 or 1).  Without ``partition`` people (or images,
where there is no identity) are split 80, 10, 10 by a hash of their name, so a file keeps its place when others
are added.
"""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path

import numpy as np

from export.datasets.labelled import PARTITIONS, TEST, TRAIN, VALID, LabelledImages, check_names
from export.datasets.reading import SIDE, note_line, read_samples, text_of
from privsdk.errors import TrainingDataError
from privsdk.samples import images

RESERVED = ("file", "partition", "identity")
LABELS = {"0": 0, "-1": 0, "1": 1}


def partition_of(owner: str) -> int:
    """TRAIN, VALID or TEST for everything that belongs to ``owner``; 80, 10 and 10 in a hundred."""
    share = hashlib.sha256(owner.encode()).digest()[0] / 256
    return TRAIN if share < 0.8 else VALID if share < 0.9 else TEST


def load(folder: Path, labels: Path) -> LabelledImages:
    """The images that ``labels`` names, central squares resized to 64x64.

    Raises TrainingDataError if a column is missing or has no name of its own, a label is none, a file is listed twice,
    or no image can be read.
    """
    text = text_of(labels, "it needs a column 'file' and a column for each attribute")
    reader = csv.DictReader(io.StringIO(text), restval="")
    try:
        columns = list(reader.fieldnames or [])
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise TrainingDataError(f"{labels}, line {reader.line_num}: {error}; look for a quote left open") from error
    attributes = tuple(column for column in columns if column not in RESERVED)
    if "file" not in columns or not attributes:
        raise TrainingDataError(f"{labels} has the columns {columns}; it needs 'file' and at least one attribute")
    check_names(columns, labels)
    by_name: dict[str, dict[str, str]] = {}
    lines: dict[str, int] = {}
    for number, row in rows:
        name = Path(row["file"]).as_posix()  # ./a.png is a.png
        note_line(lines, name, number, labels)
        for attribute in attributes:
            if row[attribute] not in LABELS:
                raise TrainingDataError(
                    f"{labels}, line {number}: {attribute} is {row[attribute]!r}, which is no label; use 0 or 1"
                )
        if "partition" in columns and row["partition"] not in PARTITIONS:
            raise TrainingDataError(
                f"{labels}, line {number}: partition is {row['partition']!r}; use train, valid or test"
            )
        by_name[name] = row
    pixels, names, refused = read_samples(folder, list(by_name), lambda image: images.central_square(image, SIDE))
    owners = [by_name[name].get("identity") or name for name in names]
    numbers = {owner: i for i, owner in enumerate(dict.fromkeys(owners))}
    return LabelledImages(
        pixels=pixels,
        labels=np.array([[LABELS[by_name[name][a]] for a in attributes] for name in names], np.uint8),
        attributes=attributes,
        partition=np.array(
            [
                PARTITIONS[by_name[name]["partition"]] if "partition" in columns else partition_of(owner)
                for name, owner in zip(names, owners, strict=True)
            ],
            np.uint8,
        ),
        identity=np.array([numbers[owner] for owner in owners], np.int32),
        names=names,
        refused=refused,
    )
