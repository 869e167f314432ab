"""Digits in image files and in MNIST's own format.  They are decoded from public latents: nobody wrote them."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from privsdk import Bundle, Privatizer, Refusal, Release, UsageError, read_digits, read_idx
from privsdk.cli import app
from privsdk.samples import images
from privsdk.samples.digits import digit_in, idx_bytes

KEY = bytes(32)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open("mnist")


@pytest.fixture(scope="module")
def digits(bundle: Bundle) -> NDArray[np.uint8]:
    return bundle.decode(bundle.public.mean[:40])


@pytest.fixture(scope="module")
def privatizer(bundle: Bundle) -> Privatizer:
    pytest.importorskip("torch")
    from privsdk import fit

    return fit(bundle, "at least 5", "even")


def test_an_image_of_a_digit_is_read_as_it_is(digits: NDArray[np.uint8], tmp_path: Path) -> None:
    for number, digit in enumerate(digits[:5]):
        (tmp_path / f"{number}.png").write_bytes(images.to_bytes(digit, "png"))
    read, refusals = read_digits(sorted(tmp_path.iterdir()))
    assert not refusals
    assert (read == digits[:5]).all()


def test_what_is_no_digit_is_refused(digits: NDArray[np.uint8]) -> None:
    with pytest.raises(Refusal, match="a digit has 28 x 28") as caught:
        digit_in(np.zeros((64, 64, 3), np.uint8))
    assert caught.value.reason == "wrong-size"
    with pytest.raises(Refusal, match="invert it") as caught:
        digit_in(np.repeat(255 - digits[0][..., None], 3, axis=2))
    assert caught.value.reason == "dark-on-light"
    read, refusals = read_digits([b"no image", images.to_bytes(digits[0], "png")])
    assert (len(read), [one.source for one in refusals]) == (1, ["bytes[0]"])


@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_file_comes_back(digits: NDArray[np.uint8], tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "some-idx3-ubyte"
    path.write_bytes(idx_bytes(digits, packed))
    assert (read_idx(path) == digits).all()


def test_idx_files_that_are_none(digits: NDArray[np.uint8], tmp_path: Path) -> None:
    whole, path = idx_bytes(digits, packed=False), tmp_path / "idx3-ubyte"
    bomb = io.BytesIO()
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        file.write(whole[:16])
        for _ in range(790):
            file.write(bytes(1 << 20))
    for content in (
        b"",
        whole[:-1],
        whole + b"\0",
        whole[4:],
        gzip.compress(whole)[:-9],
        b"\x1f\x8bno",
        bomb.getvalue(),
    ):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="get it again"):
            read_idx(path)


def test_a_folder_of_digits_becomes_one_of_others(
    digits: NDArray[np.uint8], privatizer: Privatizer, tmp_path: Path
) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    for number, digit in enumerate(digits[:8]):
        (folder / f"{number}.png").write_bytes(images.to_bytes(digit, "png"))
    (folder / "large.png").write_bytes(images.to_bytes(np.zeros((64, 64, 3), np.uint8), "png"))
    results = privatizer.release(folder, tmp_path / "released", key=KEY, preview=tmp_path / "preview.png")
    released = [one for one in results if isinstance(one, Release)]
    assert [one.reason for one in results if isinstance(one, Refusal)] == ["wrong-size"]
    assert {(one.width, one.height) for one in released} == {(28, 28)}
    read, refusals = read_digits([one.path for one in released])
    assert (len(read), refusals) == (8, [])
    assert np.abs(read.astype(int) - digits[:8]).mean(axis=(1, 2)).min() > 2
    assert (read == privatizer.privatize(digits[:8], key=KEY)).all()
    with pytest.raises(UsageError, match="none is aligned"):
        privatizer.release(folder, tmp_path / "more", aligned=True)


def test_an_idx_file_becomes_another(digits: NDArray[np.uint8], privatizer: Privatizer, tmp_path: Path) -> None:
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(idx_bytes(digits, packed=True))
    privatizer.save(tmp_path / "five.privatizer")
    arguments = ["privatize", "--privatizer", str(tmp_path / "five.privatizer"), str(path)]
    done = CliRunner().invoke(app, [*arguments, "--order", "kept"])
    assert done.exit_code == 0, done.output
    released = read_idx(tmp_path / "t10k-images-released-idx3-ubyte.gz")
    assert "40 digits released to" in done.stdout
    assert released.shape == digits.shape
    assert np.abs(released.astype(int) - digits).mean(axis=(1, 2)).min() > 2
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, "exists already" in done.stderr) == (2, True)
    shuffled = privatizer.release_idx(path, tmp_path / "idx3-ubyte", key=KEY)
    assert shuffled.samples == 40
    assert not (tmp_path / "idx3-ubyte").read_bytes().startswith(b"\x1f\x8b")


def test_own_images_of_digits_are_handed_over_in_python(privatizer: Privatizer, tmp_path: Path) -> None:
    saved = tmp_path / "five.privatizer"
    privatizer.save(saved)
    run = CliRunner().invoke
    wish = ["--bundle", "mnist", "--private", "even", "--utility", "circle", "-o", str(tmp_path / "new")]
    for arguments in (
        ["fit", *wish, str(tmp_path)],
        ["audit", str(saved), "--data", str(tmp_path), "--labels", "l.csv"],
    ):
        done = run(app, arguments)
        assert (done.exit_code, "the bundle mnist is not for faces" in done.stderr) == (2, True)
