"""CelebA in its official layout, at any scale of the frame.

``img_align_celeba/*.jpg``, ``list_attr_celeba.txt``, ``list_eval_partition.txt`` and, where it is there,
``identity_CelebA.txt``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from export.datasets.labelled import PARTITIONS, LabelledImages, check_names
from export.datasets.reading import note_line, read_samples, text_of
from privsdk.errors import TrainingDataError
from privsdk.samples.faces import Detector, faces_in

LISTS = ATTRIBUTES, PARTITION, IDENTITY = "list_attr_celeba.txt", "list_eval_partition.txt", "identity_CelebA.txt"


def load(folder: Path) -> LabelledImages:
    """All images of a CelebA folder as 64x64 faces, with all attributes.

    Each face is found and aligned as a device does it: two ways of alignment, some pixels apart, would be two
    populations to everything that is learned from them, and only one of them is ever released.

    Raises TrainingDataError if a file is missing, a row has no or too many labels, a label is neither -1 nor
    1, two attributes have one name, a list names an image twice, or an image has no partition.  Images that cannot be
    read or show no face are left out and named in ``refused``.
    """
    attributes, rows = read_attributes(folder / ATTRIBUTES)
    partition = read_numbers(folder / PARTITION)
    identity_file = folder / IDENTITY
    identity = read_numbers(identity_file) if identity_file.exists() else {}
    for name in rows:
        if name not in partition:
            raise TrainingDataError(f"{name} has labels but no row in {PARTITION}; add one")
        if partition[name] not in PARTITIONS.values():
            raise TrainingDataError(f"{PARTITION}: {name} is in partition {partition[name]}; it must be 0, 1 or 2")
    detector = Detector()
    pixels, names, refused = read_samples(
        folder / "img_align_celeba",
        list(rows),
        lambda image: faces_in(image, "largest", aligned=False, detector=detector)[0][0],
    )
    return LabelledImages(
        pixels=pixels,
        labels=np.array([rows[name] for name in names], np.uint8),
        attributes=attributes,
        partition=np.array([partition[name] for name in names], np.uint8),
        identity=np.array([identity.get(name, -1 - i) for i, name in enumerate(names)], np.int32),
        names=names,
        refused=refused,
    )


def lines_of(path: Path) -> list[str]:
    """The lines of a text file that must be there."""
    return text_of(path, "the official CelebA layout has it beside img_align_celeba/").splitlines()


def read_attributes(path: Path) -> tuple[tuple[str, ...], dict[str, list[int]]]:
    """Attribute names, and for each file name its labels as 0 or 1."""
    lines = lines_of(path)
    attributes = tuple(lines[1].split()) if len(lines) > 2 else ()
    if not attributes:
        raise TrainingDataError(f"{path} is cut off; it must hold a count, the attribute names and a row an image")
    check_names(attributes, path)
    rows: dict[str, list[int]] = {}
    places: dict[str, int] = {}
    for number, line in enumerate(lines[2:], start=3):
        name, *labels = line.split() or [""]
        if len(labels) != len(attributes):
            raise TrainingDataError(
                f"{path}, line {number}: {len(labels)} labels for {len(attributes)} attributes; a column is missing"
            )
        for attribute, label in zip(attributes, labels, strict=True):
            if label not in ("-1", "1"):
                raise TrainingDataError(
                    f"{path}, line {number}: {attribute} of {name} is {label!r}, which is no label; use -1 or 1"
                )
        note_line(places, name, number, path)
        rows[name] = [int(label == "1") for label in labels]
    return attributes, rows


def read_numbers(path: Path) -> dict[str, int]:
    """A file of "name number" rows."""
    numbers: dict[str, int] = {}
    places: dict[str, int] = {}
    for number, line in enumerate(lines_of(path), start=1):
        words = line.split()
        if len(words) != 2 or not re.fullmatch(r"-?\d+", words[1]):
            raise TrainingDataError(f"{path}, line {number}: {line!r} is not a file name and a number")
        note_line(places, words[0], number, path)
        numbers[words[0]] = int(words[1])
    return numbers
