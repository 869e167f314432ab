"""Photos that were damaged at random: each is refused or released clean, and the others go on.

Pictures of nobody in every format that is read, some of them the repository's portraits, in which a face has to be
found, are hit by flips, runs of rubbish, cuts, pieces that are lost, doubled or put in from another photo, and numbers
that are too large.  Half of the PNGs get their checksums mended, so that the damage comes further than those.
"""

from __future__ import annotations

import io
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from privsdk import Privatizer, Refusal, Release
from privsdk.privatizer import CLOSEST
from privsdk.release import photos as releasing
from privsdk.samples import faces, images, parsing
from tests.attacks import photos
from tests.attacks.releasing import Scene
from tests.attacks.trial import REPOSITORY, Attempt, Fault, Outcome, Trial

BATCH = 100
FORMATS = ("png", "jpeg", "webp")
PORTRAITS = 10
"""One batch of so many has portraits in it."""

HANG = 8.0
"""Seconds on the clock without any photo done that count as a hang; most photos take milliseconds."""

KEY = bytes(range(32))


def run(attempt: Attempt) -> Outcome:
    privatizer = Scene.made(attempt.folder, 0).opened()
    material = _whole(photos.picture(number, side) for number, side in enumerate((64, 64, 131)))
    portraits = sorted((REPOSITORY / "examples" / "photos").glob("*.jpg"))[:2]
    with_faces = _whole(Image.open(path).resize((256, 256)) for path in portraits)
    found = Found()
    for number, start in enumerate(range(0, attempt.size, BATCH)):
        to_be_found = number % PORTRAITS == 1
        folder = attempt.folder / f"photos-{number}"
        folder.mkdir()
        count = min(BATCH, attempt.size - start)
        for position in range(count):
            rng = np.random.default_rng([attempt.seed, start + position])
            suffix, content = damaged(with_faces if to_be_found else material, rng)
            (folder / f"{position:05}{suffix}").write_bytes(content)
        format = FORMATS[number % len(FORMATS)]
        results = _released(privatizer, folder, attempt.folder / f"out-{number}", format, not to_be_found, found)
        if results is None:
            break
        found.look_at(results, count, format, not to_be_found)
    return found.outcome()


def _whole(pictures: Any) -> list[tuple[str, bytes]]:
    """Each picture in each format, undamaged."""
    return [
        (Path(kind).suffix, make(picture.convert("RGB"))) for picture in pictures for kind, make in photos.KINDS.items()
    ]


# ------------------------------------------------------------------------------------------------- the damage


def damaged(material: Sequence[tuple[str, bytes]], rng: np.random.Generator) -> tuple[str, bytes]:
    """One of the photos after one blow or three, and its suffix."""
    suffix, content = material[rng.integers(len(material))]
    for _ in range(1 if rng.random() < 0.7 else 3):
        _, other = material[rng.integers(len(material))]
        blow = BLOWS[rng.integers(len(BLOWS))]
        content = blow(content, other, rng)
    if suffix == ".png" and rng.random() < 0.5:
        content = with_right_sums(content)
    return suffix, content


def _place(content: bytes, rng: np.random.Generator) -> int:
    """Somewhere, in half of the cases near the beginning, where a file says what it is."""
    end = len(content) if rng.random() < 0.5 else min(len(content), 250)
    return int(rng.integers(end)) if end else 0


def _piece(content: bytes, rng: np.random.Generator) -> slice:
    start = _place(content, rng)
    return slice(start, start + int(rng.geometric(0.02)))


def _flips(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    hit = bytearray(content)
    for _ in range(rng.geometric(0.2) if hit else 0):
        hit[_place(content, rng)] ^= 1 << int(rng.integers(8))
    return bytes(hit)


def _rubbish(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    piece = _piece(content, rng)
    length = len(content[piece])
    fill = (bytes(length), b"\xff" * length, rng.bytes(length))[rng.integers(3)]
    return content[: piece.start] + fill + content[piece.start + length :]


def _cut(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return content[: _place(content, rng)]


def _splice(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return content[: _place(content, rng)] + other[_place(other, rng) :]


def _lost(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    piece = _piece(content, rng)
    return content[: piece.start] + content[piece.stop :]


def _put_in(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    place = _place(content, rng)
    return content[:place] + (other, content)[rng.integers(2)][_piece(other, rng)] + content[place:]


def _number(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Four bytes become another number, large as a rule, in one of the two orders."""
    value = int((2.0 ** rng.uniform(0, 32)) % 2**32)
    place = _place(content, rng)
    return content[:place] + struct.pack("<>"[rng.integers(2)] + "I", value) + content[place + 4 :]


BLOWS: Sequence[Callable[[bytes, bytes, np.random.Generator], bytes]] = (
    *(_flips, _rubbish, _cut, _splice, _lost, _put_in, _number),
)


def with_right_sums(png: bytes) -> bytes:
    """A PNG whose chunks have the checksums that they should have; what is no chunk stays."""
    mended, place = png[:8], 8
    while place + 12 <= len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        if place + 12 + length > len(png):
            break
        mended += photos.chunk(png[place + 4 : place + 8], png[place + 8 : place + 8 + length])
        place += 12 + length
    return mended + png[place:]


# ---------------------------------------------------------------------------------------------- what comes of it


@dataclass
class Found:
    """What came of the photos so far, and what is wrong with it."""

    wrong: list[str] = field(default_factory=list)
    released: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    broke: int = 0
    slowest: float = 0.0

    def look_at(self, results: Sequence[Release | Refusal], count: int, format: str, aligned: bool) -> None:
        if len(results) != count:
            self.wrong.append(f"{count} photos have {len(results)} results")
        detector = None if aligned else faces.Detector()
        for result in results:
            if isinstance(result, Refusal):
                self.refused[result.reason] += 1
                self.broke += "broke the decoder" in result.detail
                if result.reason == "failed":
                    self.wrong.append(f"a photo failed ({result.detail})")
                continue
            self.released += 1
            content = result.path.read_bytes()
            self.wrong += photos.complaints(content, format)
            original = _sample(Path(result.source), detector)
            if photos.difference(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")), original) <= CLOSEST:
                self.wrong.append("a photo was released as it is")

    def outcome(self) -> Outcome:
        kept = ", ".join(f"{reason} {count:,}" for reason, count in self.refused.most_common())
        seen = (
            f"{self.released:,} released, {self.refused.total():,} refused ({kept}; {self.broke} broke the decoder or "
            f"took it too long); the longest wait for a photo was {self.slowest:.1f} s"
        )
        what = Counter(self.wrong).most_common(3)
        return Outcome(not self.wrong, "; ".join([seen, *(f"{count} times {wrong}" for wrong, count in what)]))


def _sample(source: Path, detector: faces.Detector | None) -> images.Pixels:
    """What of a photo went into the filter."""
    pixels = parsing.parsed(source.read_bytes(), images.Limits.pixels)
    if detector is None:
        return images.crop_resize(pixels, (0, 0, pixels.shape[1], pixels.shape[0]), photos.SIDE)
    return faces.faces_in(pixels, "largest", False, detector)[0][0]


def _released(
    privatizer: Privatizer, folder: Path, output: Path, format: Any, aligned: bool, found: Found
) -> list[Release | Refusal] | None:
    """The results of a release; None where there are none, which ``found`` is told."""
    done: list[list[Release | Refusal]] = []
    last = [time.monotonic()]

    def progress(*_: object) -> None:
        found.slowest = max(found.slowest, time.monotonic() - last[0])
        last[0] = time.monotonic()

    def release() -> None:
        try:
            done.append(
                privatizer.release(
                    folder, output, aligned=aligned, format=format, key=KEY, on_progress=progress, insist=True
                )
            )
        except BaseException as error:  # noqa: BLE001 - any is a crash, and told
            found.wrong.append(f"it crashed ({error!r})")

    thread = threading.Thread(target=release, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
        if time.monotonic() - last[0] > HANG:
            found.wrong.append("it hung")
            return None
    return done[0] if done else None


# ----------------------------------------------------------------------------------------------- planted faults


def _the_decoder_may_hang() -> None:
    """A decoder that never comes back from what is damaged, and nobody to end it."""
    hanging = (
        "from privsdk.samples import images, parser; from privsdk.errors import Refusal; decoded = images.decoded\n"
        "def hang(*given):\n"
        "    try:\n"
        "        return decoded(*given)\n"
        "    except Refusal:\n"
        "        import time; time.sleep(600)\n"
        "images.decoded = hang\n"
        "parser.main()\n"
    )
    parsing._PROGRAM = f"import sys; sys.path += sys.argv[1:]\n{hanging}"
    parsing.SECONDS = 600.0


def _the_caller_decodes() -> None:
    """What a decoder stumbles over comes out as it is."""

    def read(source: Path) -> images.Pixels:
        with Image.open(source) as image:
            return np.array(image.convert("RGB"))

    images.read = read  # type: ignore[assignment]


def _originals_go_out() -> None:
    """The filter is forgotten, and so is the look at how close a release is to its original."""

    def privatize_each(self: Privatizer, samples: Any, *_: Any) -> tuple[Any, dict[int, Refusal]]:
        return samples, {}

    Privatizer.privatize_each = privatize_each  # type: ignore[method-assign,assignment]


def _what_follows_goes_with_it() -> None:
    """What comes after a picture's end in its file is put after the release's end."""
    tails: dict[int, bytes] = {}
    read, to_bytes = images.read, images.to_bytes

    def noting(source: Path) -> images.Pixels:
        pixels = read(source)
        tails[0] = source.read_bytes()[-8:]
        return pixels

    releasing.images.read = noting  # type: ignore[assignment]
    releasing.images.to_bytes = lambda pixels, format: to_bytes(pixels, format) + tails[0]


TRIAL = Trial(
    name="damaged-photos",
    tries="photos damaged at random (bits, rubbish, cuts, splices, large numbers), every format",
    must="no crash, no hang, none released unclean",
    size=3000,
    part=200,
    enough=100,
    run=run,
    faults=(
        Fault("the-decoder-may-hang", _the_decoder_may_hang),
        Fault("the-caller-decodes", _the_caller_decodes),
        Fault("originals-go-out", _originals_go_out),
        Fault("what-follows-goes-with-it", _what_follows_goes_with_it),
    ),
)
