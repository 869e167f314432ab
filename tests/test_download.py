"""Downloading a data set: from a real server on this machine, which can break off, lie, hang or be away."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
import struct
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from export.datasets import adult, mnist
from export.datasets.download import ADULT, DATA_SETS, MNIST, Published, download
from privsdk.errors import TrainingDataError

CONTENT = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)


@dataclass(frozen=True)
class Served:
    """What a path gives: ``until`` bytes of a body and then an ``end``; ``length`` says how its length is told."""

    content: bytes
    ranges: bool = True
    until: int | None = None
    end: Literal["close", "reset", "hang"] = "close"
    length: Literal["told", "chunked", "none"] = "told"


@dataclass
class Site:
    """A server of these paths, and for each request the path, the Range that was asked for, and the bytes sent.

    A path gives a body, the status of an error, or the URL that it leads to.
    """

    address: str
    paths: dict[str, Served | int | str] = field(default_factory=dict)
    requests: list[tuple[str, str | None, int]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def file(self, name: str, content: bytes = CONTENT, places: tuple[str, ...] = ("a",)) -> Published:
        """A file that is published here under these paths."""
        urls = tuple(f"{self.address}/{place}" for place in places)
        return Published(name, urls, hashlib.sha256(content).hexdigest(), len(content))


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            served = site.paths.get(self.path[1:], 404)
            wanted = self.headers["Range"]
            begin = int(wanted[len("bytes=") : -1]) if wanted else 0
            if isinstance(served, str):
                self.send_response(302)
                self.send_header("Location", served)
                self.end_headers()
                return
            if isinstance(served, int) or (served.ranges and begin >= len(served.content) > 0):
                site.requests.append((self.path[1:], wanted, 0))
                self.send_error(served if isinstance(served, int) else 416)
                return
            begin = begin if served.ranges else 0
            body = served.content[begin:]
            sent = body[: served.until]
            site.requests.append((self.path[1:], wanted, len(sent)))
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(served.content) - 1}/{len(served.content)}")
            match served.length:
                case "told":
                    self.send_header("Content-Length", str(len(body)))
                case "chunked":
                    self.send_header("Transfer-Encoding", "chunked")
                    sent = f"{len(body):x}\r\n".encode() + sent
            self.end_headers()
            self.wfile.write(sent)
            if served.end == "hang":
                site.over.wait(10)
            elif served.end == "reset":
                # So that the reset does not overtake what was sent.
                site.over.wait(0.2)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that has had enough

    with Server(("127.0.0.1", 0), Handler) as server:
        site = Site(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield site
        site.over.set()
        server.shutdown()
        thread.join()


def ignore(stage: str, done: int, total: int) -> None:
    """An ``on_progress`` of somebody who does not look."""


def fetched(file: Published, folder: Path, timeout: float = 5.0) -> bytes:
    """The content of a file that was downloaded into ``folder``, where nothing else is left."""
    (path,) = download([file], folder, ignore, timeout)
    assert list(folder.iterdir()) == [path]
    return path.read_bytes()


def test_what_is_fetched_is_checked_and_not_fetched_again(site: Site, tmp_path: Path) -> None:
    packed = Served(gzip.compress(CONTENT, 1))
    site.paths = {"plain": Served(CONTENT), "packed": f"{site.address}/moved", "moved": packed}
    files = site.file("rows.data", places=("plain",)), site.file("images.gz", places=("packed",))
    folder = tmp_path / "new" / "folder"
    told: list[tuple[str, int, int]] = []
    paths = download(files, folder, lambda *step: told.append(step))
    assert paths == [folder / "rows.data", folder / "images.gz"]
    assert sorted(folder.iterdir()) == sorted(paths)
    assert paths[0].read_bytes() == gzip.decompress(paths[1].read_bytes()) == CONTENT
    assert [done for name, done, _ in told if name == "rows.data"][-1] == len(CONTENT)
    assert {total for name, _, total in told if name == "rows.data"} == {len(CONTENT)}
    # Packed by somebody else it is as good.
    paths[1].write_bytes(gzip.compress(CONTENT, 9))
    assert download(files, folder, ignore) == paths
    assert len(site.requests) == 2


@pytest.mark.parametrize("ranges", [True, False])
def test_a_truncated_download_goes_on(site: Site, tmp_path: Path, ranges: bool) -> None:
    site.paths["a"] = Served(CONTENT, ranges, until=100_000)
    with pytest.raises(TrainingDataError, match=r"/a: the connection was closed after 100000 bytes.*run this again"):
        fetched(site.file("rows.data"), tmp_path)
    assert (tmp_path / "rows.data.part").read_bytes() == CONTENT[:100_000]
    site.paths["a"] = Served(CONTENT, ranges)
    assert fetched(site.file("rows.data"), tmp_path) == CONTENT
    assert site.requests[1:] == [("a", "bytes=100000-", 200_000 if ranges else 300_000)]


@pytest.mark.parametrize(
    ("served", "message"),
    [
        (Served(CONTENT, until=100_000, end="reset"), "the connection failed: .*reset"),
        (Served(CONTENT, until=100_000, end="hang"), "the connection failed: timed out"),
        (Served(CONTENT, until=100_000, length="chunked"), "the connection failed: IncompleteRead"),
    ],
)
def test_an_interrupted_download_goes_on(site: Site, tmp_path: Path, served: Served, message: str) -> None:
    site.paths["a"] = served
    with pytest.raises(TrainingDataError, match=message + ".* after 100000 bytes.*run this again"):
        fetched(site.file("rows.data"), tmp_path, timeout=0.5)
    site.paths["a"] = Served(CONTENT)
    assert fetched(site.file("rows.data"), tmp_path) == CONTENT
    assert site.requests[1:] == [("a", "bytes=100000-", 200_000)]


@pytest.mark.parametrize(
    ("part", "asked"),
    [
        (OTHER[:1000], ["bytes=1000-", None]),  # another server's
        (CONTENT, ["bytes=300000-", None]),  # nothing is behind it
        (OTHER * 2, ["bytes=600000-", None]),  # too long
        (b"", [None]),
    ],
)
def test_what_cannot_be_gone_on_with_is_fetched_anew(
    site: Site, tmp_path: Path, part: bytes, asked: list[str | None]
) -> None:
    site.paths["a"] = Served(CONTENT)
    (tmp_path / "rows.data.part").write_bytes(part)
    assert fetched(site.file("rows.data"), tmp_path) == CONTENT
    assert [wanted for _, wanted, _ in site.requests] == asked


DEAD = {
    "missing": (404, "HTTP Error 404"),
    "closed": (503, "HTTP Error 503"),
    "astray": ("http://[", "Invalid IPv6 URL"),
    "silent": (Served(CONTENT, until=0, end="hang"), "timed out"),
    "empty": (Served(CONTENT, until=0), "the connection was closed"),
    "wrong": (Served(OTHER), "what came has the SHA-256 .*, not "),
    "short": (Served(CONTENT[:-1]), "what came has the SHA-256"),
}


@pytest.mark.parametrize("kind", DEAD)
def test_behind_a_url_of_no_use_comes_the_next(site: Site, tmp_path: Path, kind: str) -> None:
    site.paths["a"], reason = DEAD[kind]
    with pytest.raises(
        TrainingDataError, match=rf"rows.data cannot be had \(http://.*/a: .*{reason}.*\); look at the connection"
    ):
        fetched(site.file("rows.data"), tmp_path, timeout=0.3)
    assert not (tmp_path / "rows.data").exists()
    site.paths["b"] = Served(CONTENT)
    assert fetched(site.file("rows.data", places=("a", "b")), tmp_path, timeout=0.3) == CONTENT


@pytest.mark.parametrize(("listens", "reason"), [(False, "refused"), (True, "timed out")])
def test_behind_a_dead_server_comes_the_next(site: Site, tmp_path: Path, listens: bool, reason: str) -> None:
    (tmp_path / "local").write_bytes(CONTENT)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        if listens:
            mute.listen()
        dead = f"http://127.0.0.1:{mute.getsockname()[1]}/a", (tmp_path / "local").as_uri()
        file = replace(site.file("rows.data"), urls=dead)
        with pytest.raises(TrainingDataError, match=rf"/a: .*{reason}.*; file://.*: does not lead to HTTP"):
            fetched(file, tmp_path / "data", timeout=0.3)
        site.paths["b"] = Served(CONTENT)
        assert fetched(replace(file, urls=(*dead, f"{site.address}/b")), tmp_path / "data", timeout=0.3) == CONTENT


@pytest.mark.parametrize("length", ["told", "none"])
def test_one_byte_more_than_was_published_is_taken(site: Site, tmp_path: Path, length: Literal["told", "none"]) -> None:
    site.paths["a"] = Served(CONTENT * 20, length=length)
    told: list[int] = []
    with pytest.raises(TrainingDataError, match="what came has more than 300000 bytes"):
        download([site.file("rows.data")], tmp_path, lambda _, done, total: told.append(done))
    assert told[-1] == 300_001
    assert list(tmp_path.iterdir()) == []


def test_a_gzip_unpacks_to_no_more_than_was_published(site: Site, tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(50_000_000), 9)
    site.paths = {"a": Served(bomb), "b": Served(gzip.compress(CONTENT)[:-9]), "c": Served(CONTENT[:1000])}
    tracemalloc.start()
    try:
        with pytest.raises(TrainingDataError, match="/a: what came unpacks to more than 300000 bytes") as refused:
            fetched(site.file("images.gz", places=("a", "b", "c")), tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert str(refused.value).count("what came cannot be unpacked") == 2
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_the_place_of_a_file_stays(site: Site, tmp_path: Path) -> None:
    site.paths = {"a": Served(CONTENT)}
    files = site.file("first.data"), site.file("images.gz")
    path = tmp_path / "images.gz"
    for content, fault in (
        (gzip.compress(OTHER), "has the SHA-256"),
        (gzip.compress(bytes(400_000)), "unpacks to more than 300000 bytes"),
        (gzip.compress(CONTENT)[:-9], "cannot be unpacked"),
        (gzip.compress(b"")[:10] + bytes(range(255, 235, -1)), "cannot be unpacked"),
    ):
        path.write_bytes(content)
        with pytest.raises(TrainingDataError, match=f"images.gz is there already and {fault}.*; take it away"):
            download(files, tmp_path, ignore)
        assert path.read_bytes() == content
    path.unlink()
    path.mkdir()
    with pytest.raises(TrainingDataError, match=r"images.gz is there already and is no file"):
        download(files, tmp_path, ignore)
    assert (site.requests, list(tmp_path.iterdir())) == ([], [path])


@pytest.mark.parametrize("name", ["rows.data", "rows.data.part"])
@pytest.mark.parametrize("leads_to_a_file", [True, False])
def test_nothing_is_written_through_a_link(site: Site, tmp_path: Path, name: str, leads_to_a_file: bool) -> None:
    site.paths = {"a": Served(CONTENT)}
    mine, link = tmp_path / "mine", tmp_path / "data" / name
    if leads_to_a_file:
        mine.write_bytes(CONTENT[:1000])
    link.parent.mkdir()
    link.symlink_to(mine)
    with pytest.raises(TrainingDataError, match="take it away"):
        download([site.file("rows.data")], link.parent, ignore)
    assert (link.is_symlink(), mine.exists(), site.requests) == (True, leads_to_a_file, [])
    assert not leads_to_a_file or mine.read_bytes() == CONTENT[:1000]


def test_a_folder_that_cannot_be_made_or_written_is_refused(site: Site, tmp_path: Path) -> None:
    site.paths = {"a": Served(CONTENT)}
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TrainingDataError, match=r"file/data cannot be used \(.*\); change the permissions"):
        download([site.file("rows.data")], tmp_path / "file" / "data", ignore)
    assert site.requests == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_closed_folder_is_refused(site: Site, tmp_path: Path) -> None:
    site.paths = {"a": Served(CONTENT)}
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(TrainingDataError, match=r"closed cannot be used \(.*\); change the permissions"):
        download([site.file("rows.data")], closed, ignore)
    assert site.requests == []


def test_the_files_are_those_that_are_read() -> None:
    assert tuple(file.name for file in MNIST) == mnist.FILES
    assert tuple(file.name for file in ADULT) == adult.FILES


@pytest.mark.parametrize("name", DATA_SETS)
def test_the_published_files_are_those_of_the_development_data(data: Path, name: str) -> None:
    assert {file.name: file.fault(data / name / file.name) for file in DATA_SETS[name]} == {
        file.name: None for file in DATA_SETS[name]
    }


def test_what_was_downloaded_is_read(site: Site, data: Path, tmp_path: Path) -> None:
    site.paths = {name: Served((data / "adult" / name).read_bytes()) for name in adult.FILES}
    files = [replace(file, urls=(f"{site.address}/{file.name}",)) for file in ADULT]
    download(files, tmp_path, ignore)
    assert adult.load(tmp_path).samples.shape == (45_222, 109)


def test_the_command_refuses_what_is_no_file_of_the_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="the central trainer needs the extra 'export'")
    from export.__main__ import main

    (tmp_path / "adult.test").write_text("39, State-gov")
    monkeypatch.setattr(sys, "argv", ["export", "download", "adult", "--data", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "adult.test is there already and has the SHA-256" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["adult.test"]


def test_the_command_names_the_files(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="the central trainer needs the extra 'export'")
    from export.__main__ import main

    monkeypatch.setattr(sys, "argv", ["export", "download", "adult", "--data", str(data / "adult")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    assert capsys.readouterr().out.split() == [str((data / "adult" / name).resolve()) for name in adult.FILES]
