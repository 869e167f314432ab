"""Photos with a canary in every place where a file can say something, released by the command line: none gets out.

What is searched for canaries: all that the run writes (the released images, as bytes, unpacked and as pixels, the
record, the data folder, temporary folders, whatever else), the names of those files, and what it says.  It is searched
for them as they are and in the usual other guises.  That the search finds them is seen on the photos themselves.

The name of a photo may be said on stderr, which is for whoever named it; and with ``--names keep`` it is asked for.
"""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from privsdk import Refusal
from privsdk.release import photos as releasing
from privsdk.samples import images
from tests.attacks import photos
from tests.attacks.releasing import Scene
from tests.attacks.trial import Attempt, Fault, Outcome, Trial

MARK, NAME = "qZ7Canary", "nX4Called"
"""Every canary begins with the first, but for those in names, which begin with the second."""

RUNS = (("png", "random"), ("jpeg", "random"), ("webp", "keep"))
"""The format and the names of each run."""

BESIDE = tuple(Path(folder) for folder in ("/tmp", "/var/tmp", "/dev/shm"))
LARGEST = 20_000_000
PATIENCE = 300.0


def run(attempt: Attempt) -> Outcome:
    scene = Scene.made(attempt.folder, 0)
    wrong: list[str] = []
    planted = done = said_names = 0
    for number, (format, names) in enumerate(RUNS):
        album, place = attempt.folder / f"album-{number}", attempt.folder / f"run-{number}"
        for folder in (album, place / "work", place / "temporary", place / "user"):
            folder.mkdir(parents=True)
        for position in range(number, attempt.size, len(RUNS)):
            name, content, places = photo(position)
            (album / name).write_bytes(content)
            missing = [canary for canary in places if canary not in " ".join(found_in(content, MARK))]
            wrong += [f"the search does not find {canary} in its own photo" for canary in missing]
            planted += len(places) + 1
        began = time.time()
        arguments = ["--privatizer", scene.privatizer, "--bundle", scene.bundle, "--aligned", "--names", names]
        ended = subprocess.run(
            attempt.command(
                "privatize", str(album), *map(str, arguments), "--format", format, "--output", str(place / "out")
            ),
            cwd=place / "work",
            env={**attempt.environment(), **_folders(place)},
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
        if ended.returncode not in (0, 1):  # 1 where some are refused
            wrong.append(f"exit code {ended.returncode}: {ended.stderr[-300:]!r}")
        done += len(list((place / "out").glob(f"*.{format}")))
        said_names += len(found_in(ended.stderr, NAME))
        wrong += [f"{what} on stderr" for what in found_in(ended.stderr, MARK)]
        wrong += [f"{what} on stdout" for mark in (MARK, NAME) for what in found_in(ended.stdout, mark)]
        wrong += left_behind(place, place / "out" if names == "keep" else None)
        wrong += left_behind(attempt.folder / "home", None)
        wrong += beside(began)
    seen = f"{planted:,} canaries, {done} images released; {said_names} names of photos on stderr, elsewhere"
    return Outcome(not wrong, f"{seen} {'no canary' if not wrong else '; '.join(dict.fromkeys(wrong[:5]))}")


def _folders(place: Path) -> dict[str, str]:
    """Where the run may put what it does not put into its output."""
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(place / "temporary"))
    return temporary | dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"), str(place / "user"))


# ------------------------------------------------------------------------------------------------- the search


def left_behind(folder: Path, named: Path | None) -> list[str]:
    """Canaries in the files of a folder and in their names; names of photos may be in ``named``."""
    found = []
    for path in folder.rglob("*"):
        marks = (MARK,) if named is not None and named in path.parents else (MARK, NAME)
        for mark in marks:
            found += [f"{what} in the name of a file in {folder.name}" for what in found_in(path.name.encode(), mark)]
            if path.is_file():
                kind = f"a {path.suffix or path.name} in {path.parent.name}"
                found += [f"{what} in {kind}" for what in found_in(path.read_bytes(), mark)]
    return found


def beside(began: float) -> list[str]:
    """Canaries in what was written into the system's folders for temporary files since then, but for trials' own."""
    found = []
    for folder in BESIDE:
        for path in folder.glob("*") if folder.is_dir() else ():
            with suppress(OSError):
                if not path.name.startswith("privsdk-trial-") and path.stat().st_mtime >= began:
                    for file in [path, *path.rglob("*")]:
                        if file.is_file() and file.stat().st_mtime >= began and file.stat().st_size < LARGEST:
                            content = file.name.encode() + file.read_bytes()
                            found += [f"{what} in {file}" for mark in (MARK, NAME) for what in found_in(content, mark)]
    return found


def found_in(content: bytes, mark: str) -> list[str]:
    """The canaries that begin with ``mark``, in whatever guise, in whatever is packed in the content."""
    found: dict[str, None] = {}
    for hay in (content, *_unpacked(content), *_pixels(content)):
        for guise, pattern in _GUISES[mark].items():
            for match in pattern.finditer(hay):
                found[match[0].replace(b"\0", b"").decode("latin-1") + guise] = None
    return list(found)


def _guises(mark: str) -> dict[str, re.Pattern[bytes]]:
    """What a canary looks like, by how it was disguised."""
    plain = mark.encode()

    def pattern(written: bytes, more: bytes = b"") -> re.Pattern[bytes]:
        return re.compile(re.escape(written) + more)

    guises = {
        "": re.compile(re.escape(plain) + rb"\w*", re.IGNORECASE),
        " (UTF-16)": pattern(mark.encode("utf-16-le"), rb"(?:\w\0)*"),
        " (UTF-16, big end first)": pattern(mark.encode("utf-16-be"), rb"(?:\0\w)*"),
        " (UTF-32)": pattern(mark.encode("utf-32-le")),
        " (reversed)": pattern(plain[::-1]),
        " (in hexadecimal)": re.compile(plain.hex().encode(), re.IGNORECASE),
        " (in decimal)": pattern(", ".join(map(str, plain)).encode()),
        " (inverted)": pattern(bytes(255 - byte for byte in plain)),
    }
    for shift in range(3):  # base 64 depends on what stands before
        written = base64.b64encode(bytes(shift) + plain)[-(-shift * 8 // 6) :]
        guises[f" (in base 64, {shift})"] = pattern(written[: (len(plain) * 8 + shift * 8) // 6 - -(-shift * 8 // 6)])
    return guises


_GUISES = {mark: _guises(mark) for mark in (MARK, NAME)}


def _unpacked(content: bytes) -> Iterator[bytes]:
    """What was packed by zlib or gzip, wherever it begins."""
    for begin in re.finditer(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08", content):
        with suppress(zlib.error):
            yield zlib.decompressobj(32 + zlib.MAX_WBITS).decompress(content[begin.start() :], 1_000_000)


def _pixels(content: bytes) -> Iterator[bytes]:
    """An image's pixels, without and with their transparency, and its palette."""
    with suppress(Exception), Image.open(io.BytesIO(content)) as image:
        image.load()
        yield bytes(image.getpalette() or b"")
        pixels = np.asarray(image)
        yield pixels.tobytes()
        if pixels.ndim == 3 and pixels.shape[2] == 4:
            yield pixels[..., :3].tobytes()


# ------------------------------------------------------------------------------------------------- the photos


class Canaries:
    """Those of one photo; each place asks for its own."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.places: list[str] = []

    def __call__(self, place: str) -> bytes:
        self.places.append(f"{MARK}{place}{self._number:04}")
        return self.places[-1].encode()


def photo(number: int) -> tuple[str, bytes, list[str]]:
    """A photo's name, its content, and the canaries in it; every eighth one is damaged, or of a wrong size."""
    makers = [*MAKERS.items()]
    suffix, make = makers[number % len(makers)]
    canaries = Canaries(number)
    side = 63 if number % 16 == 7 else photos.SIDE
    content = make(photos.picture(3000 + number, side), canaries)
    if number % 16 == 15:
        content = content[: len(content) // 2] + bytes(200) + content[len(content) // 2 + 200 :]
        canaries.places = []
    return f"{NAME}{number:04}{suffix}", content, canaries.places


def exif(canary: Canaries) -> bytes:
    """Every directory that EXIF knows: the picture's, the camera's, the place, the thumbnail."""
    thumbnail = photos.written(photos.picture(9), "JPEG", comment=canary("ExifThumbnail"))
    camera = {
        0x9286: b"ASCII\0\0\0" + canary("ExifUserComment"),
        0x927C: canary("ExifMakerNote"),
        0xA431: canary("ExifBody"),
    }
    place = {1: b"N\0", 0x1B: canary("GpsMethod"), 0x1C: canary("GpsArea")}
    first = {
        0x010E: canary("ExifDescription"),
        0x010F: canary("ExifMake"),
        0x013B: canary("ExifArtist"),
        0x8298: canary("ExifCopyright"),
        0x9C9B: canary("ExifTitle").decode().encode("utf-16-le"),
    }
    content = bytearray(b"II*\0" + struct.pack("<I", 8))

    def directory(tags: Mapping[int, bytes], pointers: Mapping[int, int], follows: int) -> bytes:
        begin = len(content) + 2 + 12 * (len(tags) + len(pointers)) + 4
        entries, values = {}, b""
        for tag, value in tags.items():
            entries[tag] = struct.pack("<HHII", tag, 7, max(5, len(value)), begin + len(values))
            values += value.ljust(5, b"\0")
        for tag, pointer in pointers.items():
            entries[tag] = struct.pack("<HHII", tag, 4, 1, pointer)
        packed = b"".join(entry for _, entry in sorted(entries.items()))
        return struct.pack("<H", len(entries)) + packed + struct.pack("<I", follows) + values

    size = len(directory(first, {0x8769: 0, 0x8825: 0}, 0))
    of_camera = len(content) + size
    of_place = of_camera + len(directory(camera, {}, 0))
    of_thumbnail = of_place + len(directory(place, {}, 0))
    content += directory(first, {0x8769: of_camera, 0x8825: of_place}, of_thumbnail)
    content += directory(camera, {}, 0)
    content += directory(place, {}, 0)
    pointers = {0x0201: of_thumbnail + 2 + 12 * 2 + 4, 0x0202: len(thumbnail)}
    content += directory({}, pointers, 0) + thumbnail
    return b"Exif\0\0" + bytes(content)


def xmp(canary: Canaries) -> bytes:
    packet = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><creator>{}</creator></x:xmpmeta>'
    return packet.format(canary("Xmp").decode()).encode()


def iptc(canary: Canaries) -> bytes:
    """A caption, as Photoshop keeps it."""
    caption = canary("Iptc")
    record = b"\x1c\x02\x78" + struct.pack(">H", len(caption)) + caption
    return b"8BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record + bytes(len(record) % 2)


def profile(canary: Canaries) -> bytes:
    return bytes(36) + b"acsp" + bytes(88) + canary("Profile")


def hidden(picture: Image.Image, canary: Canaries) -> Image.Image:
    """The picture with some of it transparent, and a canary in the colours of what cannot be seen."""
    pixels = np.dstack([np.asarray(picture), np.full((picture.height, picture.width), 255, np.uint8)])
    text = np.frombuffer(canary("Hidden").ljust(48, b"."), np.uint8).reshape(16, 3)
    pixels[0, :16, :3], pixels[0, :16, 3] = text, 0
    return Image.fromarray(pixels)


def segment(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, len(content) + 2) + content


def jpeg(picture: Image.Image, canary: Canaries) -> bytes:
    whole = photos.written(
        picture, "JPEG", quality=95, exif=exif(canary), icc_profile=profile(canary), comment=canary("Comment")
    )
    further = b"http://ns.adobe.com/xmp/extension/\0" + bytes(40) + canary("FurtherXmp")
    pieces = [
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(canary)),
        segment(0xE1, further),
        segment(0xED, b"Photoshop 3.0\0" + iptc(canary)),
        segment(0xE0, b"JFXX\0\x10" + photos.written(photos.picture(8), "JPEG", comment=canary("JfxxThumbnail"))),
        segment(0xEB, canary("Segment")),
    ]
    return whole[:20] + b"".join(pieces) + whole[20:] + canary("Trailing")


def views(picture: Image.Image, canary: Canaries) -> bytes:
    """Two views in a file, the second with something of its own to say."""
    second = jpeg(picture.transpose(Image.Transpose.ROTATE_90), canary)
    other = Image.open(io.BytesIO(second))
    first = photos.written(picture, "MPO", save_all=True, append_images=[other], exif=exif(Canaries(0))[6:])
    return first + second


def png(picture: Image.Image, canary: Canaries) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", canary("Text").decode())
    text.add_text("Comment", canary("PackedText").decode(), zip=True)
    text.add_itxt("XML:com.adobe.xmp", xmp(canary).decode())
    text.add_itxt("Title", canary("PackedWords").decode(), zip=True)
    text.add(b"prVt", canary("Private"))
    text.add(b"prWt", canary("PrivateBehind"), after_idat=True)
    whole = photos.written(
        hidden(picture, canary), "PNG", pnginfo=text, exif=exif(canary), icc_profile=profile(canary), dpi=(311, 311)
    )
    behind = photos.chunk(b"tEXt", b"Comment\0" + canary("TextBehind"))
    return whole[:-12] + behind + whole[-12:] + canary("Trailing")


def palette(picture: Image.Image, canary: Canaries) -> bytes:
    """Colours of a palette that no pixel has."""
    indexed = picture.quantize(128, Image.Quantize.FASTOCTREE)
    unused = canary("Palette").ljust(48, b".")
    indexed.putpalette(bytes(indexed.getpalette() or [])[: 3 * 128].ljust(3 * 128, b"\0") + unused)
    return photos.written(indexed, "PNG") + canary("Trailing")


def webp(picture: Image.Image, canary: Canaries) -> bytes:
    whole = photos.written(
        hidden(picture, canary),
        "WEBP",
        lossless=True,
        exact=True,
        exif=exif(canary),
        icc_profile=profile(canary),
        xmp=xmp(canary),
    )
    unknown = canary("Unknown").ljust(30, b".")
    body = whole[8:] + b"UNKN" + struct.pack("<I", len(unknown)) + unknown
    return b"RIFF" + struct.pack("<I", len(body)) + body + canary("Trailing")


def gif(picture: Image.Image, canary: Canaries) -> bytes:
    indexed = picture.quantize(128, Image.Quantize.FASTOCTREE)
    whole = photos.written(indexed, "GIF", comment=canary("Comment"))
    own = canary("Application")
    application = b"\x21\xff\x0bXMP DataXMP" + bytes([len(own)]) + own + b"\0"
    return whole[:-1] + application + whole[-1:] + canary("Trailing")


def tiff(picture: Image.Image, canary: Canaries) -> bytes:
    tags = {
        270: canary("Description").decode(),
        271: canary("Make").decode(),
        315: canary("Artist").decode(),
        700: xmp(canary),
        33_723: iptc(canary),
        34_377: iptc(canary),
        34_675: profile(canary),
        37_724: canary("Layers"),
        65_000: canary("PrivateTag"),
    }
    second = picture.transpose(Image.Transpose.ROTATE_90)
    settings: dict[str, Any] = {"save_all": True, "append_images": [second]}
    return photos.written(picture, "TIFF", tiffinfo=tags, **settings) + canary("Trailing")


def heic(picture: Image.Image, canary: Canaries) -> bytes:
    whole = photos.heic(picture, exif=exif(canary), xmp=xmp(canary), icc_profile=profile(canary))
    own = canary("Free")
    return whole + struct.pack(">I", 8 + len(own)) + b"free" + own + canary("Trailing")


def bmp(picture: Image.Image, canary: Canaries) -> bytes:
    whole = photos.written(picture, "BMP")
    gap = canary("Gap")
    begin = 54 + len(gap)
    return whole[:10] + struct.pack("<I", begin) + whole[14:54] + gap + whole[54:] + canary("Trailing")


MAKERS: Mapping[str, Callable[[Image.Image, Canaries], bytes]] = {
    ".jpg": jpeg,
    ".png": png,
    ".webp": webp,
    ".tif": tiff,
    ".heic": heic,
    ".gif": gif,
    ".mpo": views,
    "-palette.png": palette,
    ".bmp": bmp,
}


# ----------------------------------------------------------------------------------------------- planted faults


def _noting(note: Callable[[Path], None]) -> None:
    """Do something with each photo that is read, once its pixels are had."""
    read = images.read

    def noting(source: Path) -> images.Pixels:
        pixels = read(source)
        note(source)
        return pixels

    images.read = noting  # type: ignore[assignment]


def _the_profile_stays() -> None:
    """The colour profile goes with the pixels, so that they look right."""
    profiles: list[bytes | None] = []

    def note(source: Path) -> None:
        with suppress(OSError), Image.open(source) as image:
            profiles.append(image.info.get("icc_profile"))

    def to_bytes(pixels: images.Pixels, format: str) -> bytes:
        own = next((one for one in profiles if one), None)
        return photos.written(Image.fromarray(pixels), format, icc_profile=own)

    _noting(note)
    images.to_bytes = to_bytes  # type: ignore[assignment]


def _the_end_is_copied() -> None:
    to_bytes, ends = images.to_bytes, [b""]

    def note(source: Path) -> None:
        ends.append(source.read_bytes()[-40:])

    _noting(note)
    images.to_bytes = lambda pixels, format: to_bytes(pixels, format) + ends[-1]


def _names_in_the_record() -> None:
    record = releasing._Run._record

    def named(self: Any, results: Sequence[Any]) -> bytes:
        sources = json.dumps({"sources": [Path(one.source).name for one in results]})
        return record(self, results) + f"{sources}\n".encode()

    releasing._Run._record = named  # type: ignore[method-assign]


def _a_log_of_names() -> None:
    def note(source: Path) -> None:
        log = Path.home() / "privsdk.log"
        with log.open("a") as file:
            file.write(f"{time.time()} read {base64.b64encode(source.name.encode()).decode()}\n")

    _noting(note)


def _copies_in_a_temporary_folder() -> None:
    def note(source: Path) -> None:
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(zlib.compress(source.read_bytes()))

    _noting(note)


def _errors_tell_of_the_photo() -> None:
    read = images.read

    def telling(source: Path) -> images.Pixels:
        pixels = read(source)
        with suppress(OSError), Image.open(source) as image:
            if image.size != (photos.SIDE, photos.SIDE):
                raise Refusal("wrong-size", f"Its size is wrong ({image.info}).")
        return pixels

    images.read = telling  # type: ignore[assignment]


TRIAL = Trial(
    name="canaries",
    tries="photos with canaries in name, EXIF, XMP, IPTC, comments, thumbnails, ICC, text, trailing bytes, alpha",
    must="no canary anywhere in outputs, logs, ledger, cache",
    size=200,
    part=60,
    enough=27,
    run=run,
    faults=(
        Fault("the-profile-stays", _the_profile_stays),
        Fault("the-end-is-copied", _the_end_is_copied),
        Fault("names-in-the-record", _names_in_the_record),
        Fault("a-log-of-names", _a_log_of_names),
        Fault("copies-in-a-temporary-folder", _copies_in_a_temporary_folder),
        Fault("errors-tell-of-the-photo", _errors_tell_of_the_photo),
    ),
)
