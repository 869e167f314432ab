"""Reading photos: whatever comes in, clean pixels or a refusal by name; what goes out holds pixels alone."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pytest
from PIL import Image, ImageFile

from privsdk.errors import REFUSAL_REASONS, Refusal
from privsdk.samples import images


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[hostile.Case]:
    return hostile.make(tmp_path_factory.mktemp("hostile"))


def unexpected(case: hostile.Case, read: Callable[[Any], images.Pixels] = images.read) -> str | None:
    """What is wrong with how a case was read, if anything."""
    try:
        pixels = read(case.source)
    except Refusal as refusal:
        return None if refusal.reason == case.reason else f"refused as {refusal.reason}"
    if case.reason is not None:
        return f"read, not refused as {case.reason}"
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        return f"gives {pixels.dtype} {pixels.shape}"
    if case.shows == "anything":
        return None
    wanted = hostile.picture()
    if case.shows == "grey":
        wanted = np.repeat((wanted @ [0.299, 0.587, 0.114])[..., None], 3, axis=2)
    if pixels.shape != wanted.shape:
        return f"gives {pixels.shape}"
    difference = np.abs(pixels - wanted.astype(float)).mean()
    return None if difference < 4 else f"shows something else: {difference:.1f} grey levels off"


def test_each_file_is_refused_by_name_or_read(cases: list[hostile.Case]) -> None:
    assert len(cases) >= 60
    wrong = {case.name: unexpected(case) for case in cases}
    assert {name: what for name, what in wrong.items() if what} == {}


def test_threads_may_read_at_once(cases: list[hostile.Case]) -> None:
    with ThreadPoolExecutor(8) as pool:
        wrong = list(pool.map(unexpected, cases * 2))
    assert [what for what in wrong if what] == []


def test_refusals_say_what_to_do(cases: list[hostile.Case]) -> None:
    for case in cases:
        if case.reason is not None:
            with pytest.raises(Refusal) as caught:
                images.read(case.source)
            assert caught.value.reason in REFUSAL_REASONS
            assert caught.value.detail.endswith("."), case.name


def test_size_is_looked_at_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(self: ImageFile.ImageFile) -> None:
        raise AssertionError("decoded")

    photo = hostile.encoded("JPEG")
    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    sizes: list[int] = []
    with pytest.raises(Refusal) as caught:
        images.decoded(photo, 64 * 48 - 1, sizes.append)
    assert (caught.value.reason, sizes) == ("too-large", [])
    with pytest.raises(Refusal, match="contradicts itself") as caught:
        images.decoded(photo, 64 * 48, sizes.append)
    assert (str(caught.value.__cause__), sizes) == ("decoded", [64 * 48])
    with pytest.raises(Refusal) as caught:
        images.read(photo, images.Limits(bytes=len(photo) - 1))
    assert caught.value.reason == "too-large"


def test_limits_are_inclusive() -> None:
    photo = hostile.encoded("PNG")
    assert images.read(photo, images.Limits(bytes=len(photo), pixels=64 * 48)).shape == (48, 64, 3)


def test_own_limit_holds_where_pillow_has_none(cases: list[hostile.Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    giants = [case for case in cases if case.reason == "too-large" and case.name != "too many bytes"]
    assert len(giants) >= 11
    wrong = [unexpected(case, lambda path: images.decoded(path.read_bytes())) for case in giants]
    assert [what for what in wrong if what] == []


def test_transparent_is_white() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (images.read(hostile.encoded("PNG", clear)) == 255).all()
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert (images.read(hostile.encoded("PNG", half)) == 127).all()


def test_sixteen_bits_keep_black_and_white() -> None:
    ends = Image.fromarray(np.array([[0, 65535, 32896]], np.uint16))
    assert images.read(hostile.encoded("PNG", ends))[0, :, 0].tolist() == [0, 255, 128]


def test_heic_is_read_with_the_extra(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif, the extra privsdk[heic]")
    stored = Image.fromarray(hostile.picture()).transpose(Image.Transpose.ROTATE_90)
    pillow_heif.from_pillow(stored).save(tmp_path / "photo.heic", quality=95, exif=hostile.exif(6))
    pixels = images.read(tmp_path / "photo.heic")
    assert pixels.shape == (48, 64, 3)
    assert np.abs(pixels - hostile.picture().astype(float)).mean() < 4

    data = (tmp_path / "photo.heic").read_bytes()
    for length in (24, 100, len(data) // 2, len(data) - 20):
        with pytest.raises(Refusal) as caught:
            images.read(data[:length])
        assert caught.value.reason == "damaged"


def test_heic_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(Refusal) as caught:
        images.decoded(b"\x00\x00\x00\x18ftypheic" + bytes(64))
    assert caught.value.reason == "not-an-image"
    assert "privsdk[heic]" in caught.value.detail


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_written_images_hold_pixels_alone(format: images.Format) -> None:
    original = hostile.talkative(format.upper())
    assert hostile.SECRET in original
    pixels = images.read(original)
    written = images.to_bytes(pixels, format)
    assert hostile.SECRET not in written

    again = Image.open(io.BytesIO(written))
    again.load()
    assert not again.getexif()
    assert not {"exif", "icc_profile", "comment", "xmp", "photoshop", "dpi", "Author"} & set(again.info)
    for marker in (
        b"Exif",
        b"EXIF",
        b"ICC",
        b"iCCP",
        b"XMP",
        b"xmp",
        b"tEXt",
        b"iTXt",
        b"zTXt",
        b"tIME",
        b"pHYs",
    ):
        assert marker not in written
    if format == "jpeg":
        assert b"\xff\xfe" not in written[: written.index(b"\xff\xda")]  # a comment
        assert np.abs(images.read(written) - pixels.astype(float)).mean() < 2
    else:
        assert (images.read(written) == pixels).all()


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_the_same_pixels_give_the_same_file(format: images.Format) -> None:
    fortran = np.asfortranarray(hostile.picture())
    assert images.to_bytes(fortran, format) == images.to_bytes(hostile.picture(), format)


def test_warp_agrees_with_a_crop() -> None:
    rng = np.random.default_rng(0)
    smooth = images.resize(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8), 400, 400)
    for side in (64, 150, 333):
        step = side / 64
        warped = images.warp(smooth, np.array([[step, 0, 20.5], [0, step, 31.0]]), 64)
        cropped = images.crop_resize(smooth, (20.5, 31.0, 20.5 + side, 31.0 + side), 64)
        assert np.abs(warped.astype(float) - cropped).mean() < 1.5


def test_warp_repeats_the_border_and_stays_small() -> None:
    pixels = np.full((20, 30, 3), 77, np.uint8)
    for step in (0.1, 1.0, 33.3, 1e4):
        assert (images.warp(pixels, np.array([[step, 0, -1e4], [0, step, 1e4]]), 64) == 77).all()


def test_sheet_holds_every_picture() -> None:
    red, blue = np.zeros((2, 8, 8, 3), np.uint8)
    red[..., 0] = blue[..., 2] = 255
    paper = images.sheet([[red, blue], [blue]], ["before", "after"])
    assert paper.dtype == np.uint8
    assert (paper == [255, 0, 0]).all(axis=2).sum() == 64
    assert (paper == [0, 0, 255]).all(axis=2).sum() == 128


def test_photos_are_told_by_their_suffix() -> None:
    assert images.is_photo(Path("a.JPG"))
    assert images.is_photo(Path("a.heic"))
    assert not images.is_photo(Path("notes.txt"))
    assert not images.is_photo(Path("photo"))
