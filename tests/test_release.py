"""What leaves the device: whole, clean images and their record, and nothing else."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pytest
from make_bundle import flow_privatizer, label_aware_privatizer, make_bundle, record
from PIL import Image
from test_privatizer import Stub, unchanged_in_row_two

from privsdk import (
    Bundle,
    CancelledError,
    OutputExistsError,
    Privatizer,
    Refusal,
    Release,
    UsageError,
    plan_release,
    read_labels,
)
from privsdk.release import photos as releasing
from privsdk.release.repeats import RELEASED_AT
from privsdk.samples import faces, images, reader
from privsdk.store import folder as folders

MARK = "who-took-this-photo"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(make_bundle(tmp_path_factory.mktemp("bundles") / "tiny"))


@pytest.fixture(scope="module")
def privatizer(tiny: Bundle) -> Privatizer:
    return flow_privatizer(tiny)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Five aligned faces that carry metadata, in a folder with something that is no photo."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        save_photo(folder / f"person-{number}.jpg", number)
    (folder / "notes.txt").write_text("no photo")
    return folder


def save_photo(path: Path, seed: int) -> None:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x013B] = MARK
    image = Image.fromarray(coarse.repeat(8, axis=0).repeat(8, axis=1))
    image.save(path, exif=exif, comment=MARK, quality=95)


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "release.jsonl").read_text().splitlines()]


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_one_clean_image_a_face_beside_the_input(privatizer: Privatizer, inputs: Path) -> None:
    before = contents(inputs)
    results = privatizer.release([inputs], aligned=True)
    output = inputs.parent / "photos-released"
    assert contents(inputs) == before
    assert [result.position for result in results] == [0, 1, 2, 3, 4]
    assert all(isinstance(result, Release) for result in results)
    assert {path.name for path in output.iterdir()} == {
        "release.jsonl",
        *(result.path.name for result in results if isinstance(result, Release)),
    }
    lines = {line["file"]: line for line in lines_of(output)}
    assert list(lines) == sorted(lines)  # whose photo is the first is not told
    for result in results:
        assert isinstance(result, Release)
        assert len(result.path.stem) == 32
        line = lines[result.path.name]
        with Image.open(result.path) as image:
            assert image.size == (64, 64)
            assert (image.info, dict(image.getexif())) == ({}, {})
        assert line == {
            "status": "released",
            "file": result.path.name,
            "format": "png",
            "width": 64,
            "height": 64,
            "bundle": privatizer.bundle.digest,
            "run": result.run,
            "labels": {},
        }
        assert result.path.stat().st_mtime == RELEASED_AT
    assert len({line["run"] for line in lines.values()}) == 1


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_nothing_of_the_original_is_in_any_file(privatizer: Privatizer, inputs: Path, format: Any) -> None:
    output = inputs.parent / "out"
    privatizer.release([inputs], output, aligned=True, format=format)
    for path in output.iterdir():
        content = path.read_bytes()
        for trace in (MARK, "person", "photos", "Male", "male", "Smiling", str(inputs.parent)):
            assert trace.encode() not in content, path
            assert trace not in path.name
        if path.suffix != ".jsonl":
            with Image.open(io.BytesIO(content)) as image:
                assert (image.format, dict(image.getexif())) == (format.upper(), {})
                assert "comment" not in image.info


def test_the_pixels_are_those_of_privatize(privatizer: Privatizer, inputs: Path) -> None:
    key = bytes(32)
    results = privatizer.release([inputs], aligned=True, key=key)
    photos = np.stack([np.array(Image.open(photo)) for photo in sorted(inputs.glob("*.jpg"))])
    expected = privatizer.privatize(photos, key=key)
    for result, pixels in zip(results, expected, strict=True):
        assert isinstance(result, Release)
        assert (np.array(Image.open(result.path)) == pixels).all()


def test_refusals_stand_in_order_and_without_a_name(privatizer: Privatizer, inputs: Path) -> None:
    (inputs / "person-2.jpg").write_bytes(b"secret-name is no image")
    paths = [*sorted(inputs.glob("*.jpg")), inputs / "gone-person.jpg"]
    output = inputs.parent / "out"
    results = privatizer.release(paths, output, aligned=True)
    assert [type(result) for result in results] == [Release, Release, Refusal, Release, Release, Refusal]
    assert [(result.source, result.position) for result in results] == [
        (str(path), position) for position, path in enumerate(paths)
    ]
    lines = lines_of(output)
    assert [line.get("reason") for line in lines] == [None] * 4 + ["not-an-image", "not-found"]
    assert {*lines[-1]} == {"status", "reason", "run"}
    text = (output / "release.jsonl").read_text()
    assert "person" not in text
    assert "secret" not in text


def test_a_name_that_is_too_long_for_its_new_suffix_is_kept_in_part(privatizer: Privatizer, inputs: Path) -> None:
    for stem in ("ä" * 125, "ä" * 124 + "b"):  # 254 and 253 bytes with .jpg; the first 200 are the same
        save_photo(inputs / f"{stem}.jpg", 9)
    output = inputs.parent / "out"
    results = privatizer.release([inputs], output, aligned=True, names="keep", format="jpeg")
    assert all(isinstance(result, Release) for result in results)
    assert {"ä" * 100 + ".jpeg", "ä" * 100 + "-2.jpeg"} < {path.name for path in output.iterdir()}


def test_names_can_be_kept(privatizer: Privatizer, inputs: Path) -> None:
    other = inputs / "more"
    other.mkdir()
    save_photo(other / "person-0.png", 9)
    (inputs / "person-4.jpg").write_bytes(b"broken")
    output = inputs.parent / "out"
    privatizer.release([inputs, other], output, aligned=True, names="keep")
    assert {path.name for path in output.glob("*.png")} == {
        "person-0.png",
        "person-0-2.png",
        "person-1.png",
        "person-2.png",
        "person-3.png",
    }
    assert [line["source"] for line in lines_of(output) if line["status"] == "refused"] == ["person-4.jpg"]
    assert MARK not in "".join(path.read_bytes().decode("latin-1") for path in output.iterdir())


def test_utility_labels_that_were_given_go_along_and_private_ones_never(tiny: Bundle, inputs: Path) -> None:
    table = inputs.parent / "labels.csv"
    table.write_text("photo,Male,smiling,Young\nperson-0.jpg,1,0,1\nphotos/person-1.jpg,0,yes,0\nperson-1.jpg,1,no,0\n")
    output = inputs.parent / "out"
    results = label_aware_privatizer(tiny).release([inputs], output, labels=read_labels(table), aligned=True)
    reasons = [result.reason for result in results if isinstance(result, Refusal)]
    assert reasons == ["label-missing"] * 3
    assert [dict(result.labels) for result in results if isinstance(result, Release)] == [
        {"Smiling": 0},
        {"Smiling": 1},
    ]
    assert sorted(line["labels"]["Smiling"] for line in lines_of(output)[:2]) == [0, 1]
    text = (output / "release.jsonl").read_text()
    assert "ale" not in text.replace("false", "")
    assert "Young" not in text


@pytest.fixture
def a_pair(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A detector that finds two faces in every photo, the second with that distance between its eyes."""

    def find(eye_distance: float) -> None:
        landmarks = np.array([[20, 30], [44, 30], [32, 40], [24, 50], [40, 50]], np.float32)
        small = landmarks * (eye_distance / 24)
        found = [
            faces.Face(0.9, np.array([0, 0, side, side], np.float32), at) for side, at in ((64, landmarks), (9, small))
        ]
        monkeypatch.setattr(faces.Detector, "find", lambda self, image: found)

    return find


@pytest.mark.parametrize(("chosen", "eye_distance"), [("largest", 24), ("all", 24), ("all", 5)])
def test_of_several_people_nobody_can_say_whose_a_label_is(
    tiny: Bundle, privatizer: Privatizer, inputs: Path, a_pair: Any, chosen: Any, eye_distance: float
) -> None:
    """Not even where all but one of them are left out."""
    a_pair(eye_distance)
    labels = {f"person-{number}.jpg": {"Male": 1, "Smiling": 1} for number in range(5)}
    results = privatizer.release([inputs], inputs.parent / "out", labels=labels, faces=chosen, names="keep")
    assert [dict(result.labels) for result in results if isinstance(result, Release)] == [{}] * len(results)
    both = chosen == "all" and eye_distance > faces.LEAST_EYE_DISTANCE
    assert (inputs.parent / "out" / ("person-0-face-2.png" if both else "person-0.png")).is_file()
    aware = label_aware_privatizer(tiny).release([inputs], inputs.parent / "aware", labels=labels, faces=chosen)
    assert [result.reason for result in aware if isinstance(result, Refusal)] == ["label-missing"] * 5


def test_one_line_of_labels_is_never_that_of_two_photos(privatizer: Privatizer, inputs: Path) -> None:
    other = inputs / "other"
    other.mkdir()
    save_photo(other / "person-1.jpg", 8)
    labels = {"person-1.jpg": {"Smiling": 1}, "other/person-1.jpg": {"Smiling": 0}}
    with pytest.raises(UsageError, match=r"the labels of person-1.jpg may be those of .*: write the folder"):
        privatizer.release(
            [inputs, other], inputs.parent / "out", labels={"person-1.jpg": {"Smiling": 1}}, aligned=True
        )
    assert not (inputs.parent / "out").exists()
    results = privatizer.release([inputs, other], inputs.parent / "out", labels=labels, aligned=True)
    given = {result.source: dict(result.labels) for result in results if isinstance(result, Release) and result.labels}
    assert given == {str(inputs / "person-1.jpg"): {"Smiling": 1}, str(other / "person-1.jpg"): {"Smiling": 0}}
    whole = {(inputs / "person-1.jpg").as_posix(): {"Smiling": 0}}
    (only,) = privatizer.release([inputs / "person-1.jpg"], inputs.parent / "again", labels=whole, aligned=True)
    assert isinstance(only, Release)
    assert only.labels == {"Smiling": 0}


def test_labels_are_numbers_of_any_kind_that_are_0_or_1(privatizer: Privatizer, inputs: Path) -> None:
    output = inputs.parent / "out"
    labels: Any = {"person-0.jpg": {"smiling": np.int64(1), "age": "41"}}
    first, *_ = privatizer.release([inputs], output, labels=labels, aligned=True)
    assert isinstance(first, Release)
    assert first.labels == {"Smiling": 1}
    assert sorted(str(line["labels"]) for line in lines_of(output))[0] == "{'Smiling': 1}"
    for value in (2, -1, 0.5, "1", None, float("nan")):
        with pytest.raises(UsageError, match=r"a label of person-0.jpg is neither 0 nor 1"):
            privatizer.release([inputs], labels={"person-0.jpg": {"smiling": value}}, aligned=True)  # type: ignore[dict-item]
    assert not (inputs.parent / "photos-released").exists()


@pytest.mark.parametrize("key", [b"x", "x" * 32, 32])
def test_what_is_no_key_is_refused_before_anything_is_made(privatizer: Privatizer, inputs: Path, key: Any) -> None:
    with pytest.raises(UsageError, match="hand over 32 secret random bytes"):
        privatizer.release([inputs], aligned=True, key=key)
    assert not (inputs.parent / "photos-released").exists()


def test_the_detector_has_the_threads_of_the_bundle(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []
    monkeypatch.setattr(reader, "Detector", lambda threads=1: asked.append(threads))
    bundle = Bundle.open(make_bundle(tmp_path / "tiny"), threads=3)
    flow_privatizer(bundle).release([inputs], aligned=True)
    assert asked == [3]


def test_a_label_aware_privatizer_without_labels_does_nothing(tiny: Bundle, inputs: Path) -> None:
    with pytest.raises(UsageError, match="needs the private label"):
        label_aware_privatizer(tiny).release([inputs], aligned=True)
    assert not (inputs.parent / "photos-released").exists()


def test_what_the_filter_leaves_as_it_was_is_kept_back(tiny: Bundle, inputs: Path) -> None:
    output = inputs.parent / "out"
    results = Privatizer(tiny, Stub(unchanged_in_row_two), record()).release([inputs], output, aligned=True)
    reasons = sorted(getattr(result, "reason", "") for result in results)
    assert reasons == ["", "", "", "", "not-privatized"]
    assert len(list(output.glob("*.png"))) == 4


@pytest.mark.parametrize("make", [lambda path: path.write_text("mine"), lambda path: save_inside(path)])
def test_an_existing_output_is_never_touched(
    privatizer: Privatizer, inputs: Path, make: Callable[[Path], object]
) -> None:
    output = inputs.parent / "photos-released"
    make(output)
    before = contents(inputs.parent)
    with pytest.raises(OutputExistsError, match="exists already"):
        privatizer.release([inputs], aligned=True)
    assert contents(inputs.parent) == before


def save_inside(folder: Path) -> None:
    folder.mkdir()
    (folder / "a").write_text("mine")


def test_the_input_folder_is_no_output(privatizer: Privatizer, inputs: Path) -> None:
    with pytest.raises(OutputExistsError):
        privatizer.release([inputs], inputs, aligned=True)


def test_an_output_inside_the_input_is_refused(privatizer: Privatizer, inputs: Path, tmp_path: Path) -> None:
    before = contents(inputs)
    (tmp_path / "link").symlink_to(inputs)
    for output in (inputs / "released", inputs / "deep" / "down", tmp_path / "link" / "released"):
        with pytest.raises(UsageError, match="among the photos: choose an output folder outside"):
            privatizer.release([inputs], output, aligned=True)
    assert contents(inputs) == before


def test_an_earlier_release_is_not_taken_for_photos(privatizer: Privatizer, inputs: Path) -> None:
    output = inputs.parent / "out"
    output.mkdir()  # an empty folder is as good as none
    assert len(privatizer.release([inputs], output, aligned=True)) == 5
    stopped = inputs.parent / "stopped"
    stopped.mkdir()
    for name in (".unfinished", "a.png"):
        (stopped / name).touch()
    assert len(plan_release([inputs.parent], inputs.parent.parent / "elsewhere", recursive=True).photos) == 5


def test_which_photos_are_found(inputs: Path) -> None:
    below = inputs / "below"
    below.mkdir()
    save_photo(below / "B.JPG", 1)
    (inputs / ".hidden.jpg").write_bytes(b"")
    (inputs / ".git").mkdir()
    (inputs / ".git" / "c.jpg").write_bytes(b"")
    names = [photo.name for photo in plan_release([inputs]).photos]
    assert names == [f"person-{number}.jpg" for number in range(5)]
    again = plan_release([inputs, inputs / "person-3.jpg", inputs / "notes.txt"], "out", recursive=True).photos
    assert [photo.name for photo in again] == ["B.JPG", *names, "notes.txt"]


def test_where_the_output_goes(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan_release([inputs]).output == inputs.parent / "photos-released"
    assert plan_release([inputs / "person-0.jpg"]).output == inputs / "person-0-released"
    monkeypatch.chdir(inputs)
    assert plan_release(["."]).output == inputs.parent / "photos-released"
    with pytest.raises(UsageError, match="several inputs"):
        plan_release([inputs / "person-0.jpg", inputs / "person-1.jpg"])
    with pytest.raises(UsageError, match="no photo is given"):
        plan_release([])
    (inputs.parent / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no photo in .*--recursive"):
        plan_release([inputs.parent / "empty"])


def test_the_preview_is_for_the_callers_own_eyes(privatizer: Privatizer, inputs: Path) -> None:
    preview, output = inputs.parent / "preview.png", inputs.parent / "out"
    privatizer.release([inputs], output, aligned=True, preview=preview)
    with Image.open(preview) as image:
        assert image.width > 6 * 128
        assert image.height > 2 * 128
    for bad, error in (
        (preview, OutputExistsError),
        (inputs.parent / "new" / "preview.png", UsageError),
        (inputs.parent / "preview.gif", UsageError),
    ):
        with pytest.raises(error):
            privatizer.release([inputs], inputs.parent / "new", aligned=True, preview=bad)
    assert not (inputs.parent / "new").exists()


def test_a_preview_that_cannot_be_is_noticed_before_anything_is_done(privatizer: Privatizer, inputs: Path) -> None:
    output, link = inputs.parent / "out", inputs.parent / "link"
    link.symlink_to(output, target_is_directory=True)
    for preview, said in (
        (inputs.parent / "nowhere" / "preview.png", "cannot be written"),
        (inputs / "notes.txt" / "preview.png", "cannot be written"),
        (link / "preview.png", "keep it out of"),
    ):
        with pytest.raises(UsageError, match=said):
            privatizer.release([inputs], output, aligned=True, preview=preview)
        assert not output.exists()


def test_one_path_is_one_photo(privatizer: Privatizer, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(inputs)
    for number, one in enumerate(("person-1.jpg", Path("person-1.jpg"))):
        (released,) = privatizer.release(one, f"../out-{number}", aligned=True)
        assert isinstance(released, Release)
        assert released.source == "person-1.jpg"
        samples, refusals = faces.read_faces(one, aligned=True)
        assert len(samples) == 1
        assert refusals == []


def test_names_that_some_disks_take_for_one_are_kept_apart(privatizer: Privatizer, inputs: Path) -> None:
    for number, name in enumerate(("\u00e9.jpg", "e\u0301.jpg", "E\u0301.jpg")):
        (inputs / str(number)).mkdir()
        save_photo(inputs / str(number) / name, number)
    photos = [next((inputs / str(number)).iterdir()) for number in range(3)]
    results = privatizer.release(photos, inputs.parent / "out", aligned=True, names="keep")
    names = {unicodedata.normalize("NFC", result.path.name).casefold() for result in results}  # type: ignore[union-attr]
    assert len(names) == 3


def test_hostile_files_are_refused_or_released_clean(privatizer: Privatizer, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    paths = {case.source for case in hostile.make(tmp_path / "files") if isinstance(case.source, Path)}
    results = privatizer.release(sorted(paths), tmp_path / "out")
    assert len(lines_of(tmp_path / "out")) == len(results) > 100
    for result in results:
        if isinstance(result, Release):
            image = Image.open(result.path)
            assert image.size == (64, 64)
            assert not image.info
            assert not image.getexif()


def test_eight_threads_release_what_one_does(privatizer: Privatizer, inputs: Path, tmp_path: Path) -> None:
    def release(number: int) -> list[bytes]:
        results = privatizer.release(inputs, tmp_path / f"out-{number}", aligned=True, key=bytes(32))
        return [result.path.read_bytes() for result in results if isinstance(result, Release)]

    with ThreadPoolExecutor(8) as threads:
        first, *others = threads.map(release, range(8))
    assert len(first) == 5
    assert all(other == first for other in others)


def test_a_photo_whose_path_cannot_be_looked_at_is_a_refusal_of_it_alone(privatizer: Privatizer, inputs: Path) -> None:
    output = inputs.parent / "out"
    results = privatizer.release([inputs / ("x" * 300), inputs, "person\0.jpg"], output, aligned=True)
    assert [getattr(result, "reason", "") for result in results] == ["not-found", *[""] * 5, "not-found"]
    with pytest.raises(UsageError, match="cannot be written: File name too long"):
        privatizer.release([inputs], inputs.parent / ("x" * 300), aligned=True)
    with pytest.raises(UsageError, match="cannot be written: File name too long"):
        privatizer.save(inputs / ("x" * 300))


def test_progress_and_cancel(privatizer: Privatizer, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releasing, "BATCH", 2)
    seen: list[tuple[str, int, int]] = []
    output = inputs.parent / "out"
    with pytest.raises(CancelledError, match="cancelled before photo 4 of 5"):
        privatizer.release(
            [inputs],
            output,
            aligned=True,
            on_progress=lambda *step: seen.append(step),
            cancel=lambda: len(seen) == 3,
        )
    assert seen == [("privatizing", number, 5) for number in (1, 2, 3)]
    before = contents(output)
    assert {path.suffix for path in output.iterdir()} == {".png", ""}
    assert (output / ".unfinished").is_file()
    results = privatizer.release([inputs], output, aligned=True)
    assert before.items() - contents(output).items() == {(".unfinished", hashlib.sha256(b"").hexdigest())}
    assert len(before) == 3
    assert {line["file"] for line in lines_of(output)} == {path.name for path in output.glob("*.png")}
    assert [result.position for result in results] == [0, 1, 2, 3, 4]


def test_a_full_disk_is_a_usage_error_and_leaves_no_half_file(
    privatizer: Privatizer, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 6:
            raise OSError(28, "No space left on device")
        real(descriptor)

    output = inputs.parent / "out"
    with monkeypatch.context() as patch:
        patch.setattr(folders.os, "fsync", full)
        with pytest.raises(UsageError, match="No space left on device"):
            privatizer.release([inputs], output, aligned=True)
    assert not list(output.glob("*.part"))
    assert not (output / "release.jsonl").exists()
    assert len(privatizer.release([inputs], output, aligned=True)) == 5
    assert {line["file"] for line in lines_of(output)} == {path.name for path in output.glob("*.png")}


KILLED = """
import sys
from make_bundle import flow_privatizer
from privsdk import Bundle
from privsdk.release import photos as releasing
releasing.BATCH = 1
bundle, photos, output = sys.argv[1:]
flow_privatizer(Bundle.open(bundle)).release([photos], output, aligned=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_process_that_is_killed_leaves_whole_files_and_another_goes_on(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, output = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(300):
        save_photo(photos / f"{number}.jpg", number)
    bundle = make_bundle(tmp_path / "tiny")
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(bundle), str(photos), str(output)],
        env=os.environ | {"PYTHONPATH": f"{repository}{os.pathsep}{repository / 'tests'}"},
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and len(list(output.glob("*.png"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.read_bytes() for path in output.glob("*.png")}
    assert 5 <= len(before) < 300
    for path in before:
        with Image.open(path) as image:
            image.load()
            assert image.size == (64, 64)
    assert not (output / "release.jsonl").exists()
    privatizer, read = flow_privatizer(Bundle.open(bundle)), []
    real = images.read
    monkeypatch.setattr(images, "read", lambda path: read.append(path) or real(path))
    results = privatizer.release([photos], output, aligned=True)
    assert len(results) == 300
    assert len(read) <= 300 - len(before) + 1  # the last one may have been written and not yet noted
    assert {path: path.read_bytes() for path in before} == before
    again = privatizer.release([photos], tmp_path / "again", aligned=True)
    for one, other in zip(results, again, strict=True):
        assert isinstance(one, Release)
        assert isinstance(other, Release)
        assert one.path.read_bytes() == other.path.read_bytes()


def test_an_unfinished_release_is_gone_on_with_in_the_same_way_only(
    privatizer: Privatizer, inputs: Path, home: Path
) -> None:
    output = inputs.parent / "out"
    with pytest.raises(CancelledError):
        privatizer.release([inputs], output, aligned=True, cancel=lambda: True)
    for other in ({"format": "webp"}, {"names": "keep"}):
        with pytest.raises(OutputExistsError, match="an unfinished release with other settings"):
            privatizer.release([inputs], output, aligned=True, **other)  # type: ignore[arg-type]
    save_photo(inputs / "person-9.jpg", 9)
    with pytest.raises(OutputExistsError, match="an unfinished release with other settings"):
        privatizer.release([inputs], output, aligned=True)
    (inputs / "person-9.jpg").unlink()
    with pytest.raises(OutputExistsError, match="of which nothing is known here"):
        privatizer.release([inputs], output, aligned=True, folder=home.parent / "another-home")
    assert len(privatizer.release([inputs], output, aligned=True)) == 5
    with pytest.raises(OutputExistsError, match="exists already"):
        privatizer.release([inputs], output, aligned=True)


def test_a_release_that_was_killed_before_it_had_its_mark_is_begun_again(privatizer: Privatizer, inputs: Path) -> None:
    output = inputs.parent / "out"
    output.mkdir()
    (output / ".0123456789abcdef.part").touch()
    assert len(privatizer.release([inputs], output, aligned=True)) == 5
    assert not list(output.glob(".*"))
    other = inputs.parent / "another-programs"
    other.mkdir()
    (other / ".film.part").touch()
    with pytest.raises(OutputExistsError, match="exists already"):
        privatizer.release([inputs], other, aligned=True)
    assert (other / ".film.part").exists()


def test_a_disk_that_fails_takes_away_nothing_that_is_released_where_only_a_preview_is_wanted_of_it(
    privatizer: Privatizer, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, preview, real = inputs.parent / "out", inputs.parent / "preview.png", releasing.write_atomically
    monkeypatch.setattr(releasing, "BATCH", 1)
    calls = iter([False, False, True])
    with pytest.raises(CancelledError):
        privatizer.release([inputs], output, aligned=True, cancel=lambda: next(calls))
    before = {path: path.read_bytes() for path in output.glob("*.png")}
    assert len(before) == 2

    def full(path: Path, data: bytes, modified: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(releasing, "write_atomically", full)
    with pytest.raises(UsageError, match="the same command goes on"):
        privatizer.release([inputs], output, aligned=True, preview=preview)
    assert {path: path.read_bytes() for path in output.glob("*.png")} == before
    monkeypatch.setattr(releasing, "write_atomically", real)
    assert len(privatizer.release([inputs], output, aligned=True, preview=preview)) == 5
    assert len(list(output.glob("*.png"))) == 5
    assert preview.exists()


def test_a_preview_that_fails_in_the_end_leaves_a_whole_release_and_no_journal(
    privatizer: Privatizer, inputs: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes, mode: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def only_previews(path: Path, data: bytes, **named: int) -> None:
        (full if "mode" in named else write_new)(path, data, **named)

    write_new = releasing.write_new
    monkeypatch.setattr(releasing, "write_new", only_previews)
    output = inputs.parent / "out"
    with pytest.raises(UsageError, match="all is released, but not the preview"):
        privatizer.release([inputs], output, aligned=True, preview=inputs.parent / "preview.png")
    assert (output / "release.jsonl").exists()
    assert list((home / "unfinished-releases").iterdir()) == []


def test_two_at_once_do_not_work_on_one_folder(privatizer: Privatizer, inputs: Path) -> None:
    output, said = inputs.parent / "out", []

    def meanwhile(stage: str, done: int, count: int) -> None:
        with pytest.raises(UsageError, match="another process is releasing to") as refused:
            privatizer.release([inputs], output, aligned=True)
        said.append(str(refused.value))

    privatizer.release([inputs], output, aligned=True, on_progress=meanwhile)
    assert len(said) == 5


def test_what_fails_unexpectedly_is_refused_and_the_others_go_out(
    privatizer: Privatizer, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = np.array(Image.open(inputs / "person-3.jpg"))
    real = privatizer.bundle.codec.encode

    def encode(samples: np.ndarray) -> Any:
        if (samples == marked).reshape(len(samples), -1).all(axis=1).any():
            raise MemoryError(f"secret pixels {marked[0, 0]}")
        return real(samples)

    monkeypatch.setattr(type(privatizer.bundle.codec), "encode", lambda self, samples: encode(samples))
    results = privatizer.release([inputs], inputs.parent / "out", aligned=True)
    assert [getattr(result, "reason", "") for result in results] == ["", "", "", "failed", ""]
    assert "(MemoryError)" in str(results[3])
    assert "secret" not in str(results[3])
    assert len(list((inputs.parent / "out").glob("*.png"))) == 4


def test_another_filter_is_refused_unless_insisted_on(tiny: Bundle, privatizer: Privatizer, inputs: Path) -> None:
    other = flow_privatizer(tiny, rho=0.5)
    assert other.filter_digest != privatizer.filter_digest
    first = privatizer.release([inputs], inputs.parent / "1", aligned=True)
    refused = other.release([inputs], inputs.parent / "2", aligned=True)
    assert [result.reason for result in refused if isinstance(result, Refusal)] == ["another-filter"] * 5
    again = privatizer.release([inputs], inputs.parent / "3", aligned=True)
    insisted = other.release([inputs], inputs.parent / "4", aligned=True, insist=True)
    for one, same, another in zip(first, again, insisted, strict=True):
        assert isinstance(one, Release)
        assert isinstance(same, Release)
        assert isinstance(another, Release)
        assert one.path.read_bytes() == same.path.read_bytes() != another.path.read_bytes()
    after = privatizer.release([inputs], inputs.parent / "5", aligned=True)
    assert [type(result) for result in after] == [Refusal] * 5


def test_with_another_label_a_label_aware_filter_is_another_one(tiny: Bundle, inputs: Path) -> None:
    aware = label_aware_privatizer(tiny)
    labels = {f"person-{number}.jpg": {"Male": 1} for number in range(5)}
    aware.release([inputs], inputs.parent / "1", labels=labels, aligned=True)
    labels["person-2.jpg"] = {"Male": 0}
    again = aware.release([inputs], inputs.parent / "2", labels=labels, aligned=True)
    assert [getattr(result, "reason", "") for result in again] == ["", "", "another-filter", "", ""]


@pytest.mark.parametrize(("argument", "value"), [("names", "mine"), ("format", "gif"), ("faces", "some")])
def test_other_choices_are_refused(privatizer: Privatizer, inputs: Path, argument: str, value: str) -> None:
    with pytest.raises(UsageError, match=value):
        privatizer.release([inputs], **{argument: value})  # type: ignore[arg-type]


def test_labels_are_read_as_people_write_them(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_bytes("\ufeffphoto;Male;High Cheekbones;age\r\na.jpg;-1;YES;41\r\n\r\nb\\c.jpg;true;;\r\n".encode())
    assert read_labels(table, ["male", "high_cheekbones"]) == {
        "a.jpg": {"Male": 0, "High Cheekbones": 1},
        "b/c.jpg": {"Male": 1},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("photo,Male\na.jpg,2\n", "line 2, field 2: a label is none"),
        ("photo,Male\na.jpg,1\nb.jpg\n", "line 3: 1 fields"),
        ("photo,Male\na.jpg,1\na.jpg,1\n", "line 3: a.jpg is there twice"),
        ("photo,Male\n,1\n", "line 2: there is no file name"),
        ("photo,Male,male\na.jpg,1,1\n", "line 1: a label column has its name twice"),
        ("photo,\na.jpg,1\n", "line 1: a label column has no name"),
        ("photo\na.jpg\n", "line 1: there is no label column"),
        ("photo,Male\n", "holds no labels"),
        ("", "holds no labels"),
        ('photo,Male\n"a.jpg,1\n', "line "),
    ],
)
def test_labels_that_are_none_are_refused_with_the_line(tmp_path: Path, text: str, said: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_labels(table)


def test_a_table_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="UTF-8"):
        read_labels(tmp_path / "labels.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        read_labels(tmp_path / "none.csv")
