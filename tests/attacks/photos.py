"""Photos for trials: pictures of nobody in every format that is read, and what a released image may hold."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image

SIDE = 64
"""Of a picture that is a sample of the bundle already."""


def picture(number: int, side: int = SIDE) -> Image.Image:
    """A smooth picture, unlike that of any other number: RGB, ``side`` x ``side``."""
    coarse = np.random.default_rng([11, number]).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def written(image: Image.Image, format: str, **settings: Any) -> bytes:
    """The bytes of a file that Pillow writes."""
    file = io.BytesIO()
    image.save(file, format, **settings)
    return file.getvalue()


def heic(image: Image.Image, **settings: Any) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=90, **settings)
    return file.getvalue()


def _with_alpha(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(image.convert("L"))
    return image


def _deep(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def _frames(image: Image.Image) -> dict[str, Any]:
    return {"save_all": True, "append_images": [image.transpose(Image.Transpose.ROTATE_90)]}


def _indexed(image: Image.Image, colours: int = 256) -> Image.Image:
    return image.quantize(colours, Image.Quantize.FASTOCTREE)


KINDS: Mapping[str, Callable[[Image.Image], bytes]] = {
    "plain.jpg": lambda image: written(image, "JPEG", quality=95),
    "progressive.jpg": lambda image: written(image, "JPEG", quality=90, progressive=True),
    "grey.jpg": lambda image: written(image.convert("L"), "JPEG"),
    "cmyk.jpg": lambda image: written(image.convert("CMYK"), "JPEG"),
    "restarts.jpg": lambda image: written(image, "JPEG", restart_marker_rows=1),
    "views.mpo": lambda image: written(image, "MPO", **_frames(image)),
    "turned.jpg": lambda image: written(image, "JPEG", exif=orientation(6)),
    "plain.png": lambda image: written(image, "PNG"),
    "alpha.png": lambda image: written(_with_alpha(image), "PNG"),
    "palette.png": lambda image: written(_indexed(image, 200), "PNG", transparency=3),
    "bits.png": lambda image: written(image.convert("1"), "PNG"),
    "deep.png": lambda image: written(_deep(image), "PNG"),
    "grey-alpha.png": lambda image: written(_with_alpha(image).convert("LA"), "PNG"),
    "frames.png": lambda image: written(image, "PNG", **_frames(image)),
    "lossy.webp": lambda image: written(image, "WEBP", quality=90),
    "lossless.webp": lambda image: written(_with_alpha(image), "WEBP", lossless=True),
    "frames.webp": lambda image: written(image, "WEBP", **_frames(image)),
    "plain.gif": lambda image: written(_indexed(image), "GIF"),
    "frames.gif": lambda image: written(_indexed(image), "GIF", **_frames(_indexed(image)), transparency=7),
    "plain.bmp": lambda image: written(image, "BMP"),
    "palette.bmp": lambda image: written(_indexed(image), "BMP"),
    "runs.bmp": lambda image: run_length_bmp(image),
    "plain.tif": lambda image: written(image, "TIFF"),
    "lzw.tif": lambda image: written(image, "TIFF", compression="tiff_lzw"),
    "deflated.tif": lambda image: written(_with_alpha(image), "TIFF", compression="tiff_adobe_deflate"),
    "jpeg.tif": lambda image: written(image, "TIFF", compression="jpeg"),
    "fax.tif": lambda image: written(image.convert("1"), "TIFF", compression="group4"),
    "deep.tif": lambda image: written(_deep(image), "TIFF"),
    "lab.tif": lambda image: written(Image.merge("LAB", image.split()), "TIFF"),
    "big.tif": lambda image: written(image, "TIFF", big_tiff=True),
    "plain.heic": heic,
    "alpha.heic": lambda image: heic(_with_alpha(image)),
}
"""What makes a photo of a picture, by a name for it that ends in its suffix."""


def orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


def run_length_bmp(image: Image.Image) -> bytes:
    """A palette in a BMP of runs (RLE8), which Pillow reads and does not write."""
    indexed = _indexed(image)
    palette = np.zeros((256, 4), np.uint8)
    colours = np.array(indexed.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette[: len(colours), :3] = colours[:, ::-1]
    lines = np.asarray(indexed)[::-1]
    runs = b"".join(b"".join(bytes([1, index]) for index in line) + b"\0\0" for line in lines) + b"\0\1"
    return bmp(image.width, image.height, runs, compression=1, palette=palette.tobytes())


def bmp(width: int, height: int, pixels: bytes, compression: int = 0, palette: bytes = bytes(1024)) -> bytes:
    """A BMP of 8 bits a pixel."""
    begin = 14 + 40 + len(palette)
    header = struct.pack("<2sIHHI", b"BM", begin + len(pixels), 0, 0, begin)
    header += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, compression, len(pixels), 2835, 2835, 256, 0)
    return header + palette + pixels


def chunk(kind: bytes, content: bytes) -> bytes:
    """One of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG with these chunks between its first and its last."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


# ------------------------------------------------------------------------------------- what a release may hold


def complaints(content: bytes, format: str, size: tuple[int, int] = (SIDE, SIDE)) -> list[str]:
    """What a released image holds beside its pixels: it is taken apart piece by piece."""
    try:
        parts = {"png": _png_parts, "jpeg": _jpeg_parts, "webp": _webp_parts}[format](content)
        with Image.open(io.BytesIO(content), formats=[format.upper()]) as image:
            image.load()
    except (ValueError, SyntaxError, OSError, struct.error, IndexError) as error:
        return [f"a released {format} is none ({error})"]
    found = [f"a released {format} holds {part}" for part in parts if part not in NEEDED[format]]
    if (image.mode, image.size) != ("RGB", size):
        found.append(f"a released {format} is {image.mode} {image.size}")
    if format != "jpeg" and written(Image.fromarray(np.asarray(image)), format, **LOSSLESS[format]) != content:
        found.append(f"the bytes of a released {format} are no function of its pixels")
    return found


NEEDED = {
    "png": ("IHDR", "IDAT", "IEND"),
    "jpeg": ("SOI", "plain JFIF", "DQT", "SOF", "DHT", "SOS", "EOI"),
    "webp": ("VP8L",),
}
"""The parts of a file that it cannot do without."""

LOSSLESS: Mapping[str, dict[str, Any]] = {"png": {"optimize": True}, "webp": {"lossless": True, "exact": True}}


def _png_parts(content: bytes) -> list[str]:
    parts, place = [], 8
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("no signature")
    while place < len(content):
        length = int.from_bytes(content[place : place + 4])
        kind, body = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        if content[place : place + 12 + length] != chunk(kind, body):
            parts.append(f"something after its {parts[-1] if parts else 'signature'}")
            break
        if parts and parts[-1] == "IEND":
            parts.append("a chunk after the last")
        parts.append(kind.decode("latin-1"))
        place += 12 + length
    return parts


def _jpeg_parts(content: bytes) -> list[str]:
    names = {0xDB: "DQT", 0xC0: "SOF", 0xC2: "SOF", 0xC4: "DHT", 0xDA: "SOS"}
    parts, place = ["SOI"], 2
    if content[:2] != b"\xff\xd8":
        raise ValueError("no beginning")
    while True:
        if content[place] != 0xFF:
            raise ValueError("no marker where one is due")
        kind = content[place + 1]
        place += 2
        if kind == 0xD9:
            parts.append("EOI")
            break
        (length,) = struct.unpack(">H", content[place : place + 2])
        body = content[place + 2 : place + length]
        # JFIF, of whatever version and density, without a thumbnail.
        plain = kind == 0xE0 and len(body) == 14 and body[:5] == b"JFIF\0" and body[12:] == b"\0\0"
        parts.append("plain JFIF" if plain else names.get(kind, f"a segment {kind:x}"))
        place += length
        if kind == 0xDA:
            while not (content[place] == 0xFF and content[place + 1] not in (0, *range(0xD0, 0xD8))):
                place += 1
    return parts if place == len(content) else [*parts, "something after its end"]


def _webp_parts(content: bytes) -> list[str]:
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP":
        raise ValueError("no RIFF")
    end = 8 + struct.unpack("<I", content[4:8])[0]
    parts, place = [], 12
    while place < end:
        kind, length = struct.unpack("<4sI", content[place : place + 8])
        parts.append(kind.decode("latin-1"))
        place += 8 + length + length % 2
    return parts if end == len(content) else [*parts, "something after its end"]


def difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Grey levels that two pictures of one size differ by on average."""
    return float(np.abs(first.astype(np.int16) - second).mean())
