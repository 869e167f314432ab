"""What an audit is given in files: samples or releases, their labels, and whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import Refusal, UsageError
from privsdk.planning import photos_in
from privsdk.progress import Progress
from privsdk.samples import images
from privsdk.samples.faces import read_faces
from privsdk.samples.labels import label_columns, labels_of_photos, of_photos, read_column, read_labels, read_numbers

SIDE = 64  # to which images are brought that are not all of one size, or larger than LARGEST
LARGEST = 128


@dataclass(frozen=True, eq=False)
class Labelled:
    """N samples as :func:`privsdk.audit` takes them.

    ``samples`` are images, uint8 [N, H, W, 3], or rows of numbers, float64 [N, K]; ``labels`` has float64 [N] for each
    label, NaN where it is not known; ``people`` and ``originals`` are None where they are not there.  ``refusals`` are
    the photos that none could be had from.
    """

    samples: NDArray[Any]
    labels: dict[str, NDArray[np.float64]]
    people: list[str] | None
    originals: NDArray[np.uint8] | None
    refusals: list[Refusal]


def read_samples_to_audit(
    paths: str | Path | Sequence[str | Path],
    labels: str | Path,
    needed: Sequence[str],
    people: str | None = None,
    aligned: bool = False,
    recursive: bool = False,
    on_progress: Progress | None = None,
) -> Labelled:
    """The largest face in each photo, uint8 [N, 64, 64, 3], with its labels.

    ``labels`` is a CSV file as :func:`privsdk.read_labels` reads it, with those that are ``needed``; all other columns
    that hold labels are taken too.  ``people`` names the column that says who is on a photo.  Raises UsageError.
    """
    photos = photos_in(paths, recursive)
    known, whose = _told(Path(labels), photos, needed, people)
    samples, refusals = read_faces(photos, aligned=aligned, on_progress=on_progress)
    return _labelled(samples, refusals, known, whose)


def read_releases_to_audit(
    released: str | Path,
    labels: str | Path,
    needed: Sequence[str],
    people: str | None = None,
    originals: str | Path | None = None,
    recursive: bool = False,
    on_progress: Progress | None = None,
) -> Labelled:
    """What any tool released, with its labels: a folder of images, or a CSV file of names and numbers.

    Images that are not all of one size, or larger than 128 pixels, are brought to 64 x 64.  ``originals`` is a folder
    with an image of the same name (but for its ending) for each.  The other arguments are those of
    :func:`read_samples_to_audit`.  Raises UsageError.
    """
    if Path(released).suffix.casefold() == ".csv":
        if originals is not None:
            raise UsageError("originals are compared with images alone: leave them out for a table")
        rows = read_numbers(released)
        known, whose = _told(Path(labels), [Path(name) for name in rows], needed, people)
        return _labelled(np.array(list(rows.values()), np.float64), [], known, whose)
    photos = photos_in(released, recursive)
    known, whose = _told(Path(labels), photos, needed, people)
    pixels, refusals = _images(photos, on_progress)
    result = _labelled(_of_one_size(pixels), refusals, known, whose)
    if originals is None:
        return result
    there = {photo.stem: photo for photo in photos_in(originals, recursive)}
    refused = {refusal.position for refusal in refusals}
    kept = [photo for position, photo in enumerate(photos) if position not in refused]
    if missing := [photo.stem for photo in kept if photo.stem not in there]:
        raise UsageError(f"{originals} has no original of {missing[0]}: give one of that name for each release")
    before = [images.read(there[photo.stem]) for photo in kept]
    height, width = result.samples.shape[1:3]
    sized = [one if one.shape[:2] == (height, width) else _square(one, height, width) for one in before]
    return Labelled(result.samples, result.labels, result.people, np.stack(sized), refusals)


def _told(
    labels: Path, photos: Sequence[Path], needed: Sequence[str], people: str | None
) -> tuple[list[dict[str, int]], list[str | None] | None]:
    """For each photo its labels, and whose it is."""
    columns = (*needed, *(name for name in label_columns(labels) if name != people))
    table = read_labels(labels, columns, needed)
    known = labels_of_photos(table, photos, list({name: None for row in table.values() for name in row}))
    if not any(known):
        raise UsageError(
            f"{labels} names none of the {len(photos)} files, {photos[0].name} and so on: its first column holds the "
            "files' names"
        )
    return known, None if people is None else of_photos(read_column(labels, people), photos)


def _labelled(
    samples: NDArray[Any], refusals: list[Refusal], known: list[dict[str, int]], whose: list[str | None] | None
) -> Labelled:
    refused = {refusal.position for refusal in refusals}
    rows = [row for position, row in enumerate(known) if position not in refused]
    names = list({name: None for row in rows for name in row})
    labels = {name: np.array([row.get(name, np.nan) for row in rows], np.float64) for name in names}
    if whose is None:
        return Labelled(samples, labels, None, None, refusals)
    # Nobody is said to be on a photo without a line, which has no labels either and is left out.
    people = [one or "" for position, one in enumerate(whose) if position not in refused]
    return Labelled(samples, labels, people, None, refusals)


def _images(photos: Sequence[Path], on_progress: Progress | None) -> tuple[list[images.Pixels], list[Refusal]]:
    pixels, refusals = [], []
    for position, photo in enumerate(photos):
        try:
            pixels.append(images.read(photo))
        except Refusal as refusal:
            refusals.append(refusal.of(str(photo), position))
        if on_progress is not None:
            on_progress("read", position + 1, len(photos))
    if not pixels:
        raise UsageError(f"none of the {len(photos)} images can be read: {refusals[0]}")
    return pixels, refusals


def _of_one_size(pixels: list[images.Pixels]) -> NDArray[np.uint8]:
    if len({one.shape for one in pixels}) == 1 and max(pixels[0].shape[:2]) <= LARGEST:
        return np.stack(pixels)
    return np.stack([_square(one, SIDE, SIDE) for one in pixels])


def _square(image: images.Pixels, height: int, width: int) -> images.Pixels:
    """The largest part in the middle that has this form, at this size."""
    tall, wide = image.shape[:2]
    scale = min(tall / height, wide / width)
    top, left = (tall - scale * height) / 2, (wide - scale * width) / 2
    cut = image[round(top) : round(top + scale * height), round(left) : round(left + scale * width)]
    return images.resize(cut, width, height)
