"""A folder full of what is no photo: each thing in it is refused or read as what it is, and none leads out of it.

Beside the folder lie photos that nobody named.  Links of every kind point to them; what is released is compared with
what would be released of them.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import socket
import stat
import subprocess
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from privsdk import Privatizer, Refusal, Release, plan_release, planning
from privsdk.planning import RECORD
from privsdk.samples import images
from tests.attacks import photos
from tests.attacks.releasing import Scene
from tests.attacks.trial import Attempt, Fault, Outcome, Trial

KEY = bytes(range(32))
OUTSIDE = 6
"""Photos that are not in the folder."""

HANG = 8.0
"""Seconds on the clock for a plan, or without any photo done, that count as a hang."""


@dataclass(frozen=True)
class Ground:
    """Where the trial takes place: the folder that is named, and one beside it that is not."""

    inside: Path
    outside: Path

    def photo(self, name: str, number: int) -> Path:
        """A photo in the folder, of a picture that no other has."""
        path = self.inside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photos.written(photos.picture(1000 + number), "PNG"))
        return path


Odd = Callable[[Ground, int], object]
"""Puts one odd thing into the folder; its number is no other's."""


def run(attempt: Attempt) -> Outcome:
    privatizer = Scene.made(attempt.folder, 0).opened()
    ground = Ground(attempt.folder / "album", attempt.folder / "elsewhere")
    ground.inside.mkdir()
    ground.outside.mkdir()
    secrets = np.stack([np.asarray(photos.picture(number)) for number in range(OUTSIDE)])
    for number in range(OUTSIDE):
        (ground.outside / f"secret-{number}.png").write_bytes(photos.written(photos.picture(number), "PNG"))
    with _removed_at_the_end(ground.inside):
        for number, put in enumerate([*ODD.values()][: attempt.size]):
            put(ground, number)
        ground.photo("good.png", 999)
        wrong: list[str] = []
        counts: Counter[str] = Counter()
        for names in ("random", "keep"):
            before = _everything(attempt.folder)
            output, home = attempt.folder / f"out-{names}", attempt.folder / f"home-{names}"
            results = _released(privatizer, ground, output, home, names, wrong)
            if results is None:
                break
            counts = Counter("released" if isinstance(one, Release) else one.reason for one in results)
            wrong += _from_outside(privatizer, secrets, ground, results)
            wrong += [complaint for path in output.glob("*.png") for complaint in _complaints(path)]
            if not any(isinstance(one, Release) and one.source.endswith("good.png") for one in results):
                wrong.append("the one photo without any oddity was not released")
            strayed = _everything(attempt.folder) - before - _everything(output) - _everything(home) - {output, home}
            wrong += [f"{path.name} was written outside the output" for path in strayed]
    what = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    return Outcome(not wrong, "; ".join([f"of a folder with them: {what or 'nothing'}", *wrong[:5]]))


def _released(
    privatizer: Privatizer, ground: Ground, output: Path, home: Path, names: str, wrong: list[str]
) -> Sequence[Release | Refusal] | None:
    """The results of a plan and its release; None where there are none, which ``wrong`` is told."""
    done: list[Sequence[Release | Refusal]] = []
    last = [time.monotonic()]

    def progress(*_: object) -> None:
        last[0] = time.monotonic()

    def release() -> None:
        try:
            plan = plan_release(ground.inside, output, recursive=True)
            done.append(
                privatizer.release(
                    list(plan.photos),
                    plan.output,
                    aligned=True,
                    key=KEY,
                    names=names,  # type: ignore[arg-type]
                    on_progress=progress,
                    folder=home,
                )
            )
        except BaseException as error:  # noqa: BLE001 - any is a crash, and told
            wrong.append(f"it crashed ({type(error).__name__}: {str(error)[:100]})")

    thread = threading.Thread(target=release, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
        if time.monotonic() - last[0] > HANG:
            wrong.append("it hung")
            return None
    return done[0] if done else None


def _from_outside(
    privatizer: Privatizer, secrets: images.Pixels, ground: Ground, results: Sequence[Release | Refusal]
) -> list[str]:
    """What was had from outside the folder, told by where it lies and by what it shows."""
    found = []
    top = Path(os.path.realpath(ground.inside))
    of_secrets = {image.tobytes() for image in privatizer.privatize(secrets, key=KEY)}
    for result in results:
        if isinstance(result, Release):
            end = os.path.realpath(result.source)
            if top not in Path(end).parents:
                found.append(f"{Path(result.source).name!r} was followed to {end}")
            if images.read(result.path).tobytes() in of_secrets:
                found.append(f"{Path(result.source).name!r} became a photo from outside")
    return found


def _complaints(path: Path) -> list[str]:
    if not stat.S_ISREG(path.lstat().st_mode):
        return [f"{path.name!r} in the output is no file"]
    return photos.complaints(path.read_bytes(), "png")


def _everything(folder: Path) -> set[Path]:
    """All that lies below a folder as far as its path can be said, links not followed."""
    found, waiting = set(), [str(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                found.add(Path(entry.path))
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return found


@contextmanager
def _removed_at_the_end(folder: Path) -> Iterator[None]:
    """Python's own way to remove folders does not come to the end of deep ones."""
    try:
        yield
    finally:
        subprocess.run(["chmod", "-R", "u+rwx", folder], check=False, capture_output=True)
        subprocess.run(["rm", "-rf", folder], check=True)


# ------------------------------------------------------------------------------------------------- the odd things

NAMES = (
    *("line\nbreak.png", "tab\t.png", "return\r.png", "\x1b[2J\x1b]0;title\x07.png", "bell\x07.png", "delete\x7f.png"),
    *("-rf.png", "--help.png", "-.png", "~.png", "~root.png", "$HOME.png", "$(touch touched).png", "`id`.png"),
    *("a;id.png", "a|id.png", "a&id.png", "*.png", "?.png", "[a-z].png", "{a,b}.png", "'.png", '".png', "\\.png"),
    *("..\\..\\above.png", "%2e%2e%2fabove.png", "..%c0%afabove.png", "a..png", "CON.png", "C:drive.png", "a:b.png"),
    *(" .png", "a.png.png", "release.jsonl.png", "manifest.json.png", "A.PNG", "photo.JPEG", "no-image.tiff"),
    *("\u202egnp.exe.png", "\u200b.png", "e\u0301.png", "\u00e9.png", "\U0001f4f7.png", "\ufeff.png", "\u0130.png"),
    *("latin-\udce9.png", "\udcff\udcfe.png", "x" * 251 + ".png", "\u5199" * 83 + ".png"),
)
"""Of photos; what Python writes as a surrogate is a byte that is no UTF-8."""

CONTENTS: Mapping[str, Callable[[], bytes]] = {
    "jpeg-and-zip.jpg": lambda: _whole("JPEG") + _zip(),
    "png-and-script.png": lambda: _whole("PNG") + b"<script>alert(1)</script>",
    "gif-and-zip.gif": lambda: _whole("GIF") + _zip(),
    "jpeg-and-php.jpg": lambda: _whole("JPEG", comment=b"<?php system('id'); ?>"),
    "two-jpegs.jpg": lambda: _whole("JPEG") * 2,
    "png-in-jpeg.jpg": lambda: _whole("JPEG", comment=_whole("PNG")),
    "pdf-and-jpeg.jpg": lambda: b"%PDF-1.7\n" + _whole("JPEG"),
    "zip-and-jpeg.jpg": lambda: _zip() + _whole("JPEG"),
    "jpeg-called.png": lambda: _whole("JPEG"),
    "webp-called.heic": lambda: _whole("WEBP"),
    "icon.png": lambda: _whole("ICO"),
    "jpeg-2000.jpg": lambda: _whole("JPEG2000"),
    "avif.heic": lambda: b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
    "pixmap.png": lambda: _whole("PPM"),
    "targa.tif": lambda: _whole("TGA"),
    "pcx.bmp": lambda: _whole("PCX"),
    "postscript.jpg": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file run\n",
    "vector.png": lambda: b'<svg xmlns:x="http://www.w3.org/1999/xlink"><image x:href="file:///etc/passwd"/></svg>',
    "entity.tif": lambda: b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "drawing.gif": lambda: b"push graphic-context\nimage over 0,0 0,0 'https://example.org'\npop graphic-context\n",
    "list.jpg": lambda: b"#EXTM3U\n/etc/passwd\n",
    "shortcut.png": lambda: b"[InternetShortcut]\nURL=file:///etc/passwd\n",
    "program.png": lambda: b"\x7fELF\2\1\1" + bytes(200),
    "pickle.jpg": lambda: pickle.dumps(Path("/etc/passwd")),
    "empty.png": lambda: b"",
    "zeros.jpg": lambda: bytes(5000),
    "packed.png": lambda: gzip.compress(_whole("PNG")),
}
"""What is, or claims to be, of several kinds, or of one that is not read."""

LINKS: Mapping[str, str] = {
    "link-out.png": "../elsewhere/secret-0.png",
    "link-up-and-out.png": "../album/../elsewhere/secret-1.png",
    "link-to-a-link-out.png": "link-out.png",
    "link-to-a-system-file.png": "/etc/passwd",
    "link-to-a-device.png": "/dev/zero",
    "link-to-the-terminal.png": "/dev/tty",
    "link-to-a-process.png": "/proc/self/environ",
    "link-to-standard-input.png": "/dev/stdin",
    "link-to-nothing.png": "nothing.png",
    "link-to-nothing-outside.png": "../elsewhere/nothing.png",
    "link-to-itself.png": "link-to-itself.png",
    "link-there.png": "link-back.png",
    "link-back.png": "link-there.png",
    "link-to-a-folder.png": "../elsewhere",
    "folder-outside": "../elsewhere",
    "folder-above": "..",
    "folder-itself": ".",
    "folder-of-all": "/",
    "folder-of-processes": "/proc/self",
}


def _whole(format: str, **settings: Any) -> bytes:
    return photos.written(photos.picture(2000 + len(format)), format, **settings)


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../above.png", _whole("PNG"))
    return file.getvalue()


def _outright(ground: Ground, number: int) -> None:
    """A link by the whole path."""
    (ground.inside / "link-outright.png").symlink_to(ground.outside / "secret-2.png")


def _from_a_folder(ground: Ground, number: int) -> None:
    ground.photo("further/photo.png", number)
    (ground.inside / "further" / "link-out.png").symlink_to("../../elsewhere/secret-3.png")


def _through_a_folder(ground: Ground, number: int) -> None:
    (ground.inside / "through.png").symlink_to("folder-outside/secret-4.png")
    (ground.inside / "through-all.png").symlink_to(f"folder-of-all{ground.outside}/secret-5.png")


def _within(ground: Ground, number: int) -> None:
    """A link that stays in the folder."""
    ground.photo("within/photo.png", number)
    (ground.inside / "link-within.png").symlink_to("within/photo.png")


def _hard_link(ground: Ground, number: int) -> None:
    os.link(ground.photo("one-of-two-names.png", number), ground.inside / "another-name.png")


def _pipe(ground: Ground, number: int) -> None:
    os.mkfifo(ground.inside / "pipe.png")


def _link_to_a_pipe(ground: Ground, number: int) -> None:
    os.mkfifo(ground.inside / "called-nothing-like-a-photo")
    (ground.inside / "link-to-a-pipe.png").symlink_to("called-nothing-like-a-photo")


def _socket(ground: Ground, number: int) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(ground.inside, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket.png")  # the address of a socket may not be long
        os.close(here)


def _device(kind: int, minor: int) -> Odd:
    def put(ground: Ground, number: int) -> None:
        with suppress(PermissionError):  # only root may, and not everywhere
            os.mknod(ground.inside / f"device-{kind}-{minor}.png", kind | 0o600, os.makedev(1, minor))

    return put


def _closed_photo(ground: Ground, number: int) -> None:
    ground.photo("closed.png", number).chmod(0)


def _closed_folder(ground: Ground, number: int) -> None:
    ground.photo("closed/photo.png", number).parent.chmod(0)


def _large(ground: Ground, number: int) -> None:
    with ground.photo("large.png", number).open("ab") as file:
        file.truncate(2**40)


def _folder_like_a_photo(ground: Ground, number: int) -> None:
    ground.photo("folder.png/folder.png/photo.png", number)


def _empty_folder_like_a_photo(ground: Ground, number: int) -> None:
    (ground.inside / "empty.jpg.d.jpg").mkdir()


def _hidden(ground: Ground, number: int) -> None:
    ground.photo(".hidden.png", number)
    ground.photo(".hidden/photo.png", number)


def _earlier_release(ground: Ground, number: int) -> None:
    ground.photo("released/photo.png", number)
    (ground.inside / "released" / RECORD).write_text("")


def _folder_with_an_odd_name(ground: Ground, number: int) -> None:
    ground.photo("-o/\x1b[2J/\n/photo.png", number)


def _deep(levels: int, name: str) -> Odd:
    def put(ground: Ground, number: int) -> None:
        # Step by step: the whole path of the deepest is longer than the system takes.
        here = os.open(ground.inside, os.O_RDONLY)
        for _ in range(levels):
            os.mkdir(name, dir_fd=here)
            above, here = here, os.open(name, os.O_RDONLY, dir_fd=here)
            os.close(above)
        deepest = os.open("photo.png", os.O_WRONLY | os.O_CREAT, dir_fd=here)
        os.write(deepest, photos.written(photos.picture(1000 + number), "PNG"))
        os.close(deepest)
        os.close(here)

    return put


ODD: Mapping[str, Odd] = {
    **{name: partial(lambda name, ground, number: ground.photo(name, number), name) for name in NAMES},
    **{
        name: partial(lambda name, ground, number: (ground.inside / name).write_bytes(CONTENTS[name]()), name)
        for name in CONTENTS
    },
    **{
        name: partial(lambda name, ground, number: (ground.inside / name).symlink_to(LINKS[name]), name)
        for name in LINKS
    },
    **{
        put.__name__: put
        for put in (
            *(_outright, _from_a_folder, _through_a_folder, _within, _hard_link, _pipe, _link_to_a_pipe, _socket),
            *(_closed_photo, _closed_folder, _large, _folder_like_a_photo, _empty_folder_like_a_photo, _hidden),
            *(_earlier_release, _folder_with_an_odd_name),
        )
    },
    "a device without an end": _device(stat.S_IFCHR, 5),
    "a device that is empty": _device(stat.S_IFCHR, 3),
    "a disk": _device(stat.S_IFBLK, 1),
    "1,200 folders": _deep(1200, "d"),
    "a path too long": _deep(60, "long" * 50),
}
"""Each by a name for it."""


# ----------------------------------------------------------------------------------------------- planted faults


def _links_are_taken_for_photos() -> None:
    planning._leads_out = lambda entry, top: False  # type: ignore[attr-defined]


def _links_are_taken_for_folders() -> None:
    os.path.islink = lambda path: False


def _pipes_are_waited_for() -> None:
    images.read_regular = lambda path, limit: Path(path).read_bytes()  # type: ignore[attr-defined]


TRIAL = Trial(
    name="odd-files",
    tries="polyglots, links, pipes, sockets, devices, odd names, deep and closed folders, in one folder",
    must="each refused or handled, none followed out of the folder",
    size=len(ODD),
    part=len(ODD),
    enough=len(ODD),
    run=run,
    faults=(
        Fault("links-are-taken-for-photos", _links_are_taken_for_photos),
        Fault("links-are-taken-for-folders", _links_are_taken_for_folders),
        Fault("pipes-are-waited-for", _pipes_are_waited_for),
    ),
)
