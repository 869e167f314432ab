"""MNIST and UCI Adult, from where they are published; whatever comes is compared with a known SHA-256.

A file is written as ``NAME.part``, which a later call goes on with, and gets its name once it is known to be right.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from privsdk.errors import TrainingDataError
from privsdk.files import why_not_writable
from privsdk.progress import Progress

CHUNK = 2**16  # bytes


@dataclass(frozen=True)
class Published:
    """A file of a data set: its name, its URLs in the order in which they are tried, and its content.

    The content, of which these are the SHA-256 and the size in bytes, is what a ``.gz`` unpacks to: mirrors pack the
    same content with different settings.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str
    size: int

    @property
    def packed(self) -> bool:
        """Whether the file is a gzip."""
        return self.name.endswith(".gz")

    @property
    def most(self) -> int:
        """The most bytes that the file may have; gzip adds a heading, and a little to what cannot be made smaller."""
        return self.size + self.size // 1000 + 1024 if self.packed else self.size

    def fault(self, path: Path) -> str | None:
        """What is wrong with a file, to follow its name in a sentence; None if it is what was published."""
        if not path.is_file():
            return "is no file"
        if path.stat().st_size > self.most:
            return f"has more than {self.most} bytes"
        try:
            with gzip.open(path) if self.packed else path.open("rb") as file:
                content = file.read(self.size + 1)  # a small gzip may unpack to anything
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            return f"cannot be unpacked ({error})"
        if len(content) > self.size:
            return f"unpacks to more than {self.size} bytes"
        digest = hashlib.sha256(content).hexdigest()
        return None if digest == self.sha256 else f"has the SHA-256 {digest}, not {self.sha256}"


# The official place is often closed, or open to browsers alone; torchvision keeps a mirror for that reason.
MNIST_PLACES = "http://yann.lecun.com/exdb/mnist", "https://ossci-datasets.s3.amazonaws.com/mnist"
MNIST = tuple(
    Published(name, tuple(f"{place}/{name}" for place in MNIST_PLACES), sha256, size)
    for name, sha256, size in (
        ("train-images-idx3-ubyte.gz", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 47040016),
        ("train-labels-idx1-ubyte.gz", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", 60008),
        ("t10k-images-idx3-ubyte.gz", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 7840016),
        ("t10k-labels-idx1-ubyte.gz", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", 10008),
    )
)
ADULT = tuple(
    Published(name, (f"https://archive.ics.uci.edu/ml/machine-learning-databases/adult/{name}",), sha256, size)
    for name, sha256, size in (
        ("adult.data", "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d", 3974305),
        ("adult.test", "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05", 2003153),
    )
)
DATA_SETS = {"mnist": MNIST, "adult": ADULT}


def download(files: Sequence[Published], folder: Path, on_progress: Progress, timeout: float = 30.0) -> list[Path]:
    """The paths of these files in ``folder``, which is made where there is none; those that are there are not fetched.

    ``on_progress`` is called with a file's name, the bytes that are there, and all, or the most that are taken where
    the server does not say; after ``timeout`` seconds without a byte a server counts as dead.  Raises TrainingDataError
    if the folder cannot be written or something else has the name of one of the files, before anything is fetched, and
    if a file cannot be had from any of its URLs or a connection breaks off; what came over it stays for another call.
    """
    try:
        missing = [file for file in files if not is_there(file, folder)]
        if missing and (why := why_not_writable(folder)):
            raise OSError(why)
        folder.mkdir(parents=True, exist_ok=True)
        for file in missing:
            fetch(file, folder, on_progress, timeout)
    except OSError as error:
        raise TrainingDataError(
            f"{folder} cannot be used ({error}); change the permissions, make room, or give another folder"
        ) from error
    return [folder / file.name for file in files]


def is_there(file: Published, folder: Path) -> bool:
    """Whether the file need not be fetched; raises TrainingDataError if something else is in its place."""
    path, part = folder / file.name, folder / f"{file.name}.part"
    if os.path.lexists(part) and (part.is_symlink() or not part.is_file()):  # a link may lead out of the folder
        raise TrainingDataError(f"{part} is no file that a download began; take it away, and run this again")
    if not os.path.lexists(path):
        return False
    if fault := file.fault(path):
        raise TrainingDataError(f"{path} is there already and {fault}; take it away, and run this again")
    return True


def fetch(file: Published, folder: Path, on_progress: Progress, timeout: float) -> None:
    """Write a file into ``folder`` from the first of its URLs that has it."""
    part = folder / f"{file.name}.part"
    reasons = []
    for url in file.urls:
        begun = part.exists()
        reason = receive(file, url, part, on_progress, timeout)
        if begun and not part.exists():
            # What was gone on with may be another server's, which packs the same content differently.
            reason = receive(file, url, part, on_progress, timeout)
        if reason is None:
            os.replace(part, folder / file.name)
            return
        reasons.append(f"{url}: {reason}")
    raise TrainingDataError(
        f"{file.name} cannot be had ({'; '.join(reasons)}); look at the connection and run this again, or put the "
        f"file into {folder} from elsewhere"
    )


def receive(file: Published, url: str, part: Path, on_progress: Progress, timeout: float) -> str | None:
    """Why ``part`` does not become the whole file by what is at ``url``, or None; it is taken away if it is wrong.

    Raises TrainingDataError if the connection breaks off; ``part`` stays then.
    """
    begun = part.stat().st_size if part.exists() else 0
    try:
        response = urlopen(Request(url, headers={"Range": f"bytes={begun}-"} if begun else {}), timeout=timeout)
    except (OSError, HTTPException, ValueError) as error:  # the last where a server leads to what is no URL
        if isinstance(error, HTTPError):
            error.close()
            if error.code == 416:  # there is nothing behind what came before: it is too long, or whole and wrong
                part.unlink(missing_ok=True)
        return str(error)
    with response:
        if not isinstance(response, HTTPResponse):
            return "does not lead to HTTP"
        done = begun = begun if response.status == 206 else 0  # 200 brings everything anew
        announced, most = response.length, file.most + 1  # one byte more than may come shows that it is too large
        total = most if announced is None else min(most, begun + announced)
        broken = "" if announced is None else "the connection was closed"
        with part.open("ab" if begun else "wb") as out:
            while done < total:
                try:
                    chunk = response.read1(min(CHUNK, total - done))
                except (OSError, HTTPException) as error:
                    chunk, broken = b"", f"the connection failed: {error}"
                if not chunk:
                    break
                out.write(chunk)
                done += len(chunk)
                on_progress(file.name, done, total)
            out.flush()
            os.fsync(out.fileno())
    if broken and done < total:
        if done == begun:
            return broken
        raise TrainingDataError(f"{url}: {broken} after {done} bytes, which {part} keeps; run this again to go on")
    if fault := file.fault(part):
        part.unlink()
        return f"what came {fault}"
    return None
