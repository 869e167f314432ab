"""The data folder, the device key under a race, and the cache of fitted privatizers."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from privsdk import StoreError
from privsdk.store import folder as folders
from privsdk.store.cache import Cache
from privsdk.store.folder import data_folder, write_atomically, write_new
from privsdk.store.key import KEY_NAME, device_key

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
