"""Image files to pixels and back; the one module that touches Pillow.

What comes in may be anything.  :func:`read` gives clean pixels or raises a :class:`~privsdk.errors.Refusal`,
and leaves the decoding to a confined process (:mod:`privsdk.samples.parsing`), where :func:`decoded` looks at the
number of pixels before it decodes.  What goes out is built from the pixels alone, so nothing that was in the original
file (EXIF, colour profile, comment, thumbnail) can be in it.

Colour profiles are not applied: pixel values are taken as sRGB, as in what encoders are trained on.
"""

from __future__ import annotations

import errno
import math
import os
import re
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from privsdk.errors import Refusal
from privsdk.files import NotRegularError, read_regular
from privsdk.samples import parsing

Pixels: TypeAlias = NDArray[np.uint8]
"""uint8 [H, W, 3], RGB, 0 to 255."""

Format: TypeAlias = Literal["png", "jpeg", "webp"]

FORMATS: dict[str, Format] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
"""What :func:`to_bytes` writes, by the suffix of a file's name."""

PHOTO_SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".webp",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
        ".heic",
        ".heif",
    }
)


@dataclass(frozen=True)
class Limits:
    """The largest file that is read, in bytes, and the largest picture that is decoded, in pixels."""

    bytes: int = 50_000_000
    pixels: int = 60_000_000


def is_photo(path: Path) -> bool:
    """Whether a file's name says that it is a photo; what is in it, only :func:`read` can tell."""
    return path.suffix.lower() in PHOTO_SUFFIXES


def read(source: Path | bytes, limits: Limits = Limits()) -> Pixels:
    """The pixels of a photo, upright, as uint8 [H, W, 3] in RGB.

    JPEG, PNG, WebP, GIF, BMP and TIFF are read whatever the file is called; HEIC with the extra
    ``privsdk[heic]``.  The orientation in EXIF is applied; grey, palette, CMYK and 16-bit pictures become
    8-bit RGB; what is transparent is laid over white; of several frames the first is taken.

    Raises :class:`~privsdk.errors.Refusal` with the reason ``not-found``, ``too-large``, ``not-an-image`` or
    ``damaged``; and :class:`~privsdk.errors.UsageError` where the process that decodes cannot be started, so that no
    photo can be read at all.
    """
    data = source if isinstance(source, bytes) else _bytes_of(source, limits)
    if len(data) > limits.bytes:
        raise _too_many_bytes(len(data), limits)
    if not data:
        raise Refusal("not-an-image", "The file is empty. Copy it again from where it came from.")
    return parsing.parsed(data, limits.pixels)


def decoded(
    data: bytes, most_pixels: int = Limits.pixels, on_size: Callable[[int], None] = lambda pixels: None
) -> Pixels:
    """What :func:`read` gives, decoded in this very process: for the one that is confined, and for tests.

    ``on_size`` is called with the number of pixels once it is known and before they are decoded.  Raises Refusal as
    :func:`read` does, ``not-found`` aside.
    """
    name = _format_of(data)
    if name is None:
        raise Refusal(
            "not-an-image",
            "This is no JPEG, PNG, WebP, GIF, BMP, TIFF or HEIC image. Save the photo as JPEG or PNG.",
        )

    def check(size: tuple[int, int]) -> None:
        if size[0] * size[1] > most_pixels:
            raise Refusal("too-large", _TOO_MANY_PIXELS.format(most_pixels / 1e6))
        on_size(size[0] * size[1])

    try:
        if name == "WEBP":  # its library takes memory for the whole picture when it opens one
            check(_webp_size(data))
        _check_parts(data, name)
        image = _opened_heic(data) if name == "HEIC" else _opened(data, name)
        check(image.size)
        return _upright(_rgb(image), 1 if name == "HEIC" else _orientation(image))
    except Refusal:
        raise
    except Image.DecompressionBombError as error:
        raise Refusal("too-large", _TOO_MANY_PIXELS.format(most_pixels / 1e6)) from error
    except Exception as error:  # a decoder fails with whatever its parser stumbled over
        raise Refusal(
            "damaged",
            f"The file starts like a {name} image and breaks off or contradicts itself. "
            "Copy it again from where it came from, or open it in a viewer and save it anew.",
        ) from error


def load_decoders() -> bool:
    """Import now what decoding would import on the way, for a process that is to open no file any more.

    Returns whether HEIC's decoder is installed, the only one that cannot do without threads.
    """
    from PIL import ImageCms, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401

    Image.preinit()  # the other formats
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        return False
    return True


def to_bytes(pixels: Pixels, format: Format) -> bytes:
    """A fresh image file of uint8 [H, W, 3] RGB pixels that holds nothing but them.

    PNG and WebP are lossless, JPEG is written at quality 95 with full colour resolution.
    """
    settings: dict[Format, dict[str, Any]] = {
        "png": {"optimize": True},
        "jpeg": {"quality": 95, "subsampling": 0},
        "webp": {"lossless": True, "exact": True},
    }
    file = BytesIO()
    _image(pixels).save(file, format=format, **settings[format])
    return file.getvalue()


def sheet(rows: Sequence[Sequence[Pixels]], captions: Sequence[str] = ()) -> Pixels:
    """A contact sheet: one row of pictures under another, with a caption above each column.

    Every picture is uint8 [H, W, 3] and keeps its size, centred in a cell as large as the largest of all.
    """
    margin, strip = 4, 18 if captions else 0
    columns = max((len(row) for row in rows), default=0)
    height = max((picture.shape[0] for row in rows for picture in row), default=0) + margin
    width = max((picture.shape[1] for row in rows for picture in row), default=0) + margin

    paper = Image.new("RGB", (columns * width + margin, strip + len(rows) * height + margin), "white")
    draw = ImageDraw.Draw(paper)
    font = ImageFont.load_default(11)
    for column, caption in enumerate(captions):
        draw.text((margin + column * width, margin), caption, fill="black", font=font)
    for line, row in enumerate(rows):
        for column, picture in enumerate(row):
            left = margin + column * width + (width - margin - picture.shape[1]) // 2
            top = margin + strip + line * height + (height - margin - picture.shape[0]) // 2
            paper.paste(_image(picture), (left, top))
    return np.array(paper)


def resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """uint8 [height, width, 3]: the whole picture at another size, with anti-aliasing (bilinear)."""
    return np.array(_image(pixels).resize((width, height), Image.Resampling.BILINEAR))


def crop_resize(pixels: Pixels, box: tuple[float, float, float, float], size: int) -> Pixels:
    """uint8 [size, size, 3]: the part of a picture inside a box, resampled with anti-aliasing (bicubic).

    The box is left, top, right, bottom in pixels from the upper left corner, fractions allowed, and lies
    within the picture.
    """
    return np.array(_image(pixels).resize((size, size), Image.Resampling.BICUBIC, box=box))


def central_square(pixels: Pixels, size: int) -> Pixels:
    """The largest square in the middle, resized to ``size`` x ``size`` pixels."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    return crop_resize(pixels, (left, top, left + side, top + side), size)


def warp(pixels: Pixels, matrix: NDArray[np.float64], size: int) -> Pixels:
    """uint8 [size, size, 3]: a picture seen through a similarity transform, with anti-aliasing (bicubic).

    ``matrix`` [2, 3] takes a point (x, y, 1) of the result to one of ``pixels``, both in pixels from the
    upper left corner of their picture.  Beyond the picture's edge its border is repeated.
    """
    # A bicubic transform looks at four by four pixels only.  So a large face is first averaged over whole
    # blocks, then turned on a finer grid than the result's, then resampled to the result's size.
    pixels_per_step = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    block = max(1, math.floor(pixels_per_step / 2))
    fineness = max(1, math.ceil(pixels_per_step / block))

    corners = (matrix @ np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]], dtype=np.float64)).T
    reach = 3 * block  # of the bicubic filter
    part, origin = _blocks(pixels, corners.min(axis=0) - reach, corners.max(axis=0) + reach, block)

    inward = np.column_stack([matrix[:, :2] / fineness, matrix[:, 2] - origin]) / block
    fine = size * fineness
    turned = part.transform(
        (fine, fine), Image.Transform.AFFINE, tuple(inward.ravel()), resample=Image.Resampling.BICUBIC
    )
    return np.array(turned.resize((size, size), Image.Resampling.BICUBIC))


def _blocks(
    pixels: Pixels, start: NDArray[np.float64], stop: NDArray[np.float64], block: int
) -> tuple[Image.Image, NDArray[np.int64]]:
    """The means of blocks of pixels between two points, and the point (x, y) where the first block begins.

    Beyond the picture's edge its outermost blocks are repeated, so memory is taken for the blocks alone.
    """
    extent = np.array([pixels.shape[1], pixels.shape[0]])
    first = np.clip(np.floor(start).astype(np.int64), 0, extent - 1)
    last = np.clip(np.ceil(stop).astype(np.int64), first + 1, extent)
    inside = np.asarray(_image(pixels[first[1] : last[1], first[0] : last[0]]).reduce(block))

    low = np.floor((start - first) / block).astype(np.int64)
    high = np.ceil((stop - first) / block).astype(np.int64)
    columns = np.clip(np.arange(low[0], high[0]), 0, inside.shape[1] - 1)
    rows = np.clip(np.arange(low[1], high[1]), 0, inside.shape[0] - 1)
    return _image(inside[rows[:, None], columns]), first + low * block


# ------------------------------------------------------------------------------------------ files to bytes


def _bytes_of(path: Path, limits: Limits) -> bytes:
    try:
        return read_regular(path, limits.bytes)
    except NotRegularError as error:
        if error.errno != errno.EISDIR:
            detail = "This is no regular file but a pipe, socket or device. Give a photo's file."
        elif os.access(path, os.R_OK | os.X_OK):
            detail = "This is a folder. Give the photos in it."
        else:
            raise Refusal("not-found", "There is no permission to look into it. Change its permissions.") from error
        raise Refusal("not-an-image", detail) from error
    except FileNotFoundError as error:
        dangling = os.path.islink(path)
        raise Refusal(
            "not-found",
            "The link points to a file that is gone." if dangling else "There is no such file. Check the path.",
        ) from error
    except PermissionError as error:
        raise Refusal("not-found", "There is no permission to read it. Change the file's permissions.") from error
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise _too_many_bytes(os.stat(path).st_size, limits) from error
        raise Refusal("not-found", "It cannot be opened under this name. Check the path.") from error


def _too_many_bytes(count: int, limits: Limits) -> Refusal:
    return Refusal(
        "too-large",
        f"It has {count / 1e6:.0f} MB; at most {limits.bytes / 1e6:.0f} MB are read. Save it smaller.",
    )


# ----------------------------------------------------------------------------------------- bytes to pixels

_TOO_MANY_PIXELS = "It claims more than {:.0f} million pixels, the most that are decoded. Save it smaller."

_PIXELS_AT_ONCE = 1_000_000

_MOST_SCANS = 100
"""Of a JPEG: each may touch every pixel of it and take a hundred bytes.  Programs make ten, some of them thirty."""

_MOST_CHUNKS = 100_000
"""Of a PNG: each costs the decoder some microseconds and a file twelve bytes.  Photos have some thousands."""

_JPEG_MARKER = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd8])")  # those that a length follows, and the last one
_JPEG_SCAN, _JPEG_END = b"\xda", b"\xd9"

_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}

# Pillow warns of odd metadata, which is no business of the user's and under `-W error` would stop a good
# photo.  The interpreter's list of warning filters belongs to all threads, so one at a time sets it aside.
_ONE_QUIET_THREAD = threading.Lock()


def _format_of(data: bytes) -> str | None:
    """The format that the first bytes tell, under Pillow's name for it."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith(b"BM"):
        return "BMP"
    if data.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")):
        return "TIFF"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        return "HEIC"
    return None


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP's canvas, (0, 0) where it names none (RFC 9649)."""
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF


def _check_parts(data: bytes, name: str) -> None:
    """Refuse what takes a decoder long without being a large picture."""
    if (name == "JPEG" and _scans(data) > _MOST_SCANS) or (name == "PNG" and _chunks(data) > _MOST_CHUNKS):
        raise Refusal("damaged", "It has far more parts than a photo. Open it in a viewer and save it anew.")


def _scans(jpeg: bytes) -> int:
    """How many scans a JPEG's first picture has; no more are counted than are too many."""
    place, scans = 2, 0
    while scans <= _MOST_SCANS and (marker := _JPEG_MARKER.search(jpeg, place)) and marker[1] != _JPEG_END:
        scans += marker[1] == _JPEG_SCAN
        place = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2])
    return scans


def _chunks(png: bytes) -> int:
    """How many chunks a PNG has; no more are counted than are too many."""
    place, chunks = 8, 0
    while chunks <= _MOST_CHUNKS and place < len(png):
        place += 12 + int.from_bytes(png[place : place + 4])
        chunks += 1
    return chunks


def _opened(data: bytes, name: str) -> Image.Image:
    """The picture with its header read and nothing decoded."""
    with _ONE_QUIET_THREAD, warnings.catch_warnings(action="ignore"):
        return Image.open(BytesIO(data), formats=[name])


def _opened_heic(data: bytes) -> Any:
    """The same of a HEIC file, by a decoder that is not registered with Pillow: that would be global."""
    try:
        import pillow_heif
    except ImportError as error:
        raise Refusal(
            "not-an-image",
            "This is a HEIC photo, which needs an extra package. "
            'Install it with pip install "privsdk[heic]", or save the photo as JPEG.',
        ) from error
    return pillow_heif.open_heif(data)


def _rgb(image: Any) -> Pixels:
    """The decoded picture as uint8 [H, W, 3], what is transparent laid over white."""
    if not isinstance(image, Image.Image):
        image = image.to_pillow()
    if image.mode in ("I", "F"):
        raise Refusal(
            "not-an-image",
            "Its pixels are 32-bit numbers, as in measurements, not in photos. Save it with 8 or 16 bits.",
        )
    image.load()
    # Some rows at a time: a large picture is in memory as it was decoded and as it is returned, and in no other form.
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _PIXELS_AT_ONCE // width)
    for top in range(0, height, rows):
        pixels[top : top + rows] = _rows_as_rgb(image.crop((0, top, width, min(top + rows, height))))
    return pixels


def _rows_as_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.uint32)
        # 65535 = 255 * 257, so this division, rounded, takes white to white.
        return ((grey + 128) // 257).astype(np.uint8)[..., None]
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 (as stored) where there is none or it makes no sense."""
    with _ONE_QUIET_THREAD, warnings.catch_warnings(action="ignore"):
        try:
            orientation = image.getexif().get(0x0112, 1)
        except Exception:  # noqa: BLE001 - damaged metadata is dropped anyway; the picture itself is sound
            return 1
    return orientation if orientation in range(1, 9) else 1


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo what EXIF's orientation (Exif 2.32, tag 0x0112) says was done to the picture; a view of the pixels."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels))
