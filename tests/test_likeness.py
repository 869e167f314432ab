"""Marks of nearly equal photos: equal for copies of one, not for others, and nothing without the key."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from privsdk import UsageError, read_faces
from privsdk.noise import sample_digests
from privsdk.store import likeness
from privsdk.store.likeness import ENOUGH, TABLES, marks

KEY = bytes(range(32))


@pytest.fixture(scope="module")
def faces(photos: Path) -> np.ndarray:
    """The portraits' largest faces, each of somebody else."""
    return read_faces(sorted(photos.glob("*.jpg")))[0]


@pytest.fixture(scope="module")
def own(faces: np.ndarray) -> np.ndarray:
    return marks(KEY, faces)


def alike(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (own == other).sum(axis=1) >= ENOUGH


def in_a_photo(path: Path, change: str) -> bytes:
    """The photo as somebody would send it on."""
    with Image.open(path) as opened:
        upright = Image.fromarray(np.asarray(opened.convert("RGB")))
        upright.info = {}
        exif = opened.getexif()
    picture = upright.rotate({6: -90, 8: 90, 3: 180}.get(exif.get(0x0112, 1), 0), expand=True)
    width, height = picture.size
    picture = {
        "saved at quality 60": picture,
        "half as large": picture.resize((width // 2, height // 2)),
        "cropped": picture.crop((width // 25, height // 20, width - width // 30, height)),
        "brighter": ImageEnhance.Brightness(picture).enhance(1.1),
        "turned": picture.rotate(2, Image.Resampling.BICUBIC),
    }[change]
    file = BytesIO()
    picture.save(file, "JPEG", quality=60)
    return file.getvalue()


def test_there_is_a_mark_a_table_the_same_whatever_the_batch(faces: np.ndarray, own: np.ndarray) -> None:
    assert own.shape == (len(faces), TABLES)
    assert own.dtype == np.uint64
    # A number at the very edge of a cell may be rounded into the next one.
    shuffled = np.random.default_rng(0).permutation(len(faces))
    assert (marks(KEY, faces[shuffled]) == own[shuffled]).mean() > 0.99
    assert (marks(KEY, faces[3:4]) == own[3:4]).mean() > 0.97
    assert marks(KEY, faces[:0]).shape == (0, TABLES)


@pytest.mark.parametrize("change", ["saved at quality 60", "half as large", "cropped", "brighter", "turned"])
def test_copies_of_a_photo_are_nearly_equal(photos: Path, own: np.ndarray, change: str) -> None:
    copies, refused = read_faces([in_a_photo(path, change) for path in sorted(photos.glob("*.jpg"))])
    assert not refused
    assert alike(own, marks(KEY, copies)).mean() >= 0.92


def test_samples_that_are_moved_or_noisy_are_nearly_equal(faces: np.ndarray, own: np.ndarray) -> None:
    moved = np.pad(faces, ((0, 0), (0, 1), (1, 0), (0, 0)), "edge")[:, 1:, :64]
    noisy = np.clip(faces + np.random.default_rng(0).normal(0, 5, faces.shape), 0, 255).astype(np.uint8)
    assert alike(own, marks(KEY, moved)).mean() >= 0.92
    assert alike(own, marks(KEY, noisy)).mean() >= 0.96


def test_photos_of_different_people_are_not(own: np.ndarray) -> None:
    shared = (own[:, None] == own[None]).sum(axis=2)
    assert shared[~np.eye(len(own), dtype=bool)].max() < ENOUGH


def test_marks_of_two_keys_have_nothing_in_common(faces: np.ndarray, own: np.ndarray) -> None:
    assert not np.isin(marks(bytes(32), faces), own).any()
    with pytest.raises(UsageError, match="32 secret random bytes"):
        marks(b"short", faces)


def test_marks_of_two_tables_have_nothing_in_common(own: np.ndarray) -> None:
    """Cells can be the same in two tables; marks cannot, or an attacker could tell that they are."""
    assert all(not np.isin(own[:, table], np.delete(own, table, axis=1)).any() for table in range(TABLES))


def test_marks_are_not_the_start_of_a_sample_digest(faces: np.ndarray, own: np.ndarray) -> None:
    started = [int.from_bytes(digest[:8], "little") for digest in sample_digests(KEY, faces)]
    assert not np.isin(np.array(started, np.uint64), own).any()


def test_marks_are_those_of_the_first_version() -> None:
    """Other marks would not find what was released before: a ledger would need another schema."""
    across, down = np.meshgrid(np.arange(64), np.arange(64))
    pattern = np.stack([2 * across + down, 200 - 2 * down, 128 + 60 * np.sin(across / 5)], axis=2)
    known = [4684161722049658703, 606875663618264098, 14557734516086112105]
    assert marks(KEY, pattern[None].astype(np.uint8))[0, :3].tolist() == known


def test_what_is_no_face_has_marks_too() -> None:
    rng = np.random.default_rng(0)
    odd = np.stack([np.zeros((64, 64, 3)), np.full((64, 64, 3), 255), rng.integers(0, 256, (64, 64, 3))])
    with np.errstate(all="raise"):
        found = marks(KEY, odd.astype(np.uint8))
    assert (found[2] == found[0]).sum() < ENOUGH


def test_a_moved_frame_shows_what_is_there() -> None:
    pictures = np.random.default_rng(0).random((2, 3, likeness.SIZE, likeness.SIZE)).astype(np.float32)
    as_it_is, right = np.zeros((2, 4), np.float32), np.tile(np.float32([0, 0, 1, 0]), (2, 1))
    inside = slice(2, -2)
    assert np.allclose(likeness.seen(pictures, as_it_is)[:, :, inside, inside], pictures[:, :, inside, inside])
    moved = likeness.seen(pictures, right)[:, :, inside, inside]
    assert np.allclose(moved, np.roll(pictures, -1, axis=3)[:, :, inside, inside], atol=1e-5)
