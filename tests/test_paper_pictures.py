"""The pictures of the paper's experiments: what they are made of, and that none of people gets where git takes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.cells import Cells
from benchmarks.paper import __main__ as command
from benchmarks.paper import cases, figure_5, maps, pictures, readings, running
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.pictures import CHECKOUT, IGNORED, PUBLISHED, Picture
from benchmarks.paper.sheet import Sheet, Spread
from benchmarks.paper.writing import RESULTS, Result, readme

SHEET = Sheet("Caption:", ("release", "figure"), (("ours", Spread((0.5,))),))


def picture(name: str = "squares", of_people: bool = False) -> Picture:
    squares = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    return Picture(name, "Two squares.", pictures.grid({"before, plain": squares}, "ab", magnified=4), of_people)


@pytest.mark.parametrize("folder", [PUBLISHED, CHECKOUT, CHECKOUT / "docs", IGNORED / ".." / "docs", Path("docs")])
def test_a_picture_of_people_is_refused_for_the_tree(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    with pytest.raises(ValueError, match="shows people"):
        picture("refused", of_people=True).write(folder)
    assert not (folder / "refused.png").exists()


def test_a_link_out_of_the_ignored_folder_is_no_way_into_the_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("docs", "runs"):
        (tmp_path / name).mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "docs", target_is_directory=True)
    monkeypatch.setattr(pictures, "CHECKOUT", tmp_path)
    monkeypatch.setattr(pictures, "IGNORED", tmp_path / "runs")
    picture(of_people=True).write(tmp_path / "runs" / "pictures")
    assert (tmp_path / "runs" / "pictures" / "squares.png").exists()
    with pytest.raises(ValueError, match="shows people"):
        picture(of_people=True).write(tmp_path / "runs" / "link")


def test_git_ignores_where_pictures_of_people_go() -> None:
    assert f"/{IGNORED.relative_to(CHECKOUT)}/" in (CHECKOUT / ".gitignore").read_text().splitlines()


def test_a_picture_is_written_again_as_the_same_file(tmp_path: Path) -> None:
    files = []
    for _ in range(2):
        picture().write(tmp_path)
        files.append((tmp_path / "squares.png").read_bytes())
    assert files[0] == files[1]
    with Image.open(tmp_path / "squares.png") as image:
        assert image.width > 2 * 8 * 4


def test_what_is_made_of_real_faces_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.zeros((3, 64, 64, 3), np.uint8)
    domain: Any = SimpleNamespace(images=SimpleNamespace(pixels=pixels), test=np.arange(3))
    place: Any = SimpleNamespace(faces=lambda: domain)
    monkeypatch.setattr(figure_5, "versions", lambda place, faces: {"as aligned": faces.pixels})
    monkeypatch.setattr(figure_5, "SHOWN", 2)
    found = {one.name: one.of_people for one in figure_5.pictures(place, ())}
    assert found == {"figure-5": False, "figure-5-people": True}


def test_the_portraits_are_those_of_nobody() -> None:
    assert "people who do not exist" in (figure_5.PORTRAITS / "LICENSE").read_text()
    assert not figure_5.portraits().of_people


def test_the_pictures_in_the_tree_are_small_and_belong_to_results() -> None:
    sizes = {path.stem: path.stat().st_size for path in PUBLISHED.iterdir()}
    shown = {name for path in RESULTS.glob("*.json") for name in Result.read(path).pictures}
    assert set(sizes) == shown
    assert max(sizes.values()) < 300_000
    assert sum(sizes.values()) < 1_500_000


def test_a_run_keeps_all_pictures_and_publishes_those_of_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(place: object, sheets: Sequence[Sheet]) -> Sequence[Picture]:
        return picture("nobody"), picture("people", of_people=True)

    experiment = Experiment("digits", "Title", "Text.", lambda place: [SHEET], drawn)
    for module in (command, running):
        monkeypatch.setattr(module, "EXPERIMENTS", {"one": experiment})
    monkeypatch.setattr(running, "PUBLISHED", tmp_path / "published")
    monkeypatch.setattr(running, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(command, "README", tmp_path / "README.md")
    monkeypatch.setenv("PRIVSDK_DATA", str(tmp_path))
    command.main(["--write", "--runs", str(tmp_path / "runs")])
    command.main(["--quick", "--runs", str(tmp_path / "runs")])
    for folder in ("pictures", "quick/pictures"):
        assert {path.stem for path in (tmp_path / "runs" / folder).iterdir()} == {"nobody", "people"}
    assert [path.name for path in (tmp_path / "published").iterdir()] == ["nobody.png"]
    text = readme({"one": experiment}, tmp_path / "results")
    assert "![nobody](paper/pictures/nobody.png)\n\n*Two squares.*" in text
    assert "people" not in text


def test_results_from_before_there_were_pictures_are_read(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"seeds": 1, "machine": "a machine", "sheets": []}')
    assert Result.read(tmp_path / "one.json") == Result((), 1, "a machine")


def test_a_confusion_matrix_is_that_of_a_hand() -> None:
    truth, said = np.array([0, 0, 0, 0, 1, 1, 2]), np.array([0, 0, 0, 2, 1, 0, 1])
    found = readings.confusion(truth, said)
    assert np.allclose(found, np.array([[0.75, 0.0, 0.25], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]))
    assert np.allclose(found.sum(axis=1), 1)


def test_confusion_is_drawn_as_many_panels_as_there_are_tables() -> None:
    rows = tuple(
        (release, true, *(Spread((share,)) for share in (0.25, 0.75)))
        for release in ("a", "b", "c")
        for true in ("no", "yes")
    )
    figure = readings.drawn(
        [Sheet(f"{label}: what", ("release", "true", "said no", "said yes"), rows) for label in "xy"]
    )
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 6


def test_neighbours_of_two_heaps_are_alike() -> None:
    heaps = np.random.default_rng(0).standard_normal((40, 2)).astype(np.float32)
    heaps[20:] += 100
    classes = np.repeat([0, 1], 20)
    assert maps.alike(heaps, classes) == 1.0
    assert maps.alike(heaps, np.tile([0, 1], 20)) < 0.7


@pytest.mark.slow
def test_a_map_has_two_coordinates_of_each_sample_and_is_kept(tmp_path: Path) -> None:
    latents = np.random.default_rng(0).standard_normal((maps.QUICK_POINTS + 50, 4)).astype(np.float32)
    domain = SimpleNamespace(test=np.arange(len(latents)))
    space: Any = SimpleNamespace(domain=domain, used=np.array([True, True, True, False]), cells=Cells(tmp_path))
    place: Any = SimpleNamespace(quick=True)
    version = cases.Version("made up", space, lambda seed: latents, lambda z: np.zeros((len(z), 28, 28), np.uint8))
    torch.set_num_threads(1)
    points = maps.plane(place, version, cases.CASE_1)
    assert torch.get_num_threads() == 1  # numba, by which UMAP runs, would take all cores
    assert points.shape == (maps.QUICK_POINTS, 2)
    assert np.isfinite(points).all()
    kept = cases.Version("made up", space, lambda seed: np.empty((0, 4), np.float32), version.decode)
    assert np.array_equal(maps.plane(place, kept, cases.CASE_1), points)
