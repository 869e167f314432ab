"""What leaves the device: one clean image for each face, and ``release.jsonl``, which says what was released.

Nothing else of a photo goes out: an image is built from the decoder's pixels alone, its name is random, and
the record holds neither a private label nor its value, nor anything from which the wish could be looked up.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from privsdk.errors import CancelledError, OutputExistsError, Refusal, UsageError
from privsdk.names import folded
from privsdk.samples import images
from privsdk.samples.faces import SIZE, Detector, Faces, faces_in
from privsdk.samples.images import Format, Pixels
from privsdk.store.folder import write_atomically
from privsdk.store.key import device_key

if TYPE_CHECKING:
    from privsdk.privatizer import Privatizer

Names: TypeAlias = Literal["random", "keep"]
Labels: TypeAlias = Mapping[str, Mapping[str, int]]
Progress: TypeAlias = Callable[[str, int, int], None]

RECORD = "release.jsonl"
BATCH = 16
PREVIEW_PAIRS = 24
FORMATS: dict[str, Format] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


@dataclass(frozen=True)
class Release:
    """One face that was released.

    ``source`` is the photo as the caller named it and ``position`` its index among the photos (neither is
    written to the record), ``face`` the index of the face in it, the largest first; ``path`` the image,
    ``width`` and ``height`` its size in pixels; ``bundle`` the bundle's digest, ``run`` a random id of the
    whole call; ``labels`` what was released beside the image: utility labels that the caller gave, 0 or 1.
    """

    source: str
    position: int
    face: int
    path: Path
    format: Format
    width: int
    height: int
    bundle: str
    run: str
    labels: Mapping[str, int]


@dataclass(frozen=True)
class Plan:
    """What a release will work on: the photos, in order, and the folder for the output."""

    photos: tuple[Path, ...]
    output: Path


def plan_release(
    paths: Sequence[str | Path],
    output: str | Path | None = None,
    recursive: bool = False,
    preview: str | Path | None = None,
) -> Plan:
    """The photos in ``paths`` and where their release goes; nothing is read or written yet.

    A file is taken whatever its name; of a folder the files that are called like photos, sorted, with
    ``recursive`` those in its folders too, except in hidden folders and in those of earlier releases.
    ``output`` is by default ``<folder>-released`` beside the input.  Raises UsageError where there is no
    photo or no output can be told, and OutputExistsError where something is there already.
    """
    if not paths:
        raise UsageError("no photo is given: name a file or a folder")
    folder = Path(output) if output is not None else _beside(paths)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise OutputExistsError(f"{folder} exists already: move it away, or choose another output folder")
    if preview is not None:
        _check_preview(Path(preview), folder)
    found = {os.path.abspath(photo): photo for path in paths for photo in _photos(Path(path), recursive)}
    if not found:
        where = ", ".join(str(path) for path in paths)
        raise UsageError(
            f"no photo in {where}: name a folder of JPEG, PNG or WebP files"
            f"{'' if recursive else ', or look in its folders too (--recursive)'}"
        )
    return Plan(tuple(found.values()), folder)


def release(
    privatizer: Privatizer,
    paths: Sequence[str | Path],
    output: str | Path | None = None,
    *,
    labels: Labels | None = None,
    faces: Faces = "largest",
    aligned: bool = False,
    names: Names = "random",
    key: bytes | None = None,
    on_progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    format: Format = "png",
    preview: str | Path | None = None,
) -> list[Release | Refusal]:
    """Write one privatized image for each face in the photos to a new folder; one Release a face or Refusal a
    photo.

    ``paths`` and ``output`` are as in :func:`plan_release`; results come in the order of the photos.
    ``labels`` gives for a file's name (or the end of its path) the labels of the person on it, 0 or 1: the
    privatizer's utility labels are released beside the image, its private ones are only used, by a
    label-aware filter.  ``aligned`` takes photos for crops in the bundle's frame.  ``names="keep"`` keeps the
    names of the photos without their suffix.  ``key`` is 32 bytes, the device key without it.
    ``on_progress`` is called with the stage, photos done, and all; ``cancel`` before each photo. ``preview``
    is a file for the caller's own eyes, with originals and releases side by side.

    An image is whole once it has its name, and has its name before its line in the record, which is written
    at once: a process that is killed leaves whole images and whole lines only.  Memory does not grow with the
    number of photos.

    Raises UsageError (OutputExistsError where the output is there already) before anything is done, and
    CancelledError; what was released before stays.
    """
    plan = plan_release(paths, output, preview=preview)
    if privatizer.bundle.sample_shape != (SIZE, SIZE, 3):
        raise UsageError(
            f"the bundle {privatizer.bundle.name} is not for faces: its samples are no {SIZE}x{SIZE} images"
        )
    if faces not in ("largest", "all"):
        raise UsageError(f'faces is {faces!r}: give "largest" or "all"')
    if names not in ("random", "keep"):
        raise UsageError(f'names is {names!r}: give "random" or "keep"')
    if format not in FORMATS.values():
        raise UsageError(f'the format is {format!r}: give "png", "jpeg" or "webp"')
    wanted = (*privatizer.utility, *privatizer.private)
    known = {name: _canonical(row, wanted) for name, row in (labels or {}).items()}
    if privatizer.label_aware and not known:
        raise UsageError(
            f"this privatizer needs the private label ({', '.join(privatizer.private)}) of every photo: "
            "give labels (--labels), or fit one that needs none"
        )
    key = key if key is not None else device_key()
    detector = Detector()
    run = _Run(privatizer, plan.output, key, names, format, known)
    results: list[Release | Refusal] = []
    pending: list[_Sample | Refusal] = []
    with run.recording():
        for position, photo in enumerate(plan.photos):
            if cancel is not None and cancel():
                raise CancelledError(
                    f"cancelled: {len(results)} of {len(plan.photos)} are done and stay in {plan.output}"
                )
            pending += run.samples(photo, position, faces, aligned, detector)
            if len(pending) >= BATCH:
                results += run.write(pending)
                pending = []
            if on_progress is not None:
                on_progress("privatizing", position + 1, len(plan.photos))
        results += run.write(pending)
    if preview is not None:
        run.write_preview(Path(preview))
    return results


@dataclass(frozen=True)
class _Sample:
    """A face on its way: where it comes from, its pixels, and the private labels that a label-aware filter
    wants.
    """

    photo: Path
    position: int
    face: int
    faces: int
    pixels: Pixels
    private: tuple[int, ...]


class _Run:
    """One call's output folder and its record."""

    def __init__(
        self, privatizer: Privatizer, folder: Path, key: bytes, names: Names, format: Format, labels: Labels
    ) -> None:
        self._privatizer = privatizer
        self._folder = folder
        self._key = key
        self._names = names
        self._format = format
        self._labels = labels
        self._id = secrets.token_hex(16)
        self._taken: set[str] = set()
        self._record = -1
        self._pairs: list[tuple[Pixels, Pixels]] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Make the folder and open the record, which must not be there; every failure to write is a
        UsageError.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Whoever creates the record owns the folder, should two start at once.
            self._record = os.open(self._folder / RECORD, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        except FileExistsError as error:
            raise OutputExistsError(f"{self._folder} exists already: choose another output folder") from error
        except OSError as error:
            raise UsageError(f"{self._folder} cannot be written: {error.strerror}") from error
        try:
            yield
        finally:
            os.close(self._record)

    def samples(
        self, photo: Path, position: int, faces: Faces, aligned: bool, detector: Detector
    ) -> list[_Sample] | list[Refusal]:
        """The faces of a photo, or the one reason why it has none to release."""
        try:
            found = faces_in(images.read(photo), faces, aligned, detector)
            private = self._private_labels(photo, len(found))
        except Refusal as refusal:
            return [refusal.of(str(photo), position)]
        return [_Sample(photo, position, face, len(found), pixels, private) for face, pixels in enumerate(found)]

    def write(self, batch: Sequence[_Sample | Refusal]) -> list[Release | Refusal]:
        """Privatize and write a batch, in order."""
        samples = [entry for entry in batch if isinstance(entry, _Sample)]
        privatized = iter(self._privatized(samples))
        results: list[Release | Refusal] = []
        try:
            for entry in batch:
                if isinstance(entry, Refusal):
                    results.append(self._refuse(entry))
                    continue
                outcome = next(privatized)
                if isinstance(outcome, Refusal):
                    results.append(self._refuse(outcome.of(str(entry.photo), entry.position)))
                else:
                    results.append(self._release(entry, outcome))
            os.fsync(self._record)
        except OSError as error:
            raise UsageError(
                f"{self._folder} cannot be written ({error.strerror}): what was released before stays"
            ) from error
        return results

    def write_preview(self, path: Path) -> None:
        """The first faces and what was released of them, for the caller's own eyes."""
        try:
            write_atomically(path, images.to_bytes(_sheet(self._pairs), FORMATS[path.suffix.lower()]), mode=0o600)
        except OSError as error:
            raise UsageError(f"the preview {path} cannot be written: {error.strerror}") from error

    def _privatized(self, samples: Sequence[_Sample]) -> list[Pixels | Refusal]:
        if not samples:
            return []
        pixels = np.stack([sample.pixels for sample in samples])
        private = np.array([sample.private for sample in samples]) if self._privatizer.label_aware else None
        released, refused = self._privatizer.privatize_each(pixels, private, self._key)
        return [refused.get(row, image) for row, image in enumerate(released)]

    def _release(self, sample: _Sample, pixels: Pixels) -> Release:
        path = self._folder / f"{self._name(sample)}.{self._format}"
        write_atomically(path, images.to_bytes(pixels, self._format))
        if len(self._pairs) < PREVIEW_PAIRS:
            self._pairs.append((sample.pixels, pixels))
        released = Release(
            source=str(sample.photo),
            position=sample.position,
            face=sample.face,
            path=path,
            format=self._format,
            width=pixels.shape[1],
            height=pixels.shape[0],
            bundle=self._privatizer.bundle.digest,
            run=self._id,
            labels=self._utility_labels(sample),
        )
        self._append(
            {
                "status": "released",
                "file": path.name,
                "format": released.format,
                "width": released.width,
                "height": released.height,
                "bundle": released.bundle,
                "run": released.run,
                "labels": dict(released.labels),
            }
        )
        return released

    def _refuse(self, refusal: Refusal) -> Refusal:
        source = {"source": Path(refusal.source).name} if self._names == "keep" else {}
        self._append(
            {"status": "refused", "reason": refusal.reason, "detail": refusal.detail, "run": self._id} | source
        )
        return refusal

    def _append(self, line: Mapping[str, Any]) -> None:
        # One write a line: a process that is killed has written it whole or not at all.
        os.write(self._record, (json.dumps(line) + "\n").encode())

    def _name(self, sample: _Sample) -> str:
        if self._names == "random":
            return secrets.token_hex(16)
        stem = sample.photo.stem if sample.faces == 1 else f"{sample.photo.stem}-{sample.face + 1}"
        name, count = stem, 1
        while name.casefold() in self._taken:
            count += 1
            name = f"{stem}-{count}"
        self._taken.add(name.casefold())
        return name

    def _utility_labels(self, sample: _Sample) -> dict[str, int]:
        """The utility labels of the photo; of a photo of several people nobody can say whose they are."""
        row = _labels_of(sample.photo, self._labels) if sample.faces == 1 else {}
        return {label: row[label] for label in self._privatizer.utility if label in row}

    def _private_labels(self, photo: Path, faces: int) -> tuple[int, ...]:
        """What a label-aware filter is told of the photo; never a guess, as a wrong label gives the sample
        away.
        """
        if not self._privatizer.label_aware:
            return ()
        if faces > 1:
            raise Refusal("label-missing", "It shows several faces: nobody can say whose its label is.")
        row = _labels_of(photo, self._labels)
        if any(label not in row for label in self._privatizer.private):
            raise Refusal("label-missing", "The filter needs a private label of it. Add the photo to the labels.")
        return tuple(row[label] for label in self._privatizer.private)


def _beside(paths: Sequence[str | Path]) -> Path:
    path = Path(os.path.abspath(paths[0]))
    if len(paths) > 1 or not path.name:
        raise UsageError("several inputs have no output folder of their own: name one (--output)")
    return path.parent / f"{path.name if path.is_dir() else path.stem}-released"


def _photos(path: Path, recursive: bool) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        raise UsageError(f"the folder {path} cannot be read: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if recursive and not entry.is_symlink() and not (entry / RECORD).exists():
                yield from _photos(entry, recursive)
        elif images.is_photo(entry):
            yield entry


def _check_preview(preview: Path, output: Path) -> None:
    if preview.suffix.lower() not in FORMATS:
        raise UsageError(f"the preview {preview} must end in {', '.join(FORMATS)}")
    if preview.exists():
        raise OutputExistsError(f"{preview} exists already: choose another name for the preview")
    if Path(os.path.abspath(output)) in Path(os.path.abspath(preview)).parents:
        raise UsageError(f"the preview shows the originals: keep it out of {output}, which is for sharing")


def _canonical(row: Mapping[str, int], wanted: Sequence[str]) -> dict[str, int]:
    by_folded = {folded(label): label for label in wanted}
    return {by_folded[folded(column)]: value for column, value in row.items() if folded(column) in by_folded}


def _labels_of(photo: Path, labels: Labels) -> Mapping[str, int]:
    """The labels under the longest end of the photo's path that there is: ``b/1.jpg`` before ``1.jpg``."""
    parts = photo.parts
    for start in range(len(parts)):
        row = labels.get("/".join(parts[start:]))
        if row is not None:
            return row
    return {}


def _sheet(pairs: Sequence[tuple[Pixels, Pixels]]) -> Pixels:
    """Originals and releases in pairs, three pairs a row, at twice their size, under a warning."""
    large = [[pixels.repeat(2, axis=0).repeat(2, axis=1) for pixels in pair] for pair in pairs]
    rows = [sum(large[start : start + 3], []) for start in range(0, len(large), 3)]
    body = images.sheet(rows, ("before", "released") * min(len(pairs), 3))
    margin = 8
    blank = np.full((1, max(body.shape[1], 240) - margin, 3), 255, np.uint8)
    banner = images.sheet([[blank]], ["for your eyes only: do not share"])
    width = max(banner.shape[1], body.shape[1])
    padded = [
        np.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0)), constant_values=255) for part in (banner, body)
    ]
    return np.concatenate(padded)
