"""Decompression bombs: small files, or files of a photo's size, that would take a decoder's time or memory.

A bomb is a file of which no picture of at most 60 million pixels can be had, or one that would take far more than its
pixels need; for digits, a file that unpacks to more of them than it says it has.  What is large within the limits is no
bomb: it costs what its pixels cost, however well it is packed.

Each bomb is read in a process of its own, through the public API, after an image that is none.  Its memory is the most
that this process and its parser held, less what both held before, idle; its time is what they took of the processor,
which does not depend on what else the machine does.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

from PIL import Image

from privsdk import UsageError, read_digits, read_idx
from privsdk.samples import parsing
from tests.attacks import photos
from tests.attacks.photos import bmp, chunk, heic, png, written
from tests.attacks.trial import Attempt, Fault, Outcome, Trial

SECONDS, MEGABYTES = 1.0, 512.0
PATIENCE = 100.0
"""Seconds on the clock after which a reader is ended."""

LARGEST = 50_000_000
"""Bytes of the largest photo that is read."""

JUST_TOO_MANY = (7_751, 7_741)
"""Width and height of 60,000,491 pixels."""

JUST_FEW_ENOUGH = (7_741, 7_741)


def run(attempt: Attempt) -> Outcome:
    wrong, slowest, largest = [], (0.0, ""), (0.0, "")
    for name in list(BOMBS)[: attempt.size]:
        path = attempt.folder / name
        path.write_bytes(BOMBS[name]())
        command = [sys.executable, "-m", "tests.attacks.bombs", attempt.fault or "none", str(path)]
        try:
            done = subprocess.run(
                command, env=attempt.environment(), capture_output=True, text=True, check=True, timeout=PATIENCE
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            wrong.append(f"{name}: {error}")
            continue
        finally:
            path.unlink()
        seen = json.loads(done.stdout.splitlines()[-1])
        slowest, largest = max(slowest, (seen["seconds"], name)), max(largest, (seen["megabytes"], name))
        if not seen["refused"]:
            wrong.append(f"{name} was read")
        if seen["seconds"] >= SECONDS or seen["megabytes"] >= MEGABYTES:
            wrong.append(f"{name} took {seen['seconds']:.2f} s and {seen['megabytes']:.0f} MB")
    most = f"at most {slowest[0]:.2f} s of the processor ({slowest[1]}) and {largest[0]:.0f} MB ({largest[1]})"
    return Outcome(not wrong, "; ".join([most, *wrong[:4]]))


# ------------------------------------------------------------------------------------------ one bomb, one process


def read(path: Path) -> dict[str, object]:
    """What reading a bomb comes to, in this process."""
    read_digits(written(Image.new("L", (28, 28)), "PNG"))
    parsers = [one._process.pid for one in parsing._processes._all]
    own, its = resident(os.getpid()), sum(map(resident, parsers))
    before = time.process_time() + sum(map(seconds_of, parsers))
    if "idx" in path.name:
        refused = False
        try:
            read_idx(path)
        except UsageError:
            refused = True
    else:
        _, refusals = read_digits(path)
        # What is read and has another size than a digit was decoded: it is no bomb, or went off.
        refused = bool(refusals) and refusals[0].reason in ("too-large", "damaged", "not-an-image")
    parsing._processes.end()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = time.process_time() + children.ru_utime + children.ru_stime - before
    # A child's most begins with what its parent held when it was started, which is hardly more than it holds, idle.
    held = peak() - own + max(0, children.ru_maxrss * 1024 - its)
    return {"refused": refused, "seconds": spent, "megabytes": held / 1e6}


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """The most bytes of memory that this process has held."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def seconds_of(pid: int) -> float:
    """Of the processor that a process took."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ------------------------------------------------------------------------------------------------------ the bombs


def zeros(count: int) -> bytes:
    """So many zeros, deflated: ten million of them, again and again, and the rest."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    piece = packer.compress(bytes(10_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = packer.compress(bytes(count % 10_000_000)) + packer.flush()
    adler = count % 65_521 << 16 | 1
    return b"\x78\xda" + piece * (count // 10_000_000) + rest + struct.pack(">I", adler)


def small(format: str) -> bytes:
    return written(photos.picture(1), format)


def filled(beginning: bytes, piece: bytes, end: bytes = b"", size: int = LARGEST) -> bytes:
    """As many of a piece as a file of that size has room for."""
    return beginning + piece * ((size - len(beginning) - len(end)) // len(piece)) + end


def put(content: bytes, place: int, piece: bytes) -> bytes:
    return content[:place] + piece + content[place + len(piece) :]


def png_of_zeros(width: int, height: int, colour: int, depth: int = 8) -> bytes:
    line = 1 + -(-width * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] // 8)
    return png(width, height, chunk(b"IDAT", zeros(line * height)), depth=depth, colour=colour)


def png_with(*chunks: bytes) -> bytes:
    """A small PNG with more chunks before its pixels."""
    whole = small("PNG")
    return whole[:33] + b"".join(chunks) + whole[33:]


def png_of_chunks(kind: bytes, before: bool) -> bytes:
    """A PNG of 50 MB whose chunks are all empty but for those that it needs."""
    whole = small("PNG")
    end = 33 if before else len(whole) - 12
    return filled(whole[:end], chunk(kind, b""), whole[end:])


def jpeg_of_size(width: int, height: int, content: bytes | None = None) -> bytes:
    content = content or small("JPEG")
    frame = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    return put(content, frame + 5, struct.pack(">HH", height, width))


def jpeg_of_scans(width: int, height: int) -> bytes:
    """A progressive JPEG of 50 MB whose last scan, of a hundred bytes, comes again and again."""
    whole = written(photos.picture(1).convert("L"), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return jpeg_of_size(width, height, filled(whole[:last], whole[last:-2], whole[-2:]))


def jpeg_of_segments(kind: int) -> bytes:
    whole = small("JPEG")
    return filled(whole[:2], struct.pack(">BBH", 0xFF, kind, 2), whole[2:])


def gif_of_size(width: int, height: int) -> bytes:
    return put(small("GIF"), 6, struct.pack("<HH", width, height))


def gif_of(piece: bytes, size: int = LARGEST) -> bytes:
    """A GIF with as many of a piece before its picture as its size has room for."""
    whole = small("GIF")
    picture = whole.index(b"\x2c", 13 + 3 * 2 ** ((whole[10] & 7) + 1))
    return filled(whole[:picture], piece, whole[picture:], size)


def gif_of_frame(width: int, height: int) -> bytes:
    whole = small("GIF")
    picture = whole.index(b"\x2c", 13 + 3 * 2 ** ((whole[10] & 7) + 1))
    return put(whole, picture + 5, struct.pack("<HH", width, height))


def webp(kind: bytes, content: bytes, *more: bytes) -> bytes:
    pieces = [kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2), *more]
    body = b"WEBP" + b"".join(pieces)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_canvas(width: int, height: int, *more: bytes) -> bytes:
    canvas = struct.pack("<I", 0x02) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return webp(b"VP8X", canvas, b"ANIM" + struct.pack("<IIH", 6, 0, 0), *more)


def webp_frames(width: int, height: int, count: int) -> bytes:
    """A canvas with many small frames in it."""
    still = written(photos.picture(1), "WEBP", lossless=True)[12:]
    frame = bytes(6) + (63).to_bytes(3, "little") * 2 + (100).to_bytes(3, "little") + b"\0" + still
    return webp_canvas(width, height, *[b"ANMF" + struct.pack("<I", len(frame)) + frame] * count)


def tiff(tags: Mapping[int, tuple[int, int, int]], behind: bytes = b"") -> bytes:
    """A grey 8 x 8 TIFF with some tags replaced, number to (type, count, value), and what comes behind its pixels."""
    usual = {256: (3, 1, 8), 257: (3, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 278: (3, 1, 8)}
    count = len({**usual, 273: 0, 279: 0, **tags})
    pixels = 8 + 2 + 12 * count + 4
    entries = {**usual, 273: (4, 1, pixels), 279: (4, 1, 64), **tags}
    packed = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in sorted(entries.items()))
    return b"II*\0" + struct.pack("<IH", 8, count) + packed + bytes(4) + bytes(64) + behind


def tiff_of_tags(content: int) -> bytes:
    """A TIFF with 60,000 tags, each of which is all of its last so many bytes."""
    usual = (256, 257, 258, 259, 262, 273, 278, 279)
    kinds = [tag for tag in range(1000, 61_000) if tag not in usual]
    place = 8 + 2 + 12 * (len(kinds) + 8) + 4 + 64
    return tiff(dict.fromkeys(kinds, (1, content, place)), bytes(content))


def tiff_of_strips(count: int) -> bytes:
    """One pixel wide, one strip a row, all of them the same byte."""
    place = 8 + 2 + 12 * 8 + 4 + 64
    size = {256: (4, 1, 1), 257: (4, 1, count), 278: (4, 1, 1)}
    where = {273: (4, count, place), 279: (4, count, place + 4 * count)}
    return tiff(size | where, struct.pack("<I", 8) * count + struct.pack("<I", 1) * count)


def tiff_of_deflated(width: int, height: int, count: int) -> bytes:
    """One strip that unpacks to so many zeros."""
    packed = zeros(count)
    place = 8 + 2 + 12 * 8 + 4 + 64
    size = {256: (4, 1, width), 257: (4, 1, height), 278: (4, 1, height)}
    return tiff(size | {259: (3, 1, 8), 273: (4, 1, place), 279: (4, 1, len(packed))}, packed)


def tiff_of_tile(side: int) -> bytes:
    """A small picture on one tile of so many rows and columns, all zeros (PackBits)."""
    packed = b"\x81\0" * -(-side * side // 128)
    place = 8 + 2 + 12 * 12 + 4 + 64
    tile = {322: (4, 1, side), 323: (4, 1, side), 324: (4, 1, place), 325: (4, 1, len(packed))}
    return tiff({256: (4, 1, 64), 257: (4, 1, 64), 259: (3, 1, 32_773)} | tile, packed)


def big_tiff() -> bytes:
    whole = bytearray(written(photos.picture(1).convert("L"), "TIFF", big_tiff=True))
    (place,) = struct.unpack("<Q", whole[8:16])
    (count,) = struct.unpack("<Q", whole[place : place + 8])
    for entry in range(count):
        whole[place + 8 + 20 * entry + 4 : place + 8 + 20 * entry + 12] = struct.pack("<Q", 2**62)
    return bytes(whole)


def heic_of_size(width: int, height: int) -> bytes:
    whole = heic(photos.picture(1))
    place = whole.index(b"ispe") + 8
    return put(whole, place, struct.pack(">II", width, height))


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


FTYP = box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")


def heic_of_boxes() -> bytes:
    """Boxes in boxes, 100,000 deep."""
    depth = 100_000
    heads = b"".join(struct.pack(">I", 12 + 12 * (depth - level)) + b"meta" + bytes(4) for level in range(depth))
    return FTYP + heads


def heic_grid(tiles: bytes, width: int, height: int, own: bool = False) -> bytes:
    """A HEIC whose picture is a grid of ``tiles`` (rows and columns, less one), all of them the same: or itself."""
    count = (tiles[0] + 1) * (tiles[1] + 1)
    grid = bytes([0, 1, *tiles]) + struct.pack(">II", width, height)
    heading = bytes(4)
    handler = box(b"hdlr", heading + bytes(4) + b"pict" + bytes(13))
    primary = box(b"pitm", heading + struct.pack(">H", 1))
    items = box(b"iinf", heading + struct.pack(">H", 2) + item(1, b"grid") + item(2, b"hvc1"))
    tile = 1 if own else 2
    reference = box(b"dimg", struct.pack(">HH", 1, count) + struct.pack(">H", tile) * count)
    references = box(b"iref", heading + reference)
    size = box(b"ispe", heading + struct.pack(">II", width, height))
    properties = box(b"iprp", box(b"ipco", size) + box(b"ipma", heading + struct.pack(">IHBB", 1, 1, 1, 1)))
    extent = struct.pack(">HHHHII", 1, 1, 0, 1, 0, len(grid))
    places = box(b"iloc", b"\1" + bytes(3) + b"\x44\0" + struct.pack(">H", 1) + extent)
    stored = box(b"idat", grid)
    return FTYP + box(b"meta", heading + handler + primary + items + references + properties + places + stored)


def item(number: int, kind: bytes) -> bytes:
    return box(b"infe", b"\2" + bytes(3) + struct.pack(">HH", number, 0) + kind + b"\0")


def idx(shape: tuple[int, ...], content: bytes = b"") -> bytes:
    return struct.pack(">4B", 0, 0, 8, len(shape)) + struct.pack(f">{len(shape)}I", *shape) + content


def packed_idx(shape: tuple[int, ...], count: int) -> bytes:
    """An idx file packed by gzip, with so many zeros in it, ten million at a time."""
    return gzip.compress(idx(shape)) + gzip.compress(bytes(10_000_000)) * (count // 10_000_000)


BOMBS: Mapping[str, Callable[[], bytes]] = {
    "extensions.gif": lambda: gif_of(b"\x21\xfe\x00", 20_000_000),
    "tile.tif": lambda: tiff_of_tile(30_000),
    "deep.png": lambda: png_of_zeros(10_000, 10_000, 2, depth=16),
    "just-too-large.png": lambda: png_of_zeros(*JUST_TOO_MANY, 6),
    "packed.idx3-ubyte.gz": lambda: packed_idx((10, 28, 28), 1_500_000_000),
    "claims.png": lambda: png(2**31 - 1, 2**31 - 1, chunk(b"IDAT", zeros(10))),
    "scans.jpg": lambda: jpeg_of_scans(64, 64),
    "canvas.webp": lambda: webp_canvas(16_383, 16_383),
    "tags.tif": lambda: tiff_of_tags(20_000_000),
    "packed-text.png": lambda: png_with(chunk(b"zTXt", b"Comment\0\0" + zeros(1_000_000_000))),
    "lines.bmp": lambda: filled(bmp(64, 64, b"", compression=1), b"\0\0"),
    "claims.heic": lambda: heic_of_size(2**31 - 1, 2**31 - 1),
    "chunks-before.png": lambda: png_of_chunks(b"tEXt", before=True),
    "many-scans.jpg": lambda: jpeg_of_scans(*JUST_FEW_ENOUGH),
    "chunks-behind.png": lambda: png_of_chunks(b"tEXt", before=False),
    "strips.tif": lambda: tiff_of_strips(6_000_000),
    "comment.gif": lambda: gif_of(b"\x21\xfe\x01a\x00"),
    "wide.png": lambda: png(2**31 - 1, 1, chunk(b"IDAT", zeros(10))),
    "bits.png": lambda: png_of_zeros(2**16, 2**16, 0, depth=1),
    "packed-words.png": lambda: png_with(chunk(b"iTXt", b"Comment\0\1\0\0\0" + zeros(1_000_000_000))),
    "packed-profile.png": lambda: png_with(chunk(b"iCCP", b"Profile\0\0" + zeros(1_000_000_000))),
    "texts.png": lambda: png_with(*[chunk(b"zTXt", b"Comment\0\0" + zeros(1_000_000))] * 3000),
    "words.png": lambda: png_with(*[chunk(b"iTXt", b"Comment\0\1\0\0\0" + zeros(1_000_000))] * 3000),
    "empty-pixels.png": lambda: png_of_chunks(b"IDAT", before=True),
    "frames.png": lambda: png(*JUST_TOO_MANY, chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)), chunk(b"IDAT", b"")),
    "claims.jpg": lambda: jpeg_of_size(65_500, 65_500),
    "just-too-large.jpg": lambda: jpeg_of_size(*JUST_TOO_MANY),
    "wide-scans.jpg": lambda: jpeg_of_scans(65_500, 900),
    "segments.jpg": lambda: jpeg_of_segments(0xEF),
    "comments.jpg": lambda: jpeg_of_segments(0xFE),
    "claims.gif": lambda: gif_of_size(65_535, 65_535),
    "just-too-large.gif": lambda: gif_of_size(*JUST_TOO_MANY),
    "frame.gif": lambda: gif_of_frame(65_535, 65_535),
    "frames.gif": lambda: gif_of_size(60_000, 60_000) + b",\0\0\0\0\xff\xff\xff\xff\0\2\0;" * 1000,
    "long-comment.gif": lambda: gif_of(b"\x21\xfe" + b"\x01a" * 20_000_000 + b"\0")[:LARGEST],
    "lossless.webp": lambda: webp(b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(20)),
    "lossy.webp": lambda: webp(b"VP8 ", b"\x10\0\0\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(20)),
    "frames.webp": lambda: webp_frames(16_383, 16_383, 1000),
    "just-too-large.webp": lambda: webp_frames(*JUST_TOO_MANY, 10),
    "claims.webp": lambda: webp_canvas(2**24, 2**24),
    "claims.tif": lambda: tiff({256: (4, 1, 200_000), 257: (4, 1, 200_000)}),
    "just-too-large.tif": lambda: tiff_of_deflated(*JUST_TOO_MANY, JUST_TOO_MANY[0] * JUST_TOO_MANY[1]),
    "count.tif": lambda: tiff({256: (4, 2**32 - 1, 8), 257: (4, 2**31, 8)}),
    "counts.tif": lambda: tiff({273: (4, 2**30, 8), 279: (4, 2**30, 8)}),
    "many-tags.tif": lambda: tiff_of_tags(1_000_000),
    "samples.tif": lambda: tiff({277: (3, 1, 65_535), 258: (3, 65_535, 8)}),
    "big.tif": big_tiff,
    "claims.bmp": lambda: bmp(100_000, 100_000, bytes(100)),
    "negative.bmp": lambda: bmp(2**31 - 1, -(2**31), bytes(100)),
    "escapes.bmp": lambda: filled(bmp(64, 64, b"", compression=1), b"\0\2\0\0"),
    "nested.heic": heic_of_boxes,
    "square.heic": lambda: heic_of_size(8_000, 8_000),
    "grid.heic": lambda: heic_grid(b"\xfe\xfe", 2**31 - 1, 2**31 - 1),
    "grid-of-itself.heic": lambda: heic_grid(b"\x01\x01", 4_000, 4_000, own=True),
    "box.heic": lambda: FTYP + struct.pack(">I4sQ", 1, b"meta", 2**63 - 1) + bytes(100),
    "not-there.png": lambda: png(*JUST_FEW_ENOUGH, chunk(b"IDAT", zeros(10)), colour=6),
    "not-there-interlaced.png": lambda: put(png(*JUST_FEW_ENOUGH, chunk(b"IDAT", zeros(10)), colour=6), 28, b"\1"),
    "not-there.jpg": lambda: jpeg_of_size(*JUST_FEW_ENOUGH)[:-200],
    "not-there-progressive.jpg": lambda: jpeg_of_size(
        *JUST_FEW_ENOUGH, written(photos.picture(1), "JPEG", progressive=True, subsampling=0)
    )[:-200],
    "not-there-ink.jpg": lambda: jpeg_of_size(
        *JUST_FEW_ENOUGH, written(photos.picture(1).convert("CMYK"), "JPEG", progressive=True)
    )[:-200],
    "not-there.gif": lambda: gif_of_size(*JUST_FEW_ENOUGH)[:-200],
    "not-there-frame.gif": lambda: gif_of_frame(*JUST_FEW_ENOUGH),
    "not-there.webp": lambda: webp_frames(*JUST_FEW_ENOUGH, 1)[:-200],
    "not-there-lossless.webp": lambda: put(written(photos.picture(1), "WEBP", lossless=True), 21, b"\x3c\x1e\x4f\x07"),
    "not-there.heic": lambda: heic_of_size(*JUST_FEW_ENOUGH),
    "not-there.tif": lambda: tiff_of_deflated(*JUST_FEW_ENOUGH, 1000),
    "not-there.bmp": lambda: bmp(*JUST_FEW_ENOUGH, bytes(100)),
    "grid-within.heic": lambda: heic_grid(b"\xfe\xfe", *JUST_FEW_ENOUGH),
    "claims.idx3-ubyte": lambda: idx((2**32 - 1, 28, 28), bytes(1000)),
    "wide.idx3-ubyte": lambda: idx((1, 2**31, 2**31), bytes(1000)),
    "packed-claims.idx3-ubyte.gz": lambda: packed_idx((2**32 - 1, 28, 28), 1_500_000_000),
    "twice-packed.idx3-ubyte.gz": lambda: gzip.compress(packed_idx((10, 28, 28), 1_500_000_000)),
}
"""What makes a bomb, by its file's name; those that need more than a look at their header come first."""


# ----------------------------------------------------------------------------------------------- planted faults


def _in_the_parser(statements: str) -> None:
    """Have the process that parses begin with these statements."""
    known = "from PIL import Image; from privsdk.samples import images, parser"
    parsing._PROGRAM = f"import sys; sys.path += sys.argv[1:]; {known}; {statements}; parser.main()"


def _time_without_limit() -> None:
    _in_the_parser("parser.SECONDS = 1e6")


def _memory_without_limit() -> None:
    _in_the_parser("parser.MEMORY = 10**12")


def _size_is_not_looked_at() -> None:
    _in_the_parser(
        "Image.MAX_IMAGE_PIXELS = None; decoded = images.decoded; "
        "images.decoded = lambda photo, most, on_size: decoded(photo, 10**12, on_size)"
    )


def _the_caller_decodes() -> None:
    from privsdk.samples import images

    parsing.parsed = images.decoded


def _idx_files_are_unpacked_whole() -> None:
    from privsdk.samples import digits

    real = gzip.open

    class Whole:
        """Reads all there is, whatever it is asked for."""

        def __init__(self, file: io.BytesIO) -> None:
            with real(file) as opened:
                self._content = opened.read()

        def __enter__(self) -> io.BytesIO:
            return io.BytesIO(self._content)

        def __exit__(self, *_: object) -> None:
            pass

    digits.gzip = SimpleNamespace(open=Whole)  # type: ignore[assignment]


TRIAL = Trial(
    name="bombs",
    tries="decompression bombs: images in every format, packed idx files",
    must="refused in under 1 s and 512 MB each",
    size=len(BOMBS),
    part=10,
    enough=5,
    run=run,
    faults=(
        Fault("time-without-limit", _time_without_limit),
        Fault("memory-without-limit", _memory_without_limit),
        Fault("size-is-not-looked-at", _size_is_not_looked_at),
        Fault("the-caller-decodes", _the_caller_decodes),
        Fault("idx-files-are-unpacked-whole", _idx_files_are_unpacked_whole),
    ),
)

if __name__ == "__main__":
    planted, bomb = sys.argv[1:]
    if planted != "none":
        TRIAL.fault(planted).plant()
    print(json.dumps(read(Path(bomb))))
