"""Broken, hostile and odd files, made by code, and what reading each must lead to.

:func:`make` writes them into a folder.  Every file either is refused for the reason given, or shows
:func:`picture` (in colour or in grey), or is only required to be read without an error.
"""

from __future__ import annotations

import gzip
import io
import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

SECRET = b"Jane Doe was here"
"""What the metadata says; no output may hold it."""


@dataclass(frozen=True)
class Case:
    """A source, and the reason for its refusal or what the pixels that are read show."""

    name: str
    source: Path | bytes
    reason: str | None = None
    shows: Literal["colour", "grey", "anything"] = "colour"


def picture() -> np.ndarray:
    """uint8 [48, 64, 3]: smooth, coloured, and different from each of its turns and mirror images."""
    x, y = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 48))
    channels = np.stack([x, y, (1 - x) * y], axis=-1)
    return (30 + 190 * channels).astype(np.uint8)


def encoded(format: str, image: Image.Image | None = None, **settings: Any) -> bytes:
    """The picture, or another, as the bytes of a file that Pillow writes."""
    file = io.BytesIO()
    (image or Image.fromarray(picture())).save(file, format, **settings)
    return file.getvalue()


def make(folder: Path) -> list[Case]:
    """Write all files into a folder and say what each must lead to."""
    cases: list[Case] = []
    for name, data, reason, shows in (
        *_formats(),
        *_modes(),
        *_metadata(),
        *_truncated(),
        *_not_images(),
        *_giants(),
        *_contradictory(),
    ):
        path = folder / name
        path.write_bytes(data)
        cases.append(Case(name, path, reason, shows))
    return cases + list(_odd_paths(folder))


_File = tuple[str, bytes, str | None, Literal["colour", "grey", "anything"]]


def _formats() -> Iterator[_File]:
    other = Image.new("RGB", (64, 48), "red")
    for format, name, settings in (
        ("JPEG", "plain.jpg", {"quality": 95}),
        ("JPEG", "progressive.jpg", {"quality": 95, "progressive": True}),
        ("JPEG", "capitals.JPEG", {"quality": 95, "subsampling": 0}),
        ("MPO", "two-views.mpo", {"quality": 95, "save_all": True, "append_images": [other]}),
        ("PNG", "plain.png", {}),
        ("WEBP", "lossy.webp", {"quality": 95}),
        ("WEBP", "lossless.webp", {"lossless": True}),
        ("BMP", "plain.bmp", {}),
        ("TIFF", "plain.tif", {}),
        ("TIFF", "deflated.tiff", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", "lzw.tiff", {"compression": "tiff_lzw"}),
        ("TIFF", "jpeg-inside.tiff", {"compression": "jpeg", "quality": 95}),
        ("TIFF", "big.tiff", {"big_tiff": True}),
        ("GIF", "animated.gif", {"save_all": True, "append_images": [other], "duration": 100}),
        ("PNG", "animated.png", {"save_all": True, "append_images": [other], "duration": 100}),
        ("WEBP", "animated.webp", {"save_all": True, "append_images": [other], "lossless": True}),
        ("TIFF", "pages.tiff", {"save_all": True, "append_images": [other.copy()]}),
        ("JPEG", "says-png.png", {"quality": 95}),
        ("PNG", "says-text.txt", {}),
        ("PNG", "no-suffix", {}),
        ("PNG", "two words, and a 'quote'.png", {}),
        ("PNG", "Ünïcødé-写真-📷.png", {}),
        ("PNG", "line\nbreak.png" if os.name == "posix" else "line-break.png", {}),
        ("PNG", "-rf.png", {}),
    ):
        yield name, encoded(format, **settings), None, "colour"
    yield "followed-by-zip.jpg", encoded("JPEG", quality=95) + _zip(), None, "colour"
    yield "followed-by-script.png", encoded("PNG") + b"<script>alert(1)</script>", None, "colour"
    yield "one-pixel.png", encoded("PNG", Image.new("RGB", (1, 1))), None, "anything"
    yield "thread.png", encoded("PNG", Image.new("RGB", (30_000, 1))), None, "anything"


def _modes() -> Iterator[_File]:
    base = Image.fromarray(picture())
    grey = base.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    see_through = base.convert("RGBA")
    see_through.putalpha(255)
    grey_alpha = grey.convert("LA")

    yield "grey.jpg", encoded("JPEG", grey, quality=95), None, "grey"
    yield "grey.png", encoded("PNG", grey), None, "grey"
    yield "grey-alpha.png", encoded("PNG", grey_alpha), None, "grey"
    yield "sixteen-bit.png", encoded("PNG", deep), None, "grey"
    yield "sixteen-bit.tiff", encoded("TIFF", deep), None, "grey"
    yield "sixteen-bit-colour.png", _sixteen_bit_colour_png(), None, "colour"
    yield "cmyk.jpg", encoded("JPEG", base.convert("CMYK"), quality=95), None, "colour"
    yield "cmyk.tiff", encoded("TIFF", base.convert("CMYK")), None, "colour"
    yield "ycbcr.tiff", encoded("TIFF", base.convert("YCbCr")), None, "colour"
    yield "lab.tiff", encoded("TIFF", Image.new("LAB", base.size)), None, "anything"
    yield "alpha.png", encoded("PNG", see_through), None, "colour"
    yield "alpha.webp", encoded("WEBP", see_through, lossless=True), None, "colour"
    yield "palette.png", encoded("PNG", base.quantize(256)), None, "colour"
    yield "palette.bmp", encoded("BMP", base.quantize(256)), None, "colour"
    yield (
        "palette-transparent.png",
        encoded("PNG", base.quantize(8), transparency=bytes(range(8))),
        None,
        "anything",
    )
    yield "colour-key.png", encoded("PNG", base, transparency=(1, 2, 3)), None, "colour"
    yield "grey-key.png", encoded("PNG", grey, transparency=3), None, "grey"
    yield "one-bit.png", encoded("PNG", base.convert("1")), None, "anything"
    yield "one-bit-fax.tiff", encoded("TIFF", base.convert("1"), compression="group4"), None, "anything"
    yield "float.tiff", encoded("TIFF", grey.convert("F")), "not-an-image", "anything"
    yield "integer.tiff", encoded("TIFF", grey.convert("I")), "not-an-image", "anything"


def _metadata() -> Iterator[_File]:
    base = Image.fromarray(picture())
    undo = (
        None,
        Image.Transpose.FLIP_LEFT_RIGHT,
        Image.Transpose.ROTATE_180,
        Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.TRANSPOSE,
        Image.Transpose.ROTATE_90,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_270,
    )
    for orientation, turn in enumerate(undo, start=1):
        stored = base if turn is None else base.transpose(turn)
        yield (
            f"turned-{orientation}.jpg",
            encoded("JPEG", stored, quality=95, exif=exif(orientation)),
            None,
            "colour",
        )
    stored = base.transpose(Image.Transpose.ROTATE_90)
    yield "turned-6.png", encoded("PNG", stored, exif=exif(6)), None, "colour"
    yield "turned-6.webp", encoded("WEBP", stored, lossless=True, exif=exif(6)), None, "colour"
    yield "turned-6.tiff", encoded("TIFF", stored, tiffinfo={274: 6}), None, "colour"
    yield "turned-9.jpg", encoded("JPEG", quality=95, exif=exif(9)), None, "colour"

    for name, block in (
        ("rubbish", b"Exif\x00\x00" + b"\xde\xad\xbe\xef" * 20),
        ("empty", b"Exif\x00\x00"),
        ("far-offset", b"Exif\x00\x00II*\x00\xff\xff\xff\x7f"),
        (
            "many-tags",
            b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff" + b"\x12\x01\x03\x00\xff\xff\xff\xff" * 8,
        ),
        ("cut", exif(3)[: len(exif(3)) // 2]),
    ):
        segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
        plain = encoded("JPEG", quality=95)
        yield (
            f"exif-{name}.jpg",
            plain[:2] + segment + plain[2:],
            None,
            "anything" if name == "cut" else "colour",
        )

    yield "talkative.jpg", talkative("JPEG"), None, "colour"
    yield "talkative.png", talkative("PNG"), None, "colour"
    yield "talkative.webp", talkative("WEBP"), None, "colour"
    yield "rubbish-profile.jpg", encoded("JPEG", quality=95, icc_profile=b"no profile" * 30), None, "colour"


def _truncated() -> Iterator[_File]:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))
    for format, settings, shares in (
        ("JPEG", {"quality": 90}, (0.01, 0.1, 0.25, 0.5, 0.75, 0.95)),
        ("JPEG", {"quality": 90, "progressive": True}, (0.1, 0.5, 0.9)),
        ("PNG", {}, (0.0005, 0.001, 0.1, 0.5, 0.95)),
        ("WEBP", {"quality": 90}, (0.01, 0.5, 0.95)),
        ("WEBP", {"lossless": True}, (0.5,)),
        ("GIF", {}, (0.002, 0.02, 0.5, 0.9)),
        ("BMP", {}, (0.0005, 0.001, 0.5, 0.98)),
        ("TIFF", {"compression": "tiff_lzw"}, (0.0005, 0.5, 0.98)),
        ("TIFF", {}, (0.5,)),
    ):
        whole = encoded(format, noise, **settings)
        kind = "-".join([format.lower(), *(key for key, value in settings.items() if value is True)])
        kind += "-packed" if "compression" in settings else ""
        for share in shares:
            length = max(12, int(len(whole) * share))
            yield f"cut-{kind}-{length}", whole[:length], "damaged", "anything"
    yield "cut-to-two-bytes.jpg", encoded("JPEG")[:2], "not-an-image", "anything"


def _not_images() -> Iterator[_File]:
    for name, data in (
        ("empty.jpg", b""),
        ("zeros.jpg", bytes(5000)),
        ("ones.png", b"\xff" * 5000),
        ("random.jpg", np.random.default_rng(1).bytes(5000)),
        ("text.jpg", b"This is no photo.\n"),
        ("page.jpg", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"),
        ("vector.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'),
        ("drawing.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n"),
        ("document.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"),
        ("archive.jpg", _zip()),
        ("packed.png", gzip.compress(encoded("PNG"), mtime=0)),
        ("video.mp4", b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2mp41" + bytes(100)),
        ("program.jpg", b"\x7fELF\x02\x01\x01" + bytes(100)),
        ("pixmap.ppm", b"P6 2 2 255\n" + bytes(12)),
        ("icon.ico", encoded("ICO")),
        ("targa.tga", encoded("TGA")),
        ("riff.webp", b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(40)),
        ("byte-order-mark.png", b"\xef\xbb\xbf" + encoded("PNG")),
        ("line-ends.png", encoded("PNG").replace(b"\r\n", b"\n")),
    ):
        yield name, data, "not-an-image", "anything"


def _giants() -> Iterator[_File]:
    jpeg = bytearray(encoded("JPEG"))
    frame = jpeg.index(b"\xff\xc0") + 5
    jpeg[frame : frame + 4] = struct.pack(">HH", 65_500, 65_500)
    yield "giant.jpg", bytes(jpeg), "too-large", "anything"

    yield "giant.png", _png(2**31 - 1, 2**31 - 1, zlib.compress(b"\x00")), "too-large", "anything"
    yield "wide.png", _png(2**31 - 1, 1, zlib.compress(b"\x00")), "too-large", "anything"
    lines = zlib.compressobj(9)
    packed = lines.compress(bytes(1251 * 1000)) + lines.flush()
    yield "bomb.png", _png(10_000, 10_000, packed, depth=1, colour=0), "too-large", "anything"

    gif = bytearray(encoded("GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    yield "giant.gif", bytes(gif), "too-large", "anything"
    gif = bytearray(encoded("GIF"))
    descriptor = gif.index(b"\x2c", 13 + 3 * 2 ** ((gif[10] & 7) + 1)) + 5
    gif[descriptor : descriptor + 4] = struct.pack("<HH", 65_535, 65_535)
    yield "giant-frame.gif", bytes(gif), "too-large", "anything"

    bmp = bytearray(encoded("BMP"))
    bmp[18:26] = struct.pack("<ii", 100_000, 100_000)
    yield "giant.bmp", bytes(bmp), "too-large", "anything"

    canvas = struct.pack("<I", 0x02) + (16_382).to_bytes(3, "little") * 2
    webp = b"WEBPVP8X" + struct.pack("<I", len(canvas)) + canvas + b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    yield "giant.webp", b"RIFF" + struct.pack("<I", len(webp)) + webp, "too-large", "anything"

    for name, kind, content in (
        ("giant-lossless.webp", b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(21)),
        ("giant-lossy.webp", b"VP8 ", b"\x10\0\0\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(20)),
    ):
        webp = b"WEBP" + kind + struct.pack("<I", len(content)) + content
        yield name, b"RIFF" + struct.pack("<I", len(webp)) + webp, "too-large", "anything"

    yield "giant.tiff", _tiff({256: (4, 1, 200_000), 257: (4, 1, 200_000)}), "too-large", "anything"


def _contradictory() -> Iterator[_File]:
    png = encoded("PNG")
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    yield "flipped-bit.png", bytes(flipped), "damaged", "anything"
    yield "no-pixels.png", _png(64, 48, b""), "damaged", "anything"
    yield "no-width.png", _png(0, 48, zlib.compress(b"\x00")), "damaged", "anything"
    yield "odd-depth.png", _png(64, 48, zlib.compress(b"\x00"), depth=7), "damaged", "anything"
    # The stream of pixels says itself that it is complete: the rest is black in every decoder.
    yield "half-the-lines.png", _png(64, 48, zlib.compress(bytes(193 * 24))), None, "anything"
    yield "not-deflated.png", _png(64, 48, b"plain text"), "damaged", "anything"
    endless = _chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(3_000_000)))
    yield "endless-text.png", png[:33] + endless + png[33:], "damaged", "anything"
    lying = struct.pack(">I", 2**31 - 1) + b"tEXtComment\x00" + SECRET
    yield "chunks.png", png[:33] + _chunk(b"tEXt", b"") * 100_000 + png[33:], "damaged", "anything"
    yield "lying-chunk.png", png[:33] + lying + png[33:], "damaged", "anything"

    jpeg = encoded("JPEG", quality=95)
    yield (
        "only-markers.jpg",
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xd9",
        "damaged",
        "anything",
    )
    progressive = encoded("JPEG", quality=95, progressive=True)
    last = progressive.rindex(b"\xff\xda")
    scans = progressive[:last] + progressive[last:-2] * 100 + progressive[-2:]
    yield "scans.jpg", scans, "damaged", "anything"
    # What says it in metadata, or comes after the picture, is no scan.
    comment = b"\xff\xfe" + struct.pack(">H", 602) + b"\xff\xda" * 300
    yield "no-scans.jpg", jpeg[:2] + comment + jpeg[2:] + b"\xff\xda" * 300, None, "colour"
    yield "no-tables.jpg", jpeg.replace(b"\xff\xdb", b"\xff\xec"), "damaged", "anything"
    # As in Motion JPEG: the standard's own tables are taken then.
    yield "no-huffman.jpg", jpeg.replace(b"\xff\xc4", b"\xff\xec"), None, "colour"
    yield "wrong-magic.gif", b"GIF99a" + encoded("GIF")[6:], "not-an-image", "anything"
    yield "no-frame.gif", encoded("GIF")[:13] + b";", "damaged", "anything"
    yield "no-pages.tiff", b"II*\x00" + struct.pack("<I", 0), "damaged", "anything"
    yield "far-page.tiff", b"II*\x00" + struct.pack("<I", 2**32 - 2), "damaged", "anything"
    yield "circle.tiff", b"II*\x00" + struct.pack("<IHI", 8, 0, 8), "damaged", "anything"
    yield "giant-tag.tiff", _tiff({256: (4, 2**32 - 1, 8), 257: (4, 2**31, 8)}), "damaged", "anything"
    yield "giant-strips.tiff", _tiff({273: (4, 2**30, 8), 279: (4, 2**30, 8)}), "damaged", "anything"
    yield "strip-outside.tiff", _tiff({273: (4, 1, 2**31)}), "damaged", "anything"
    yield "odd-compression.tiff", _tiff({259: (3, 1, 4242)}), "damaged", "anything"


def _odd_paths(folder: Path) -> Iterator[Case]:
    whole = encoded("PNG")
    there = folder / "there.png"
    there.write_bytes(whole)
    (folder / "folder.jpg").mkdir()
    yield Case("a folder", folder / "folder.jpg", "not-an-image")
    yield Case("the folder itself", folder, "not-an-image")
    yield Case("nothing there", folder / "missing.jpg", "not-found")
    yield Case("a file as a folder", there / "photo.jpg", "not-found")
    yield Case("a NUL in the name", folder / "nul\x00.jpg", "not-found")
    yield Case("a name too long", folder / ("x" * 5000 + ".jpg"), "not-found")
    yield Case("no name", Path(""), "not-an-image")
    yield Case("bytes", whole)
    yield Case("no bytes", b"", "not-an-image")
    yield Case("bytes of a name", os.fsencode(there), "not-an-image")

    sparse = folder / "sparse.jpg"
    with sparse.open("wb") as file:
        file.truncate(51_000_000)
    yield Case("too many bytes", sparse, "too-large")

    if os.name != "posix":
        return
    (folder / "link.png").symlink_to(there)
    yield Case("a link", folder / "link.png")
    (folder / "dangling.png").symlink_to(folder / "gone.png")
    yield Case("a dangling link", folder / "dangling.png", "not-found")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    yield Case("a link to itself", folder / "loop.png", "not-found")
    os.mkfifo(folder / "pipe.jpg")
    yield Case("a pipe nobody writes to", folder / "pipe.jpg", "not-an-image")
    yield Case("a device without an end", Path("/dev/zero"), "not-an-image")
    yield Case("a device without a beginning", Path("/dev/null"), "not-an-image")
    raw = os.fsencode(folder) + b"/latin-\xe9.png"
    with open(raw, "wb") as file:
        file.write(whole)
    yield Case("a name that is no UTF-8", Path(os.fsdecode(raw)))
    address = folder / "s"
    if len(os.fsencode(address)) < 100:  # the length that the address of a socket may have
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(address))
        yield Case("a socket", address, "not-an-image")
    if os.geteuid() != 0:
        secret = folder / "unreadable.png"
        secret.write_bytes(whole)
        secret.chmod(0)
        yield Case("no permission", secret, "not-found")


def exif(orientation: int) -> bytes:
    """A block of EXIF with an orientation, a camera and an owner."""
    data = Image.Exif()
    data[ExifTags.Base.Orientation] = orientation
    data[ExifTags.Base.Model] = "Phantom 7"
    data[ExifTags.Base.Artist] = SECRET.decode()
    return data.tobytes()


def talkative(format: str) -> bytes:
    """The picture with every kind of metadata that the format can hold, each naming :data:`SECRET`."""
    settings: dict[str, Any] = {"exif": exif(1), "icc_profile": b"ICC " + SECRET}
    if format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Author", SECRET.decode())
        text.add_itxt("XML:com.adobe.xmp", SECRET.decode())
        settings |= {"pnginfo": text, "dpi": (300, 300)}
    if format == "JPEG":
        settings |= {"comment": SECRET, "xmp": SECRET, "quality": 95, "dpi": (300, 300)}
    if format == "WEBP":
        settings |= {"xmp": SECRET, "lossless": True}
    return encoded(format, **settings)


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("photo.jpg"), encoded("JPEG"))
    return file.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, packed: bytes, depth: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = _chunk(b"IHDR", header), _chunk(b"IDAT", packed), _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _sixteen_bit_colour_png() -> bytes:
    deep = (picture().astype(">u2") * 257).reshape(48, -1)
    lines = b"".join(b"\x00" + line.tobytes() for line in deep)
    return _png(64, 48, zlib.compress(lines), depth=16)


def _tiff(changes: dict[int, tuple[int, int, int]]) -> bytes:
    """A grey 8 x 8 TIFF of one strip with some of its tags replaced: number to (type, count, value)."""
    tags = {
        256: (3, 1, 8),
        257: (3, 1, 8),
        258: (3, 1, 8),
        259: (3, 1, 1),
        262: (3, 1, 1),
        273: (4, 1, 8 + 2 + 8 * 12 + 4),
        278: (3, 1, 8),
        279: (4, 1, 64),
    } | changes
    entries = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in sorted(tags.items()))
    return b"II*\x00" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + bytes(64)
