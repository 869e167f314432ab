"""The recipe for digits and tables: what it reads and refuses, and a bundle of made-up samples."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the central trainer needs the extra 'export'")

from export import to_onnx  # noqa: E402
from export.datasets import adult, mnist  # noqa: E402
from export.datasets.labelled import TEST, TRAIN, VALID  # noqa: E402
from export.networks.bernoulli import BernoulliVAE, DigitVAE, TableVAE  # noqa: E402
from export.public_latents import separability  # noqa: E402
from privsdk.errors import TrainingDataError  # noqa: E402
from privsdk.samples.tables import Numbers  # noqa: E402

ROW = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, 2174, 0, 40, "
    "United-States, <=50K"
)


def idx(array: np.ndarray) -> bytes:
    """A compressed idx file of bytes."""
    heading = np.array([0x800 + array.ndim, *array.shape], ">u4").tobytes()
    content = heading + array.astype(np.uint8).tobytes()
    return gzip.compress(content, mtime=0)  # the same in every process, as a test's name must be


def write_digits(folder: Path, training: int = 480, test: int = 60) -> Path:
    """Made-up digits: for each a row of ink of its own, and some dirt."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for count, images, labels in ((training, *mnist.FILES[:2]), (test, *mnist.FILES[2:])):
        digits = np.arange(count) % 10
        pixels = rng.integers(0, 40, (count, 28, 28))
        for row in (0, 1):
            pixels[np.arange(count), 2 * digits + 4 + row, 4:24] = rng.integers(200, 256, (count, 20))
        (folder / images).write_bytes(idx(pixels))
        (folder / labels).write_bytes(idx(digits))
    return folder


def write_rows(folder: Path, training: int = 480, test: int = 60) -> Path:
    """Made-up people, half of them men who are married, old, and often rich."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for count, name, ending in ((training, "adult.data", ""), (test, "adult.test", ".")):
        lines = ["|1x3 Cross validator", ROW.replace("State-gov", "?")]
        for male in rng.integers(0, 2, count):
            rich = rng.random() < (0.7 if male else 0.2)
            fields = ROW.split(", ")
            fields[0] = str(rng.integers(40, 90) if male else rng.integers(17, 50))
            fields[3] = str(rng.choice(adult.EDUCATIONS))
            fields[5], fields[7] = ("Married-civ-spouse", "Husband") if male else ("Divorced", "Unmarried")
            fields[8] = str(rng.choice(adult.RACES[:2]))
            fields[9] = "Male" if male else "Female"
            fields[10] = "7688" if rich else "0"
            fields[13] = str(rng.choice(["United-States", "Laos"]))
            fields[14] = (">50K" if rich else "<=50K") + ending
            lines.append(", ".join(fields))
        (folder / name).write_text("\n".join(lines) + "\n\n")
    return folder


def test_digits_are_read(tmp_path: Path) -> None:
    digits = mnist.load(write_digits(tmp_path))
    assert digits.samples.shape == (540, 28, 28)
    assert [len(digits.part(partition)) for partition in (TRAIN, VALID, TEST)] == [440, 40, 60]
    named = [{name for name, on in zip(digits.attributes, row, strict=True) if on} for row in digits.labels[:10]]
    assert named[0] == {"Digit 0", "Circle", "Even"}
    assert named[7] == {"Digit 7", "At least 5"}
    assert named[9] == {"Digit 9", "Circle", "At least 5"}
    assert (digits.labels[:, : len(digits.groups["Digit"])].sum(axis=1) == 1).all()


def test_rows_become_one_hot_groups(tmp_path: Path) -> None:
    rows = adult.load(write_rows(tmp_path))
    assert rows.samples.shape == (540, 109)
    assert [len(rows.part(partition)) for partition in (TRAIN, VALID, TEST)] == [408, 72, 60]
    for group in np.split(rows.samples, np.cumsum(adult.SIZES)[:-1], axis=1):
        assert (group.sum(axis=1) == 1).all()
    (tmp_path / "adult.data").write_text(ROW)
    samples, labels = adult.read_rows(tmp_path / "adult.data")
    # 39 years; State-gov; Bachelors; ... a gain below 4,000; no loss; 40 hours; the United States.
    assert np.flatnonzero(samples[0]).tolist() == [5, 17, 31, 39, 50, 59, 62, 68, 74, 84, 89]
    assert dict(zip(adult.ATTRIBUTES, labels[0].tolist(), strict=True)) == {
        "Sex": 1, "Income": 0, "Married": 0, "White": 1, "Born in the US": 1, "College degree": 1,
    }  # fmt: skip


GOOD = np.zeros((480, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "is no idx file"),
        (idx(GOOD)[:-20], "cannot be unpacked"),
        (gzip.compress(b"", mtime=0), "is no idx file"),
        (gzip.compress(b"abc", mtime=0), "is no idx file"),
        (idx(GOOD[:, 0]), "is no idx file"),
        (idx(np.zeros((480, 29, 28), np.uint8)), "is no idx file"),
        (idx(GOOD[:0]), "is no idx file"),
        (idx(GOOD[:479]), "holds 479 images"),
        (gzip.compress(gzip.decompress(idx(GOOD)) + b"more", mtime=0), "has more, unpacked, not 376336"),
        (gzip.compress(gzip.decompress(idx(GOOD))[:-1], mtime=0), "has 376335 bytes, unpacked, not 376336"),
    ],
)
def test_damaged_digits_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    data = write_digits(tmp_path)
    (data / mnist.FILES[0]).write_bytes(content)
    with pytest.raises(TrainingDataError, match=message):
        mnist.load(data)


def test_a_missing_file_and_a_label_that_is_no_digit_are_refused(tmp_path: Path) -> None:
    data = write_digits(tmp_path)
    (data / mnist.FILES[1]).write_bytes(idx(np.full(480, 10)))
    with pytest.raises(TrainingDataError, match="the label 10, which is no digit"):
        mnist.load(data)
    (data / mnist.FILES[1]).unlink()
    with pytest.raises(TrainingDataError, match="is missing; MNIST is the four files"):
        mnist.load(data)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Bachelors", "Baccalaureate", "line 1: education is 'Baccalaureate': it is one of"),
        ("39,", "old,", "line 1: age is 'old': it is a whole number"),
        ("Male", "male", "line 1: a label is not one of Female, Male"),
        ("<=50K", "50K", "line 1: a label is not one of <=50K"),
        (", 40", "", "line 1: 14 fields, not 15"),
        ("39", "?", "no row without a '\\?'"),
        (ROW, "", "no row without a '\\?'"),
    ],
)
def test_damaged_rows_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "adult.data"
    path.write_text(ROW.replace(old, new))
    with pytest.raises(TrainingDataError, match=message):
        adult.read_rows(path)


def test_rows_that_are_not_there_or_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="adult.data is missing; Adult is the files"):
        adult.load(tmp_path)
    (tmp_path / "adult.data").write_bytes(b"\xff\xfe39")
    with pytest.raises(TrainingDataError, match="is no UTF-8"):
        adult.load(tmp_path)


@pytest.mark.parametrize("network", [lambda: DigitVAE(10, 13), lambda: TableVAE(30, 6, adult.SIZES)])
def test_the_graphs_equal_torch(network: Callable[[], BernoulliVAE]) -> None:
    torch.manual_seed(0)
    vae = to_onnx.as_exported(network())
    with torch.no_grad():
        vae.decoder[-2 if isinstance(vae, DigitVAE) else -1].weight *= 20  # so that what is decoded varies
    graphs = {"encoder.onnx": to_onnx.encoder_graph(vae), "decoder.onnx": to_onnx.decoder_graph(vae)}
    samples = np.random.default_rng(0).integers(0, 2, (300, *vae.sample_shape), dtype=np.uint8)
    found = to_onnx.differences(vae, graphs, samples)
    assert found["largest latent difference from torch"] < 1e-4
    assert found["largest pixel difference from torch"] <= 1


def test_a_drawn_row_has_one_1_in_each_group() -> None:
    vae = TableVAE(30, 6, adult.SIZES)
    logits = torch.full((4000, 109), -4.0)
    logits[:, [0, 3]] = torch.tensor([0.0, -1.0])  # .5 and .27, and .018 for the other ten
    rows = vae.drawn(logits, torch.Generator().manual_seed(0))
    for group in rows.split(list(adult.SIZES), dim=1):
        assert (group.sum(dim=1) == 1).all()
    assert abs(rows[:, 0].float().mean() - 0.5 / (0.5 + 0.269 + 0.18)) < 0.03
    assert (vae.to_samples(logits)[:, 0] == 1).all()


def test_latents_of_another_shape_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    real, like, wider = (spread * rng.standard_normal((1500, 4)).astype(np.float32) for spread in (1, 1, 2))
    assert all(0.45 < auroc < 0.55 for auroc in separability(real, like, seed=0).values())
    assert all(auroc > 0.75 for auroc in separability(real, wider, seed=0).values())


def test_what_the_bundle_says_of_adults_columns_is_true_of_the_rows() -> None:
    """Numbers come back as the medians of their bins, and a column repeats an attribute that it says outright."""
    folder = Path(os.environ.get("PRIVSDK_DATA", "")) / "adult"
    if not folder.is_dir():
        pytest.skip("PRIVSDK_DATA has no adult/")
    train = adult.load(folder).part(TRAIN)
    text = (folder / "adult.data").read_text().splitlines()
    whole = [dict(zip(adult.FIELDS, line.split(", "), strict=True)) for line in text if line and "?" not in line]
    rows = [row for row, part in zip(whole, adult.load(folder).partition, strict=False) if part == TRAIN]
    begin = 0
    for column in adult.TABLE.columns:
        places = train.samples[:, begin : begin + len(column)].argmax(axis=1)
        begin += len(column)
        if isinstance(column, Numbers):
            numbers = np.array([int(row[column.name]) for row in rows])
            medians = [int(np.median(numbers[places == place])) for place in range(len(column))]
            assert column.typical == tuple(medians)
        repeats = []
        for attribute, labels in zip(train.attributes, train.labels.T, strict=True):
            share = [np.mean(labels[places == place] == side) for side in (0, 1) for place in range(len(column))]
            certain = np.array(share).reshape(2, -1) >= 0.99
            if any(certain[side, places[labels == side]].mean() >= 0.5 for side in (0, 1)):
                repeats.append(attribute)
        assert column.repeats == tuple(repeats)
