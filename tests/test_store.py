"""The data folder, the device key under a race, and the cache of fitted privatizers."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from privsdk import StoreError, UsageError
from privsdk.store import folder as folders
from privsdk.store.cache import Cache
from privsdk.store.folder import data_folder, write_atomically, write_new
from privsdk.store.journal import Done, Journal
from privsdk.store.key import KEY_NAME, device_key, key_fingerprint, rotate_key
from privsdk.store.ledger import Ledger
from privsdk.store.sealed import seal, unseal
from privsdk.store.unfinished import Unfinished

POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")


def test_the_folder_is_the_given_one_then_that_of_the_environment(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data_folder(tmp_path / "mine") == tmp_path / "mine"
    assert data_folder() == home
    monkeypatch.delenv("PRIVSDK_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert data_folder() == tmp_path / "xdg" / "privsdk"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    if sys.platform == "linux":
        assert data_folder() == tmp_path / "user" / ".local" / "share" / "privsdk"


def test_a_folder_that_cannot_be_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="set PRIVSDK_HOME"):
        data_folder(tmp_path / "file" / "below")


def test_the_key_is_made_once(home: Path) -> None:
    key = device_key()
    assert len(key) == 32
    assert device_key() == key
    assert [path.name for path in home.iterdir()] == [KEY_NAME]


@POSIX
def test_only_the_owner_can_read_the_key(home: Path) -> None:
    device_key()
    assert stat.S_IMODE((home / KEY_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_of_processes_that_make_it_at_once_one_wins(home: Path, repository: Path) -> None:
    program = "from privsdk.store.key import device_key\ninput()\nprint(device_key().hex())"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(repository)},
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    keys = {racer.communicate()[0].strip() for racer in racers}
    assert keys == {device_key().hex()}
    assert [path.name for path in home.iterdir()] == [KEY_NAME]


@pytest.mark.parametrize("content", [b"", b"short", bytes(33)])
def test_a_damaged_key_is_an_error_and_is_left_alone(home: Path, content: bytes) -> None:
    home.mkdir()
    (home / KEY_NAME).write_bytes(content)
    (home / KEY_NAME).chmod(0o600)
    with pytest.raises(StoreError, match="damaged .* put back a copy"):
        device_key()
    assert (home / KEY_NAME).read_bytes() == content


def test_a_folder_in_the_place_of_the_key_is_a_store_error(home: Path) -> None:
    (home / KEY_NAME).mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot be read or made"):
        device_key()


def test_the_cache_gives_back_what_was_put() -> None:
    cache = Cache()
    wish = {"private": ["Male"], "utility": ["Smiling"]}
    assert cache.get("digest", wish) is None
    cache.put("digest", wish, b"first")
    cache.put("digest", wish, b"second")
    assert Cache().get("digest", wish) == b"second"
    assert cache.get("other", wish) is None
    assert cache.get("digest", {**wish, "seed": 1}) is None


def test_nobody_without_the_key_can_tell_the_wish_from_a_name(tmp_path: Path) -> None:
    wish = {"private": ["Male"], "utility": ["Smiling"]}
    first, second = Cache(tmp_path / "a").path("digest", wish), Cache(tmp_path / "b").path("digest", wish)
    assert first.name != second.name
    assert "ale" not in first.stem


@POSIX
def test_only_the_owner_can_read_the_cache(home: Path) -> None:
    Cache().put("digest", {}, b"privatizer")
    (kept,) = (home / "privatizers").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_a_cache_that_cannot_be_written_is_a_store_error(home: Path) -> None:
    cache = Cache()
    (home / "privatizers").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be kept"):
        cache.put("digest", {}, b"privatizer")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "file", b"content")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [write_new, write_atomically])
def test_a_disk_that_does_not_take_a_name_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, bytes], None]
) -> None:
    _fail_at_folders(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write(tmp_path / "file", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("write", [write_new, write_atomically])
def test_where_no_folder_can_be_synced_files_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, bytes], None]
) -> None:
    _fail_at_folders(monkeypatch, errno.EINVAL)
    write(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def _fail_at_folders(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(descriptor: int, fsync: Callable[[int], None] = os.fsync) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(folders.os, "fsync", fail)


def test_a_copy_of_the_key_that_a_killed_process_left_goes_and_another_that_is_being_written_stays(home: Path) -> None:
    home.mkdir()
    left, being_written = home / ".00112233aabbccdd.part", home / ".0123456789abcdef.part"
    for path in (left, being_written):
        path.write_bytes(b"k" * 32)
    hours_ago = time.time() - 7200
    os.utime(left, (hours_ago, hours_ago))
    device_key()
    assert {path.name for path in home.iterdir()} == {KEY_NAME, being_written.name}


def test_a_journal_goes_with_the_file_that_a_killed_process_left_beside_it(home: Path, tmp_path: Path) -> None:
    stopped = Journal(bytes(32), tmp_path / "output", {}, lambda: False)
    stopped.finish([(0, Done(1, 1))])
    stopped.close()
    (journal,) = (home / "unfinished-releases").glob("*.sqlite")
    journal.with_name(f"{journal.name}-journal").write_bytes(bytes(512))  # as SQLite leaves it once all is written
    going_on = Journal(bytes(32), tmp_path / "output", {}, lambda: True)
    assert going_on.done(0) == Done(1, 1)
    going_on.discard()
    assert list((home / "unfinished-releases").iterdir()) == []


def test_of_two_that_begin_a_release_in_the_same_moment_one_goes_on(home: Path, tmp_path: Path) -> None:
    for number in range(4):
        together = Barrier(2)

        def begin(_: int, output: Path = tmp_path / f"{number}", together: Barrier = together) -> Journal | None:
            together.wait()
            try:
                return Journal(bytes(32), output, {}, lambda: False)
            except UsageError:
                return None

        with ThreadPoolExecutor(2) as pool:
            (one,) = filter(None, pool.map(begin, range(2)))
        one.discard()


def test_where_there_are_no_links_a_new_file_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    assert device_key(tmp_path / "home") == device_key(tmp_path / "home")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "home" / "device.key", b"another")
    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(PermissionError):
        write_new(tmp_path / "new", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@POSIX
def test_a_key_that_others_can_read_is_refused(home: Path) -> None:
    device_key()
    (home / KEY_NAME).chmod(0o640)
    with pytest.raises(StoreError, match="can be read by others: take their permissions away"):
        device_key()


def test_a_key_that_is_gone_is_not_made_anew_where_something_was_released(home: Path) -> None:
    Ledger(device_key())
    (home / KEY_NAME).unlink()
    with pytest.raises(StoreError, match="is gone, and what was released with it"):
        device_key()
    fingerprint = rotate_key()
    assert key_fingerprint(device_key()) == fingerprint


def test_a_key_that_may_be_the_new_one_is_not_said_to_be_the_old(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device_key()
    _fail_at_folders(monkeypatch, errno.EIO)
    with pytest.raises(StoreError, match="may be the old one or the new one now"):
        rotate_key()


def test_a_fingerprint_tells_keys_apart_and_nothing_else() -> None:
    fingerprints = {key_fingerprint(bytes([number]) * 32) for number in range(256)}
    assert len(fingerprints) == 256
    assert {len(one) for one in fingerprints} == {16}


def test_what_is_kept_is_sealed(home: Path) -> None:
    Cache().put("digest", {"private": ["Male"]}, b"private: Male")
    unfinished = Unfinished("Male with Smiling")
    unfinished.put("Male means", {"values": np.arange(3)}, {"label": "Male"})
    assert unfinished.get("Male means") is not None
    for path in home.rglob("*"):
        assert "Male" not in path.name
        assert not path.is_file() or b"Male" not in path.read_bytes()
    (kept,) = (home / "privatizers").iterdir()
    damaged = bytearray(kept.read_bytes())
    damaged[20] ^= 1
    kept.write_bytes(damaged)
    assert Cache().get("digest", {"private": ["Male"]}) is None
    assert Cache(home.parent / "other").get("digest", {"private": ["Male"]}) is None


def test_a_seal_is_of_one_key_and_one_purpose() -> None:
    key = bytes(32)
    sealed = seal(key, "this", b"content")
    assert unseal(key, "this", sealed) == b"content"
    assert seal(key, "this", b"content") != sealed
    for other, purpose, content in ((bytes([1]) * 32, "this", sealed), (key, "that", sealed), (key, "this", b"short")):
        with pytest.raises(ValueError, match="not sealed by this key"):
            unseal(other, purpose, content)
