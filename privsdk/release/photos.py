"""Images: one clean one for each face or digit, and ``release.jsonl``, which says what was released.

Nothing else of a photo goes out: an image is built from the decoder's pixels alone, its name is random, its time is the
same as every other's, and photos are worked on in an order that only this device knows.  The record, which is there
complete or not at all, holds neither a private label nor its value, nor anything to look the wish up by.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from privsdk.errors import CancelledError, OutputExistsError, PrivsdkError, Refusal, UnexpectedError, UsageError
from privsdk.noise import check_key
from privsdk.planning import RECORD, UNFINISHED, check_output, plan_release
from privsdk.preview import MOST_PAIRS, sheet
from privsdk.progress import Progress
from privsdk.release.repeats import RELEASED_AT, had_by_another_filter
from privsdk.samples import images
from privsdk.samples.faces import SIZE, Faces, check_choice
from privsdk.samples.images import FORMATS, Format, Pixels
from privsdk.samples.labels import Labels, labels_of_photos
from privsdk.samples.reader import SamplesIn, sample_reader
from privsdk.store.folder import clear_parts, sync_folder, write_atomically, write_new
from privsdk.store.journal import Done, Journal
from privsdk.store.key import device_key
from privsdk.store.ledger import Ledger

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
    release; ``labels`` what was released beside the image: utility labels that the caller gave, 0 or 1.
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
    insist: bool = False,
    folder: Path | None = None,
) -> list[Release | Refusal]:
    """Write one privatized image for each face in the photos, or for each image of a digit, to a new folder; one
    Release each, or one Refusal a photo.

    ``paths`` and ``output`` are as in :func:`plan_release`; results come in the order of the photos.
    ``labels`` gives for a file's name (or the end of its path) the labels of the one person on it, 0 or 1: the
    privatizer's utility labels are released beside the image, its private ones are only used, by a
    label-aware filter.  ``aligned`` takes photos for crops in the bundle's frame.  ``names="keep"`` keeps the
    names of the photos without their suffix.  ``key`` is 32 bytes, the device key without it.
    ``on_progress`` is called with the stage, photos done, and all; ``cancel`` before each photo. ``preview``
    is a file for the caller's own eyes, with originals and releases side by side.  A photo that another filter has had,
    or one nearly equal to it, is refused unless the caller does ``insist``.  ``folder`` is the data folder with the key
    and the ledger, the user's own without it.

    An image is whole once it has its name.  A release that was stopped, by whatever, leaves whole images, no record and
    the mark ``.unfinished``; the same call goes on where it was.  Memory does not grow with the size of the photos.

    Raises UsageError (OutputExistsError where the output is there already) and StoreError before anything is written,
    CancelledError, UsageError where nothing can be written any more, and UnexpectedError; what was released before
    stays.
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
            "this privatizer needs the private label of every photo: give labels (--labels), or fit one that needs none"
        )
    key = key if key is not None else device_key(folder)
    check_key(key)
    settings = {
        "filter": privatizer.filter_digest,
        "photos": _as_they_are(plan.photos),
        "labels": [dict(own) for own in known],
        "faces": faces,
        "aligned": aligned,
        "names": names,
        "format": format,
    }
    unfinished = False

    def resume() -> bool:
        nonlocal unfinished
        check_output(plan.output, ())  # another process may have finished it since it was planned
        unfinished = os.path.lexists(plan.output / UNFINISHED)
        return unfinished

    with _as_one_of_ours(plan.output):
        ledger = Ledger(key, folder)
        journal = Journal(key, plan.output, settings, resume, folder)
    try:
        run = _Run(privatizer, plan.output, key, ledger, journal, names, format, insist, plan.photos, known)
        with _as_one_of_ours(plan.output):
            run.begin(unfinished)
        # In an order of this device's own: when a file was made, and where it stands in its folder, does not say which
        # photo it comes from.
        waiting = sorted(range(len(plan.photos)), key=lambda position: journal.keyed("order", run.id, str(position)))
        batch: list[_Photo] = []
        for count, position in enumerate(waiting):
            if cancel is not None and cancel():
                raise CancelledError(
                    f"cancelled before photo {count + 1} of {len(waiting)}; what was released before stays in "
                    f"{plan.output}, and the same command goes on"
                )
            with _as_one_of_ours(plan.output):
                photo = run.read(position, samples_in, again=preview is not None)
                batch += [] if photo is None else [photo]
                if len(batch) >= BATCH:
                    run.write(batch)
                    batch = []
            if on_progress is not None:
                on_progress("privatizing", count + 1, len(waiting))
        with _as_one_of_ours(plan.output):
            run.write(batch)
            results = run.end()
    except BaseException:
        journal.close()
        raise
    journal.discard()
    if preview is not None:
        with _as_one_of_ours(plan.output):
            run.write_preview(Path(preview))
    return results


@dataclass(frozen=True)
class _Photo:
    """A photo on its way: its place among all, its samples, how many it shows, and its labels, if it shows one.

    Of one that ``is_released`` already everything is on the disk: it was read once more for the preview.
    """

    position: int
    samples: Sequence[Pixels]
    shown: int
    labels: Mapping[str, int]
    is_released: bool


class _Run:
    """One release into one folder."""

    def __init__(
        self,
        privatizer: Privatizer,
        folder: Path,
        key: bytes,
        ledger: Ledger,
        journal: Journal,
        names: Names,
        format: Format,
        insist: bool,
        photos: Sequence[Path],
        labels: Sequence[Mapping[str, int]],
    ) -> None:
        """``labels`` are those of the photos, in their order."""
        self._privatizer = privatizer
        self._folder = folder
        self._key = key
        self._ledger = ledger
        self._journal = journal
        self._names = names
        self._format = format
        self._insist = insist
        self._photos = photos
        self._labels = labels
        self._stems = _stems(photos) if names == "keep" else []
        self._results: dict[int, list[Release | Refusal]] = {}
        self._pairs: list[tuple[Pixels, Pixels]] = []
        self.id = journal.run.hex()

    def begin(self, unfinished: bool) -> None:
        """Make the folder and the mark that it is unfinished; every failure to write is a UsageError."""
        try:
            if not unfinished:
                self._folder.mkdir(parents=True, exist_ok=True)
                write_new(self._folder / UNFINISHED, b"", modified=RELEASED_AT)
            clear_parts(self._folder)
        except FileExistsError as error:
            raise OutputExistsError(f"{self._folder} exists already: choose another output folder") from error
        except OSError as error:
            raise UsageError(f"{self._folder} cannot be written: {error.strerror}") from error

    def read(self, position: int, samples_in: SamplesIn, again: bool) -> _Photo | None:
        """The samples of a photo; None where there are none to release, or where they are released already.

        ``again`` reads the latter too.
        """
        done = self._journal.done(position)
        if done is not None and not again:
            labels = self._labels_of(position, done.shown)
            self._results[position] = [
                self._released(position, sample, done.samples, labels) for sample in range(done.samples)
            ]
            return None
        try:
            with _refusing_what_fails():
                samples, shown = samples_in(images.read(self._photos[position]))
                return _Photo(position, samples, shown, self._labels_of(position, shown), done is not None)
        except Refusal as refusal:
            self._refuse(position, refusal)
            return None

    def write(self, batch: Sequence[_Photo]) -> None:
        """Privatize the samples of some photos and write them; what fails is refused, and the others go on."""
        if not batch:
            return
        try:
            with _refusing_what_fails():
                privatized = self._privatized(batch)
        except Refusal as refusal:
            if len(batch) == 1:
                self._refuse(batch[0].position, refusal)
            else:  # whose fault it is shows when each goes alone
                for photo in batch:
                    self.write([photo])
            return
        finished = []
        for photo, outcomes in zip(batch, privatized, strict=True):
            if self._write_photo(photo, outcomes):
                finished.append((photo.position, Done(len(photo.samples), photo.shown)))
        self._journal.finish(finished)

    def end(self) -> list[Release | Refusal]:
        """Write the record and take the mark away; all results, in the order of the photos."""
        results = [result for position in sorted(self._results) for result in self._results[position]]
        try:
            write_atomically(self._folder / RECORD, self._record(results), modified=RELEASED_AT)
            (self._folder / UNFINISHED).unlink(missing_ok=True)
        except OSError as error:
            raise self._cannot_be_written(error) from error
        try:
            sync_folder(self._folder)
        except OSError as error:
            raise UsageError(
                f"all is released to {self._folder}, but its disk fails ({error.strerror}): check the disk, and that "
                "the release can be read, before a photo is deleted"
            ) from error
        return results

    def write_preview(self, path: Path) -> None:
        """The first faces and what was released of them, for the caller's own eyes."""
        try:
            write_new(path, images.to_bytes(sheet(self._pairs), FORMATS[path.suffix.lower()]), mode=0o600)
        except FileExistsError as error:
            raise OutputExistsError(f"all is released, but the preview {path} exists already by now") from error
        except OSError as error:
            raise UsageError(f"all is released, but not the preview {path}: {error.strerror}") from error

    def _privatized(self, batch: Sequence[_Photo]) -> list[list[Pixels | Refusal]]:
        """For each photo what becomes of its samples.  They are in the ledger before anything of them is written."""
        samples = np.stack([sample for photo in batch for sample in photo.samples])
        hidden = self._privatizer.private if self._privatizer.label_aware else ()
        given = [[photo.labels[label] for label in hidden] for photo in batch for _ in photo.samples]
        # With another label a label-aware filter is another one: both releases show what the label changes.
        filters = [f"{self._privatizer.filter_digest} {labels}" for labels in given]
        entries = self._ledger.enter(samples, filters, samples.shape[1:] == (SIZE, SIZE, 3), self._insist)
        private = np.array(given) if hidden else None
        origins = [entry.origin for entry in entries]
        released, refused = self._privatizer.privatize_each(samples, private, self._key, origins)
        for row, entry in enumerate(entries):
            if entry.refused:
                refused[row] = had_by_another_filter()
        outcomes = iter([refused.get(row, image) for row, image in enumerate(released)])
        return [[next(outcomes) for _ in photo.samples] for photo in batch]

    def _write_photo(self, photo: _Photo, outcomes: Sequence[Pixels | Refusal]) -> bool:
        """Write what there is of a photo: whether that is all of it.  Where something fails, nothing of it stays."""
        results: list[Release | Refusal] = []
        try:
            with _refusing_what_fails(OSError):
                for sample, outcome in enumerate(outcomes):
                    if isinstance(outcome, Refusal):
                        results.append(outcome.of(str(self._photos[photo.position]), photo.position))
                        continue
                    released = self._released(photo.position, sample, len(photo.samples), photo.labels)
                    results.append(released)
                    if not photo.is_released:
                        with _refusing_what_fails():  # an OSError here is none of the disk's
                            content = images.to_bytes(outcome, self._format)
                        write_atomically(released.path, content, modified=RELEASED_AT)
                    if len(self._pairs) < MOST_PAIRS:
                        self._pairs.append((photo.samples[sample], outcome))
        except BaseException as error:
            for result in results:
                if isinstance(result, Release) and not photo.is_released:
                    with suppress(OSError):  # missing, or the disk does nothing any more: that is said below
                        result.path.unlink()
            if isinstance(error, OSError):
                raise self._cannot_be_written(error) from error
            if not isinstance(error, Refusal):
                raise
            self._refuse(photo.position, error)
            return False
        self._results[photo.position] = results
        return all(isinstance(result, Release) for result in results)

    def _released(self, position: int, sample: int, samples: int, labels: Mapping[str, int]) -> Release:
        if self._names == "random":
            name = self._journal.name(position, sample)
        else:
            name = self._stems[position] + (f"-face-{sample + 1}" if samples > 1 else "")
        height, width = self._privatizer.bundle.sample_shape[:2]
        return Release(
            source=str(self._photos[position]),
            position=position,
            face=sample,
            path=self._folder / f"{name}.{self._format}",
            format=self._format,
            width=width,
            height=height,
            bundle=self._privatizer.bundle.digest,
            run=self.id,
            labels={label: labels[label] for label in self._privatizer.utility if label in labels},
        )

    def _refuse(self, position: int, refusal: Refusal) -> None:
        self._results[position] = [refusal.of(str(self._photos[position]), position)]

    def _record(self, results: Sequence[Release | Refusal]) -> bytes:
        """A line for each result, in the order of the names; of a photo that was kept back only the kind of reason."""
        lines: list[dict[str, Any]] = [
            {
                "status": "released",
                "file": result.path.name,
                "format": result.format,
                "width": result.width,
                "height": result.height,
                "bundle": result.bundle,
                "run": result.run,
                "labels": dict(result.labels),
            }
            for result in sorted(
                (result for result in results if isinstance(result, Release)), key=lambda result: result.path.name
            )
        ]
        for reason, source in sorted(
            (result.reason, Path(result.source).name) for result in results if isinstance(result, Refusal)
        ):
            named = {"source": source} if self._names == "keep" else {}
            lines.append({"status": "refused", "reason": reason, "run": self.id} | named)
        return "".join(f"{json.dumps(line)}\n" for line in lines).encode()

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

    def _cannot_be_written(self, error: OSError) -> UsageError:
        return UsageError(
            f"{self._folder} cannot be written ({error.strerror}): what was released before stays; make room or mend "
            "its permissions, and the same command goes on"
        )


@contextmanager
def _refusing_what_fails(*passed: type[Exception]) -> Iterator[None]:
    """Whatever goes wrong with one sample, but for privsdk's own errors and those ``passed``, is a refusal of it.

    What a library says of it is left out: it might say what is in the sample.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (PrivsdkError, *passed)):
            raise
        detail = f"Something went wrong that should not ({type(error).__name__}). Leave it out, and report this."
        raise Refusal("failed", detail) from error


@contextmanager
def _as_one_of_ours(output: Path) -> Iterator[None]:
    """Whatever goes wrong with more than one sample is an error of the tree."""
    try:
        yield
    except Exception as error:
        if isinstance(error, PrivsdkError):
            raise
        raise UnexpectedError(
            f"the release to {output} stopped at something that should not happen ({type(error).__name__}): what was "
            "released before stays, and the same command goes on; if it stops again, report it"
        ) from error


def _as_they_are(photos: Sequence[Path]) -> list[list[str | int]]:
    """Where each photo is, and what tells that its file has changed."""
    found: list[list[str | int]] = []
    for photo in photos:
        found.append([os.path.abspath(photo)])
        with suppress(OSError, ValueError):  # it is gone, or can be no file: a refusal when its turn comes
            status = os.stat(photo)
            found[-1] += [status.st_size, status.st_mtime_ns, status.st_ino]
    return found


def _stems(photos: Sequence[Path]) -> list[str]:
    """A name for each photo, as it is called and no two alike, also where a file system takes two names for one."""
    taken: set[str] = set()
    stems = []
    for photo in photos:
        stem = photo.stem
        while len(os.fsencode(stem)) > LONGEST_STEM:
            stem = stem[:-1]
        if re.search(r"-face-\d+$", stem):  # so the faces of a photo with several are called
            stem += "-photo"
        name, count = stem, 1
        while _on_disk(name) in taken:
            count += 1
            name = f"{stem}-{count}"
        taken.add(_on_disk(name))
        stems.append(name)
    return stems


def _on_disk(name: str) -> str:
    """The same for names that some file systems take for one: they differ in case, or in how accents are composed."""
    return unicodedata.normalize("NFC", name).casefold()
