"""Handwritten digits: 28 x 28 grey pixels, light ink on dark paper, from image files or an idx file."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import Refusal, UsageError
from privsdk.files import read_regular
from privsdk.progress import Progress
from privsdk.samples import images
from privsdk.samples.images import Pixels

SIDE = 28
MOST_SAMPLES = 1_000_000
LARGEST = 1_000_000_000  # bytes of a file
GZIP = b"\x1f\x8b"


def digit_in(image: Pixels) -> NDArray[np.uint8]:
    """The digit in an image of 28 x 28 pixels, uint8 [28, 28, 3] to [28, 28]: 0 is paper, 255 ink.

    Raises Refusal (``wrong-size``) for another size, and (``dark-on-light``) where the paper is lighter than the ink.
    """
    if image.shape[:2] != (SIDE, SIDE):
        raise Refusal(
            "wrong-size",
            f"It has {image.shape[1]} x {image.shape[0]} pixels, a digit has {SIDE} x {SIDE}. Give it at that size, in "
            "the middle and with a margin, as in MNIST.",
        )
    grey = np.round(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    if np.median(np.concatenate([grey[[0, -1]].ravel(), grey[:, [0, -1]].ravel()])) > 127:
        raise Refusal("dark-on-light", "Its margin is light. Digits are light on dark here, as in MNIST: invert it.")
    return grey


def read_digits(
    sources: Path | str | bytes | Sequence[Path | str | bytes], on_progress: Progress | None = None
) -> tuple[NDArray[np.uint8], list[Refusal]]:
    """The digits in image files, one or several, given as paths or as bytes: uint8 [N, 28, 28], in their order.

    And a :class:`~privsdk.errors.Refusal` for each that is none.  ``on_progress`` is called with
    ``("read", sources done, sources in all)``.
    """
    sources = [sources] if isinstance(sources, Path | str | bytes) else list(sources)
    samples, refusals = [], []
    for position, source in enumerate(sources):
        try:
            samples.append(digit_in(images.read(Path(source) if isinstance(source, str) else source)))
        except Refusal as refusal:
            name = f"bytes[{position}]" if isinstance(source, bytes) else str(source)
            refusals.append(refusal.of(name, position))
        if on_progress is not None:
            on_progress("read", position + 1, len(sources))
    return np.array(samples, np.uint8).reshape(-1, SIDE, SIDE), refusals


def is_idx(path: str | Path) -> bool:
    """Whether a file's name says that it holds digits in MNIST's own format."""
    return "idx3-ubyte" in Path(path).name


def read_idx(path: str | Path, shape: tuple[int, ...] = (SIDE, SIDE)) -> NDArray[np.uint8]:
    """The array in an idx file of bytes, as it is or packed by gzip: uint8 [N, *shape], N at least 1.

    Raises UsageError where it cannot be read or is something else.
    """
    dimensions = 1 + len(shape)
    heading = 4 * (1 + dimensions)
    try:
        content = read_regular(path, LARGEST)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    try:
        with gzip.open(io.BytesIO(content)) if content.startswith(GZIP) else io.BytesIO(content) as file:
            magic, *found = np.frombuffer(file.read(heading).ljust(heading, b"\0"), ">u4").tolist()
            # 8 in the third byte says that the numbers are bytes.
            if magic != 0x800 + dimensions or tuple(found[1:]) != shape or not 0 < found[0] <= MOST_SAMPLES:
                raise UsageError(f"{path} is no idx file of bytes [N, {', '.join(map(str, shape))}]; get it again")
            wanted = heading + prod(found)
            # No more is unpacked than it says that it holds: a small file may unpack to anything.
            file.seek(0)
            content = file.read(wanted + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be unpacked ({error}); get it again") from error
    if len(content) != wanted:
        much = "more" if len(content) > wanted else f"{len(content)} bytes"
        raise UsageError(f"{path} has {much}, unpacked, not {wanted} bytes; get it again")
    return np.frombuffer(content, np.uint8, offset=heading).reshape(found)


def idx_bytes(digits: NDArray[np.uint8], packed: bool) -> bytes:
    """An idx file of uint8 [N, 28, 28]; ``packed`` by gzip, with no name and no time in it."""
    content = np.array([0x803, *digits.shape], ">u4").tobytes() + np.ascontiguousarray(digits).tobytes()
    return gzip.compress(content, mtime=0) if packed else content
