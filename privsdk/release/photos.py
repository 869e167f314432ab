"""Images: one clean one for each face or digit, and ``release.jsonl``, which says what was released.

Nothing else of a photo goes out: an image is built from the decoder's pixels alone, its name is random, and
the record holds neither a private label nor its value, nor anything from which the wish could be looked up.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from privsdk.errors import CancelledError, OutputExistsError, Refusal, UsageError
from privsdk.noise import check_key
from privsdk.planning import RECORD, plan_release
from privsdk.preview import MOST_PAIRS, sheet
from privsdk.progress import Progress
from privsdk.samples import images
from privsdk.samples.faces import Faces, check_choice
from privsdk.samples.images import FORMATS, Format, Pixels
from privsdk.samples.labels import Labels, labels_of_photos
from privsdk.samples.reader import SamplesIn, sample_reader
from privsdk.store.folder import write_atomically, write_new
from privsdk.store.key import device_key

if TYPE_CHECKING:
    from privsdk.privatizer import Privatizer

Names: TypeAlias = Literal["random", "keep"]

BATCH = 16
LONGEST_STEM = 200
"""The most bytes of a name that is kept: file systems take 255, and a number and a suffix come behind it."""


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


def release(
    privatizer: Privatizer,
    paths: str | Path | Sequence[str | Path],
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
    """Write one privatized image for each face in the photos, or for each image of a digit, to a new folder; one
    Release each, or one Refusal a photo.

    ``paths`` and ``output`` are as in :func:`plan_release`; results come in the order of the photos.
    ``labels`` gives for a file's name (or the end of its path) the labels of the one person on it, 0 or 1: the
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
    check_choice(faces)
    samples_in = sample_reader(privatizer.bundle, faces, aligned)
    if names not in ("random", "keep"):
        raise UsageError(f'names is {names!r}: give "random" or "keep"')
    if format not in FORMATS.values():
        raise UsageError(f'the format is {format!r}: give "png", "jpeg" or "webp"')
    wanted = privatizer.utility + (privatizer.private if privatizer.label_aware else ())
    known = labels_of_photos(labels or {}, plan.photos, wanted)
    if privatizer.label_aware and not labels:
        raise UsageError(
            f"this privatizer needs the private label ({', '.join(privatizer.private)}) of every photo: "
            "give labels (--labels), or fit one that needs none"
        )
    key = key if key is not None else device_key()
    check_key(key)
    run = _Run(privatizer, plan.output, key, names, format, known)
    results: list[Release | Refusal] = []
    pending: list[_Sample | Refusal] = []
    with run.recording():
        for position, photo in enumerate(plan.photos):
            if cancel is not None and cancel():
                raise CancelledError(
                    f"cancelled before photo {position + 1} of {len(plan.photos)}; what was released before stays "
                    f"in {plan.output}"
                )
            pending += run.samples(photo, position, samples_in)
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
    """A face on its way: where it comes from, how many of that photo go this way, its pixels, and its labels."""

    photo: Path
    position: int
    face: int
    faces: int
    pixels: Pixels
    labels: Mapping[str, int]


class _Run:
    """One call's output folder and its record."""

    def __init__(
        self,
        privatizer: Privatizer,
        folder: Path,
        key: bytes,
        names: Names,
        format: Format,
        labels: Sequence[Mapping[str, int]],
    ) -> None:
        """``labels`` are those of the photos, in their order."""
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

    def samples(self, photo: Path, position: int, samples_in: SamplesIn) -> list[_Sample] | list[Refusal]:
        """The samples of a photo, or the one reason why it has none to release."""
        try:
            samples, shown = samples_in(images.read(photo))
            labels = self._labels_of(position, shown)
        except Refusal as refusal:
            return [refusal.of(str(photo), position)]
        return [_Sample(photo, position, face, len(samples), pixels, labels) for face, pixels in enumerate(samples)]

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
            write_new(path, images.to_bytes(sheet(self._pairs), FORMATS[path.suffix.lower()]), mode=0o600)
        except FileExistsError as error:
            raise OutputExistsError(f"{path} exists already: choose another name for the preview") from error
        except OSError as error:
            raise UsageError(f"the preview {path} cannot be written: {error.strerror}") from error

    def _privatized(self, samples: Sequence[_Sample]) -> list[Pixels | Refusal]:
        if not samples:
            return []
        pixels = np.stack([sample.pixels for sample in samples])
        hidden = self._privatizer.private if self._privatizer.label_aware else ()
        private = np.array([[sample.labels[label] for label in hidden] for sample in samples]) if hidden else None
        released, refused = self._privatizer.privatize_each(pixels, private, self._key)
        return [refused.get(row, image) for row, image in enumerate(released)]

    def _release(self, sample: _Sample, pixels: Pixels) -> Release:
        path = self._folder / f"{self._name(sample)}.{self._format}"
        write_atomically(path, images.to_bytes(pixels, self._format))
        if len(self._pairs) < MOST_PAIRS:
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
            labels={label: sample.labels[label] for label in self._privatizer.utility if label in sample.labels},
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
        length, content = os.fstat(self._record).st_size, (json.dumps(line) + "\n").encode()
        if os.write(self._record, content) < len(content):  # a disk that fills up takes what it still has room for
            os.ftruncate(self._record, length)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _name(self, sample: _Sample) -> str:
        if self._names == "random":
            return secrets.token_hex(16)
        stem = sample.photo.stem
        while len(os.fsencode(stem)) > LONGEST_STEM:
            stem = stem[:-1]
        if sample.faces > 1:
            stem = f"{stem}-{sample.face + 1}"
        name, count = stem, 1
        while _on_disk(name) in self._taken:
            count += 1
            name = f"{stem}-{count}"
        self._taken.add(_on_disk(name))
        return name

    def _labels_of(self, position: int, shown: int) -> Mapping[str, int]:
        """The labels of the one person on a photo; of several nobody can say whose they are.

        A label-aware filter is never told a guess: a wrong label gives the sample away.
        """
        if shown > 1 and self._privatizer.label_aware:
            raise Refusal("label-missing", "It shows several faces: nobody can say whose its label is.")
        labels = self._labels[position] if shown == 1 else {}
        if self._privatizer.label_aware and not labels.keys() >= {*self._privatizer.private}:
            raise Refusal("label-missing", "The filter needs a private label of it. Add the photo to the labels.")
        return labels


def _on_disk(name: str) -> str:
    """The same for names that some file systems take for one: they differ in case, or in how accents are composed."""
    return unicodedata.normalize("NFC", name).casefold()
