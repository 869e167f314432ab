"""Something goes wrong at every step of a photo's way in turn, for one photo of many."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path
from typing import Any, Literal, TypeAlias
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from privsdk import Bundle, Privatizer, PrivsdkError, Refusal, Release
from privsdk.codec import Codec
from privsdk.files import PART
from privsdk.filters.flow import FlowFilter
from privsdk.noise import sample_digests
from privsdk.planning import RECORD, UNFINISHED
from privsdk.release import photos
from privsdk.samples import faces, images
from privsdk.store.journal import Journal
from privsdk.store.ledger import Ledger
from tests.attacks.releasing import emptied, leave_temporary_files, listed
from tests.attacks.trial import REPOSITORY, Attempt, Fault, Outcome, Trial
from tests.make_bundle import flow_privatizer, make_bundle

KEY = bytes(range(32))
WIDTH = 256
"""Of the photos, in pixels: enough for the detector."""


def _broken_disk() -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO))


KINDS: tuple[Callable[[], Exception], ...] = (ValueError, MemoryError, _broken_disk, RuntimeError)


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo, and all by which it is known again on its way."""

    path: Path
    position: int
    content: bytes
    pixels: NDArray[np.uint8]
    sample: NDArray[np.uint8]
    digest: bytes

    @classmethod
    def at(cls, path: Path, position: int, detector: faces.Detector) -> Photo:
        pixels = images.read(path)
        sample = faces.align(pixels, detector.find(pixels)[0].landmarks)
        return cls(path, position, path.read_bytes(), pixels, sample, sample_digests(KEY, sample[None])[0])

    def is_among(self, samples: NDArray[np.uint8]) -> bool:
        return bool((samples == self.sample).all(axis=(1, 2, 3)).any())


Concerns: TypeAlias = Callable[..., bool]
"""Whether a call is about the photo, by its arguments."""


@dataclass(frozen=True)
class Stage:
    """A part of the way: a method, and whether it is about the photo, by that and by its arguments."""

    owner: type
    method: str
    concerns: Concerns


AT_WORK = Stage(Privatizer, "_released", lambda photo, _, samples, *__: photo.is_among(samples))
WRITING = Stage(photos._Run, "_write_photo", lambda photo, _, other, __: other.position == photo.position)
ENDING = Stage(photos._Run, "end", lambda *_: True)


def _always(*_: Any, **__: Any) -> bool:
    return True


class Trouble:
    """Something that is raised for one photo alone, or where a step concerns all, once it comes to that."""

    def __init__(self, kind: Callable[[], Exception], photo: Photo) -> None:
        self.kind = kind
        self.photo = photo
        self.raised = 0
        self.lasts = False

    @contextmanager
    def at(self, holder: Any, name: str, concerns: Concerns = _always) -> Iterator[None]:
        """The function or method ``name`` of ``holder`` fails where its arguments ``concerns`` the photo."""
        real = getattr(holder, name)

        def failing(*arguments: Any, **named: Any) -> Any:
            if concerns(*arguments, **named):
                self.raised += 1
                raise self.kind()
            return real(*arguments, **named)

        with mock.patch.object(holder, name, failing):
            yield

    @contextmanager
    def within(self, stage: Stage, holder: Any, name: str, concerns: Concerns = _always) -> Iterator[None]:
        """The same, but only while ``stage`` lasts."""
        real = getattr(stage.owner, stage.method)

        def lasting(*arguments: Any) -> Any:
            self.lasts = stage.concerns(self.photo, *arguments)
            try:
                return real(*arguments)
            finally:
                self.lasts = False

        with (
            mock.patch.object(stage.owner, stage.method, lasting),
            self.at(holder, name, lambda *given, **named: self.lasts and concerns(*given, **named)),
        ):
            yield

    @contextmanager
    def in_the_journal(self, method: str, statement: str) -> Iterator[None]:
        """A ``statement`` to the journal's database fails."""
        real = Journal._locked

        def locked(journal: Journal) -> Any:
            connection = mock.Mock(wraps=real(journal))

            def failing(*arguments: Any) -> Any:
                if arguments[0].startswith(statement):
                    self.raised += 1
                    error = self.kind()
                    raise sqlite3.OperationalError("disk I/O error") if isinstance(error, OSError) else error
                return mock.DEFAULT

            getattr(connection, method).side_effect = failing
            return connection

        with mock.patch.object(Journal, "_locked", locked):
            yield


@dataclass(frozen=True)
class Step:
    """One step of the way; ``of`` says whether it is one photo's, or of the disk, which may stop all, or of all."""

    name: str
    fails: Callable[[Trouble], AbstractContextManager[None]]
    of: Literal["one", "disk", "all"] = "one"

    def may_stop_all(self, error: Exception) -> bool:
        return self.of == "all" or (self.of == "disk" and isinstance(error, OSError))


def _is_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def _is_part(path: Any, *_: Any) -> bool:
    return PART.fullmatch(Path(str(path)).name) is not None


def _is_mark_or_part(path: Any, *_: Any, **__: Any) -> bool:
    return str(path).endswith(UNFINISHED) or _is_part(path)  # the mark is the first that is made


STEPS = (
    Step("making the folder", lambda all: all.at(Path, "mkdir", lambda path, **_: path.name == "output"), "all"),
    Step("marking it unfinished", lambda all: all.at(os, "open", _is_mark_or_part), "all"),
    Step("looking up what is done", lambda all: all.in_the_journal("execute", "SELECT samples"), "all"),
    Step("reading", lambda one: one.at(images, "read_regular", lambda path, _: path == one.photo.path)),
    Step("parsing", lambda one: one.at(images.parsing, "parsed", lambda photo, _: photo == one.photo.content)),
    Step("detecting", lambda one: one.at(faces.Detector, "find", lambda _, image: _equal(image, one.photo.pixels))),
    Step("aligning", lambda one: one.at(faces, "align", lambda image, _: _equal(image, one.photo.pixels))),
    Step("labels", lambda one: one.at(photos._Run, "_labels_of", lambda _, place, __: place == one.photo.position)),
    Step(
        "ledger", lambda one: one.at(Ledger, "_entered", lambda _, __, digest, *___: digest == one.photo.digest), "disk"
    ),
    Step("encoding", lambda one: one.at(Codec, "encode", lambda _, samples: one.photo.is_among(samples))),
    Step("perturbing", lambda one: one.within(AT_WORK, FlowFilter, "perturb")),
    Step("decoding", lambda one: one.within(AT_WORK, Codec, "decode")),
    Step("looking for the original", lambda one: one.within(AT_WORK, Privatizer, "_as_it_was")),
    Step("encoding the file", lambda one: one.within(WRITING, images, "to_bytes")),
    Step("making a temporary file", lambda one: one.within(WRITING, os, "open", _is_part), "disk"),
    Step("writing", lambda one: one.within(WRITING, os, "fdopen"), "disk"),
    Step("time", lambda one: one.within(WRITING, os, "utime"), "disk"),
    Step("fsync", lambda one: one.within(WRITING, os, "fsync", lambda file: not _is_folder(file)), "disk"),
    Step("rename", lambda one: one.within(WRITING, os, "replace"), "disk"),
    Step("fsync of the folder", lambda one: one.within(WRITING, os, "fsync", _is_folder), "disk"),
    Step("journal", lambda all: all.in_the_journal("executemany", "INSERT"), "all"),
    Step("composing the record", lambda all: all.at(photos._Run, "_record"), "all"),
    Step("making the record's file", lambda all: all.within(ENDING, os, "open", _is_part), "all"),
    Step("fsync of the record", lambda all: all.within(ENDING, os, "fsync"), "all"),
    Step("rename of the record", lambda all: all.within(ENDING, os, "replace"), "all"),
    Step("taking the mark away", lambda all: all.at(Path, "unlink", lambda path, **_: path.name == UNFINISHED), "all"),
)


def run(attempt: Attempt) -> Outcome:
    shown = _photos(attempt.folder / "photos", attempt.size)
    bundle = make_bundle(attempt.folder / "bundle")
    privatizer = flow_privatizer(Bundle.open(bundle))
    with emptied(attempt.folder / "undisturbed") as folder:
        results = privatizer.release(shown, folder / "output", key=KEY, folder=folder / "home")
        expected = [result.path.read_bytes() for result in results if isinstance(result, Release)]
    broken = Counter[str]()
    refused = stopped = 0
    detector = faces.Detector()
    own = [Photo.at(path, position, detector) for position, path in enumerate(shown)]
    np.random.default_rng(attempt.seed).shuffle(own)
    tried = [*product(STEPS, KINDS)] if attempt.size >= TRIAL.size else [*zip(STEPS, cycle(KINDS))]
    for (step, kind), photo in zip(tried, cycle(own)):
        trouble = Trouble(kind, photo)
        with emptied(attempt.folder / "troubled") as folder:
            found, went_on = _wrong(step, trouble, privatizer, shown, expected, folder)
        broken.update(f"{step.name}, {type(kind()).__name__}: {each}" for each in found)
        refused += went_on
        stopped += not went_on
    seen = f"{len(tried)} errors at {len(STEPS)} steps, {len(shown)} photos each: {refused} times the others went out, "
    seen += f"{stopped} times all stopped and went on later; {sum(broken.values())} went wrong"
    return Outcome(not broken, seen + listed(broken))


def _photos(folder: Path, count: int) -> list[Path]:
    """So many photos of portraits, no two alike, made of the examples: as they are, mirrored, in other colours."""
    folder.mkdir()
    examples = sorted((REPOSITORY / "examples" / "photos").glob("*.jpg"))
    changes: Sequence[Callable[[Image.Image], Image.Image]] = (
        lambda image: image,
        ImageOps.mirror,
        lambda image: Image.merge("RGB", image.split()[::-1]),
    )
    made = []
    for change in changes:
        for example in examples:
            if len(made) < count:
                made.append(folder / f"{len(made):02}.jpg")
                with Image.open(example) as image:
                    change(image.resize((WIDTH, WIDTH))).save(made[-1], quality=90)
    return made


def _wrong(
    step: Step, trouble: Trouble, privatizer: Privatizer, shown: list[Path], expected: list[bytes], folder: Path
) -> tuple[list[str], bool]:
    """What is wrong after trouble at a step; and whether the others went out, or all stopped."""
    output, home = folder / "output", folder / "home"
    found = []
    try:
        with step.fails(trouble):
            results = privatizer.release(shown, output, key=KEY, folder=home)
    except Exception as error:  # noqa: BLE001 - which it is, is the question
        if not isinstance(error, PrivsdkError):
            found.append("an error that is none of ours")
        if not step.may_stop_all(trouble.kind()):
            found.append("one photo stopped all")
        written = _written(output)
        if step.of != "all" and expected[trouble.photo.position] in written:
            found.append("something of the photo is on the disk")
        if not {*written} <= {*expected}:
            found.append("something that is none of an undisturbed release is on the disk")
        found += _left_over(output)
        try:
            privatizer.release(shown, output, key=KEY, folder=home)
        except PrivsdkError as error_again:
            return [*found, f"it does not go on ({error_again})".replace(str(folder), "")], False
        if sorted(_written(output)) != sorted(expected) or _left_over(output):
            found.append("it does not go on as it should")
        went_on = False
    else:
        refusals = [result for result in results if isinstance(result, Refusal)]
        if step.of == "all" and trouble.raised:
            found.append("an error is passed over")
        if refusals and [refusal.position for refusal in refusals] != [trouble.photo.position]:
            found.append("others were refused")
        if sorted(_written(output)) != sorted(
            content for position, content in enumerate(expected) if not refusals or position != trouble.photo.position
        ):
            found.append("what is on the disk is not what was released")
        if len((output / RECORD).read_text().splitlines()) != len(shown):
            found.append("the record is not complete")
        found += _left_over(output)
        went_on = True
    if not trouble.raised:
        found.append("it never came to that step")
    return found, went_on


def _written(output: Path) -> list[bytes]:
    return [path.read_bytes() for path in output.glob("*.png")]


def _left_over(output: Path) -> list[str]:
    parts = [path for path in output.iterdir() if PART.fullmatch(path.name)] if output.exists() else []
    return ["a temporary file stays"] if parts else []


def _equal(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    return one.shape == other.shape and bool((one == other).all())


def _release_the_original() -> None:
    real = Privatizer.privatize_each

    def privatize_each(self: Privatizer, samples: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return real(self, samples, *arguments, **named)
        except Exception:  # noqa: BLE001 - this is the fault
            return samples, {}

    Privatizer.privatize_each = privatize_each


def _end_all() -> None:
    photos._refusing_what_fails = lambda *_: nullcontext()


TRIAL = Trial(
    name="failures",
    tries="an exception of four kinds at every step of a photo's way, in turn, for one photo of many",
    must="nothing of that photo on the disk, the others as always; where it concerns all, an error of ours, and the "
    "same call completes",
    size=50,
    part=4,
    enough=3,
    run=run,
    faults=(
        Fault("leaves-temporary-files", leave_temporary_files),
        Fault("releases-the-original", _release_the_original),
        Fault("ends-all", _end_all),
    ),
)
