"""Faces: found in photos, brought into the frame of the encoder, refused where there is none."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.face_template import crop
from privsdk import runtime
from privsdk.errors import Refusal, UsageError
from privsdk.samples import faces, images


@pytest.fixture(scope="module")
def detector() -> faces.Detector:
    return faces.Detector()


@pytest.fixture(scope="module")
def paths(photos: Path) -> list[Path]:
    return sorted(photos.glob("*.jpg"))


GIVEN = np.array([[74 / 64, 0, 7.5], [0, 74 / 64, 17.5]])
"""The crop of a CelebA image of 89 x 109 pixels, as the transform that :func:`faces.align` would use."""


def off_template(sample: images.Pixels, detector: faces.Detector) -> float:
    """How far the landmarks of a face sample lie from the template, in pixels of the 64 x 64 frame."""
    padded = np.pad(images.resize(sample, 192, 192), ((64, 64), (64, 64), (0, 0)), mode="edge")
    found = detector.find(padded)
    if not found:
        return np.inf
    return float(np.linalg.norm((found[0].landmarks - 64) / 3 - faces.TEMPLATE, axis=1).mean())


def test_every_example_photo_gives_its_faces(paths: list[Path], detector: faces.Detector) -> None:
    assert len(paths) == 25
    progress: list[tuple[str, int, int]] = []
    samples, refusals = faces.read_faces(
        [paths[0], str(paths[1]), *(path.read_bytes() for path in paths[2:])],
        "all",
        on_progress=lambda *step: progress.append(step),
    )
    assert refusals == []
    assert samples.shape == (26, 64, 64, 3)  # the last photo shows two people
    assert samples.dtype == np.uint8
    assert progress == [("read", done, 25) for done in range(1, 26)]
    offsets = [off_template(sample, detector) for sample in samples]
    assert max(offsets) < 4  # the template fits an average face, not each one's
    assert np.median(offsets) < 2.5


def test_largest_is_the_first_of_all(paths: list[Path], detector: faces.Detector) -> None:
    pair = images.read(paths[-1])
    all_of_them, shown = faces.faces_in(pair, "all", False, detector)
    (largest,), shown_beside_it = faces.faces_in(pair, "largest", False, detector)
    assert len(all_of_them) == shown == shown_beside_it == 2
    assert (largest == all_of_them[0]).all()
    found = detector.find(pair)
    assert [face.area for face in found] == sorted((face.area for face in found), reverse=True)


def test_labels_name_the_photos_of_one_person(repository: Path, paths: list[Path]) -> None:
    with (repository / "examples" / "labels.csv").open(encoding="utf-8") as file:
        labels = {row["file"]: int(row["male"]) for row in csv.DictReader(file)}
    assert list(labels) == [path.name for path in paths[:-1]]
    assert sum(labels.values()) == 12


def test_a_turned_photo_comes_out_upright(paths: list[Path], detector: faces.Detector) -> None:
    turned = []
    for path in paths:
        with Image.open(path) as image:
            if image.getexif().get(0x0112) != 1:
                turned.append(path)
    assert len(turned) == 1
    ((sample,), _) = faces.faces_in(images.read(turned[0]), "largest", False, detector)
    assert off_template(sample, detector) < 4


def test_a_head_that_leans_comes_out_upright(paths: list[Path], detector: faces.Detector) -> None:
    photo = images.read(paths[1])

    def lean(image: images.Pixels) -> float:
        matrix = faces.similarity(faces.TEMPLATE, detector.find(image)[0].landmarks.astype(float))
        return float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))

    for degrees in (-25, 25):
        leaning = np.asarray(Image.fromarray(photo).rotate(degrees, Image.Resampling.BICUBIC))
        assert lean(leaning) == pytest.approx(lean(photo) - degrees, abs=8)
        ((sample,), _) = faces.faces_in(leaning, "largest", False, detector)
        assert off_template(sample, detector) < 4


def test_the_size_of_the_photo_matters_little(paths: list[Path], detector: faces.Detector) -> None:
    photo = images.read(paths[1])
    samples = [
        faces.faces_in(images.resize(photo, side, side), "largest", False, detector)[0][0].astype(float)
        for side in (256, 512, 2048)
    ]
    assert np.abs(samples[0] - samples[1]).mean() < 6
    assert np.abs(samples[2] - samples[1]).mean() < 4


def test_no_face_is_refused(repository: Path) -> None:
    without = sorted((repository / "examples" / "photos-without-face").glob("*.jpg"))
    samples, refusals = faces.read_faces(without)
    assert samples.shape == (0, 64, 64, 3)
    assert [refusal.reason for refusal in refusals] == ["no-face"]
    assert refusals[0].source == str(without[0])


@pytest.mark.parametrize("shape", [(1, 1), (2, 3000), (3000, 2), (33, 31)])
def test_odd_shapes_have_no_face(shape: tuple[int, int], detector: faces.Detector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    with pytest.raises(Refusal) as caught:
        faces.faces_in(noise, "all", False, detector)
    assert caught.value.reason == "no-face"


def test_a_small_face_is_refused_and_left_out_beside_a_large_one(paths: list[Path], detector: faces.Detector) -> None:
    photo = images.read(paths[1])
    eyes = detector.find(photo)[0].eye_distance
    side = round(512 * 0.8 * faces.LEAST_EYE_DISTANCE / eyes)
    small = images.resize(photo, side, side)
    with pytest.raises(Refusal) as caught:
        faces.faces_in(small, "all", False, detector)
    assert caught.value.reason == "face-too-small"

    both = photo.copy()
    both[:side, :side] = small
    samples, shown = faces.faces_in(both, "all", False, detector)
    assert (len(samples), shown) == (1, 2)


def test_what_fails_is_named_and_the_others_go_on(paths: list[Path], tmp_path: Path) -> None:
    samples, refusals = faces.read_faces([tmp_path / "gone.jpg", paths[0], b"no photo", tmp_path, paths[1]])
    assert len(samples) == 2
    assert [(refusal.source, refusal.position, refusal.reason) for refusal in refusals] == [
        (str(tmp_path / "gone.jpg"), 0, "not-found"),
        ("bytes[2]", 2, "not-an-image"),
        (str(tmp_path), 3, "not-an-image"),
    ]


def test_aligned_images_are_taken_as_they_are(detector: faces.Detector) -> None:
    rng = np.random.default_rng(0)
    square = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    ((sample,), shown) = faces.faces_in(square, "largest", True, detector)
    assert (sample == square).all()
    assert shown == 1
    larger = rng.integers(0, 256, (100, 100, 3), dtype=np.uint8)
    assert faces.faces_in(larger, "all", True, detector)[0][0].shape == (64, 64, 3)
    # An aligned CelebA image is refused, too: it is not in this frame.
    for shape in ((63, 63), (64, 65), (300, 200), (218, 178), (109, 89)):
        with pytest.raises(Refusal) as caught:
            faces.faces_in(np.zeros((*shape, 3), np.uint8), "largest", True, detector)
        assert caught.value.reason == "wrong-size"


def test_an_unknown_choice_of_faces_is_refused(detector: faces.Detector) -> None:
    with pytest.raises(UsageError, match="largest"):
        faces.faces_in(np.zeros((9, 9, 3), np.uint8), "some", False, detector)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="largest"):
        faces.read_faces([], "some")  # type: ignore[arg-type]


def test_similarity_is_exact_on_a_similar_figure_and_best_otherwise() -> None:
    rng = np.random.default_rng(0)
    matrix = np.array([[1.2, -0.5, 7], [0.5, 1.2, -3]])
    target = faces.TEMPLATE @ matrix[:, :2].T + matrix[:, 2]
    assert np.allclose(faces.similarity(faces.TEMPLATE, target), matrix)

    target += rng.normal(0, 2, target.shape)
    best = faces.similarity(faces.TEMPLATE, target)

    def error(scale: float, turn: float, shift: np.ndarray) -> float:
        c, s = scale * np.cos(turn), scale * np.sin(turn)
        moved = faces.TEMPLATE @ np.array([[c, -s], [s, c]]).T + shift
        return float(((moved - target) ** 2).sum())

    at_best = np.hypot(best[0, 0], best[1, 0]), np.arctan2(best[1, 0], best[0, 0]), best[:, 2]
    least = error(*at_best)
    for _ in range(50):
        nudged = error(
            at_best[0] + rng.normal(0, 0.01),
            at_best[1] + rng.normal(0, 0.01),
            at_best[2] + rng.normal(0, 0.2, 2),
        )
        assert nudged >= least


def test_threads_share_a_detector(paths: list[Path], detector: faces.Detector) -> None:
    photo = images.read(paths[0])
    alone = detector.find(photo)[0].landmarks
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(detector.find, [photo] * 16))
    assert all((found[0].landmarks == alone).all() for found in together)


def test_aligned_photos_match_the_crops_of_training(celeba: Path, detector: faces.Detector) -> None:
    """CelebA's own alignment turns and scales each face a little differently, so they match on average."""
    moved = []
    for number in range(201, 241):
        frame = images.read(celeba / "img_align_celeba" / f"{number:06d}.jpg")
        frame = images.resize(frame, 89, 109)
        assert np.abs(images.warp(frame, GIVEN, 64).astype(float) - crop(frame)).mean() < 3
        found = detector.find(frame)
        if len(found) == 1:
            grid = np.array([(x, y, 1) for x in (12, 32, 52) for y in (12, 32, 52)])
            matrix = faces.similarity(faces.TEMPLATE, found[0].landmarks.astype(float))
            moved.append(grid @ (matrix - GIVEN).T / GIVEN[0, 0])
    assert len(moved) >= 35
    assert np.linalg.norm(np.mean(moved, axis=0), axis=1).max() < 1
    assert np.median(np.linalg.norm(moved, axis=2)) < 2.2


def test_sessions_are_made_from_bytes_alone(tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"")
    with pytest.raises(TypeError, match="bytes"):
        runtime.session(str(tmp_path / "graph.onnx"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="threads"):
        runtime.session(b"", threads=0)


_QUIET = """
import os, sys, pathlib
opened = []
def watch(event, arguments):
    by_name = event == "open" and not isinstance(arguments[0], int)  # a number is that of a pipe to the parser
    writes = by_name and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event.startswith("socket."):
        opened.append((event, *map(str, arguments)))
import privsdk.samples.faces as faces
assert "onnxruntime" not in sys.modules and "ORT_DISABLE_TELEMETRY" not in os.environ
sys.dont_write_bytecode = True
sys.addaudithook(watch)
samples, refusals = faces.read_faces([pathlib.Path(sys.argv[1])])
assert len(samples) == 1 and os.environ["ORT_DISABLE_TELEMETRY"] == "1"
assert not opened, opened
assert not list(pathlib.Path(".").iterdir()), list(pathlib.Path(".").iterdir())
descriptors = pathlib.Path("/proc/self/fd")
if descriptors.is_dir():
    sockets = [link for link in descriptors.iterdir() if link.is_symlink() and "socket" in os.readlink(link)]
    assert not sockets, sockets
"""


def test_reading_opens_no_socket_and_writes_no_file(paths: list[Path], repository: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {
        "PYTHONPATH": str(repository),
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path),
    }
    subprocess.run(
        [sys.executable, "-c", _QUIET, str(paths[0])],
        check=True,
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
