"""The latency benchmark: what it reports, and what it refuses to compare."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from make_bundle import flow_privatizer, label_aware_privatizer, make_bundle

from privsdk import bench
from privsdk.bundle import Bundle
from privsdk.errors import UsageError
from privsdk.samples import images


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bench") / "tiny")


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """``privsdk bench`` as a user would type it."""
    return subprocess.run(
        [sys.executable, "-m", "privsdk", "bench", *arguments], capture_output=True, text=True, check=False, timeout=200
    )


@pytest.fixture(scope="module")
def result(tiny: Path, photos: Path) -> dict[str, Any]:
    """What the command line prints of the tiny bundle and a photo."""
    done = command("--bundle", tiny, "--threads", "1", "--photo", photos / "photo-01.jpg", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_step_is_measured(result: dict[str, Any]) -> None:
    found = {(row["step"], row["batch"]) for row in result["steps"]}
    assert found == {
        (step, batch) for step in ("encode", "filter", "decode", "photo, file to file") for batch in (1, 16)
    }
    assert all(0 < row["median"] <= row["p95"] for row in result["steps"])
    assert all(row["threads"] == 1 and row["runs"] >= bench.LEAST_RUNS for row in result["steps"])


def test_each_filter_has_a_floor_below_its_time(result: dict[str, Any]) -> None:
    for row in result["steps"]:
        if row["step"] == "filter":
            assert 0 < row["floor"] < row["median"]


def test_start_memory_and_disk(result: dict[str, Any], tiny: Path) -> None:
    assert result["cold_start"]["seconds"] > 0
    assert result["cold_start"]["peak_memory"] > 20e6
    files = sum(path.stat().st_size for path in tiny.iterdir() if not path.name.startswith("manifest."))
    assert result["disk"]["bundle"] == files
    assert result["disk"]["packages"]["onnxruntime"] > 1e6


def test_memory_is_that_of_the_measured_process_alone(tiny: Path, tmp_path: Path) -> None:
    """The process that measures has torch loaded, the one that is measured has not."""
    flow_privatizer(Bundle.open(tiny)).save(tmp_path / "saved")
    held = np.ones(500_000_000, np.uint8)
    assert bench._cold_start(str(tiny), str(tmp_path / "saved"), str(tmp_path))["peak_memory"] < held.nbytes


def test_the_result_says_where_it_is_from(result: dict[str, Any]) -> None:
    assert result["cpu"]
    assert result["cores"] >= 1
    text = bench.measured_text(result)
    assert result["cpu"] in text
    assert "cold start" in text
    assert "photo, file to file" in text


def test_a_batch_of_photos_is_as_many_photos(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release takes each file once: one file sixteen times would be one photo."""
    bundle = Bundle.open(tiny)
    flow_privatizer(bundle).save(tmp_path / "saved")
    grey = images.to_bytes(np.full((48, 64, 3), 128, np.uint8), "jpeg")
    for number in range(16):
        (tmp_path / f"photo-{number:02}.jpg").write_bytes(grey)
    results: list[object] = []
    monkeypatch.setattr(bench, "timed", lambda call, *rest: [results.append(call()) or 1.0])  # type: ignore[func-returns-value]
    bench._steps(1, str(tiny), str(tmp_path / "saved"), str(tmp_path))
    assert [len(result) for result in results[-2:]] == [1, 16]  # type: ignore[arg-type]


def test_earlier_figures_of_this_processor_stand_beside_the_new_ones(
    result: dict[str, Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "earlier.json"
    first, *others = result["steps"]  # the first was not measured before
    file.write_text(json.dumps(result | {"steps": [{**row, "median": row["median"] / 2} for row in others]}))
    monkeypatch.setattr(bench, "fit", lambda bundle, *labels: flow_privatizer(bundle))
    monkeypatch.setattr(bench, "_photo_from", lambda bundle: np.zeros((9, 9, 3), np.uint8))
    monkeypatch.setattr(bench, "_child", lambda *job: result["steps"])
    monkeypatch.setattr(bench, "_cold_start", lambda *where: result["cold_start"])
    again = bench.measure(tiny, threads=1, against=file)
    assert [row["earlier"] for row in again["steps"]] == [None, *(row["median"] / 2 for row in others)]
    heading, new, known = bench.measured_text(again).splitlines()[3:6]
    assert heading.endswith("times earlier")
    assert not new.endswith(" 2.00")
    assert known.endswith(" 2.00")
    assert "earlier" not in bench.measured_text(result)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cpu": "another processor"}, "another processor"),
        ({"machine": "another"}, "compare figures of one processor"),
        ({"cores": 1000}, "1000 cores"),
        ({"cpu_model": "stepping 99"}, "stepping 99"),
        ({"bundle": {"digest": 64 * "0"}}, "of the bundle 000000000000, this is"),
        ({"bundle": None}, "holds no figures"),
        ({"steps": [{"step": "encode", "threads": 1, "batch": 1, "median": 0}]}, "holds no figures"),
        ({"steps": [{"step": "encode", "threads": 1, "batch": 1, "median": 10**400}]}, "holds no figures"),
        ({"steps": [{"step": "encode"}]}, "holds no figures"),
        ({"steps": None}, "holds no figures"),
        (None, "holds no figures"),
    ],
)
def test_figures_that_cannot_be_compared_are_refused_before_any_work(
    result: dict[str, Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, said: str
) -> None:
    monkeypatch.setattr(bench, "fit", None)
    file = tmp_path / "earlier.json"
    file.write_text("no figures" if change is None else json.dumps(result | change))
    with pytest.raises(UsageError, match=said):
        bench.measure(tiny, threads=1, against=file)


def test_figures_of_another_fit_are_refused_before_the_measuring(
    result: dict[str, Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "fit", lambda bundle, *labels: flow_privatizer(bundle))
    monkeypatch.setattr(bench, "_photo_from", lambda bundle: np.zeros((9, 9, 3), np.uint8))
    monkeypatch.setattr(bench, "_child", None)
    file = tmp_path / "earlier.json"
    file.write_text(json.dumps(result | {"fit": {"method": "closed-form"}}))
    with pytest.raises(UsageError, match="of the method closed-form, this is flow"):
        bench.measure(tiny, threads=1, against=file)


def test_only_a_file_of_some_size_is_compared_with(tiny: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(bench.LARGEST_EARLIER + 1))
    for name, why in {"pipe": "regular", "large": "more than", "gone": "No such file", "": "folder"}.items():
        with pytest.raises(UsageError, match=rf"{tmp_path / name} cannot be read: .*{why}"):
            bench.measure(tiny, threads=1, against=tmp_path / name)


def test_a_device_to_compare_with_is_a_usage_error_on_the_command_line() -> None:
    done = command("--against", "/dev/zero")
    assert done.returncode == 2
    assert done.stderr.startswith("privsdk: /dev/zero cannot be read")


def test_the_floor_comes_from_the_counted_multiply_adds(tiny: Path) -> None:
    assert bench._floor(None, 16, 1e9) is None
    assert bench._floor(5e6, 16, 1e9) == pytest.approx(0.08)
    bundle = Bundle.open(tiny)
    arrays = flow_privatizer(bundle).filter.arrays()
    sizes = {part: sum(array.size for name, array in arrays.items() if name.startswith(part)) for part in bench.PASSES}
    counted = sizes["scores"] + 2 * (sizes["flow"] + sizes["code"])
    assert bench.filter_multiply_adds(flow_privatizer(bundle).filter) == counted > 0
    assert bench.filter_multiply_adds(label_aware_privatizer(bundle).filter) == 0


def test_the_peak_is_that_of_a_processor() -> None:
    assert 1e8 < bench.peak(0.05) < 1e13


def test_a_photo_that_cannot_be_measured_with_is_named_before_a_fit(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "fit", None)
    blank = tmp_path / "blank.png"
    blank.write_bytes(images.to_bytes(np.full((64, 64, 3), 128, np.uint8), "png"))
    with pytest.raises(UsageError, match=r"blank.png cannot be measured with. No face was found"):
        bench.measure(tiny, threads=1, photo=blank)
    with pytest.raises(UsageError, match=r"gone.jpg cannot be measured with. There is no such file"):
        bench.measure(tiny, threads=1, photo=tmp_path / "gone.jpg")


def test_a_bundle_of_one_attribute_cannot_be_measured() -> None:
    single: Any = SimpleNamespace(name="single", attributes=("Male",))
    with pytest.raises(UsageError, match="the bundle single has one attribute"):
        bench._labels_of(single)


def test_too_few_threads_are_refused(tiny: Path) -> None:
    with pytest.raises(UsageError, match="0 threads"):
        bench.measure(tiny, threads=0)
