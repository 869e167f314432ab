"""The latency benchmark: what it reports, and what it refuses to compare."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_bundle import flow_privatizer, make_bundle

from privsdk import bench
from privsdk.bundle import Bundle
from privsdk.errors import UsageError
from privsdk.samples import images


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bench") / "tiny")


@pytest.fixture(scope="module")
def result(tiny: Path) -> dict[str, Any]:
    """A measurement of the tiny bundle, made short, with a grey photo in place of a face."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "fit", lambda bundle, *labels: flow_privatizer(bundle))
        patch.setattr(bench, "_photo_from", lambda bundle: np.full((48, 64, 3), 128, np.uint8))
        patch.setattr(bench, "COLD_STARTS", 1)
        return bench.measure(tiny, threads=1)


def test_every_step_is_measured(result: dict[str, Any]) -> None:
    found = {(row["step"], row["batch"]) for row in result["steps"]}
    assert found == {
        (step, batch) for step in ("encode", "filter", "decode", "photo, file to file") for batch in (1, 16)
    }
    assert all(0 < row["median"] <= row["p95"] for row in result["steps"])
    assert all(row["threads"] == 1 and row["runs"] >= bench.LEAST_RUNS for row in result["steps"])


def test_start_memory_and_disk(result: dict[str, Any], tiny: Path) -> None:
    assert result["cold_start"]["seconds"] > 0
    assert result["cold_start"]["peak_memory"] > 20e6
    files = sum(path.stat().st_size for path in tiny.iterdir() if path.name != "manifest.json")
    assert result["disk"]["bundle"] == files
    assert result["disk"]["packages"]["onnxruntime"] > 1e6


def test_the_result_is_json_and_says_where_it_is_from(result: dict[str, Any]) -> None:
    assert json.loads(json.dumps(result)) == result
    assert result["cpu"]
    assert result["cores"] >= 1
    text = bench.measured_text(result)
    assert result["cpu"] in text
    assert "cold start" in text
    assert "photo, file to file" in text


def test_figures_of_different_processors_are_not_compared(result: dict[str, Any]) -> None:
    other = copy.deepcopy(result) | {"cpu": "another processor"}
    with pytest.raises(UsageError, match="another processor"):
        bench.compared(result, other)
    assert all(row["times"] == 1 for row in bench.compared(result, result))


def test_the_floor_comes_from_the_counted_multiply_adds(tiny: Path) -> None:
    bundle = Bundle.open(tiny)
    assert bench._floor(bundle, "encoder", 16, 1e9) is None
    counted = type("Counted", (), {"quality": {"encoder multiply-adds": 5e6}})()
    assert bench._floor(counted, "encoder", 16, 1e9) == pytest.approx(0.08)


def test_the_peak_is_that_of_a_processor() -> None:
    assert 1e8 < bench.peak(0.05) < 1e13


def test_a_photo_without_a_face_is_refused(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "fit", lambda bundle, *labels: flow_privatizer(bundle))
    blank = tmp_path / "blank.png"
    blank.write_bytes(images.to_bytes(np.full((64, 64, 3), 128, np.uint8), "png"))
    with pytest.raises(UsageError, match="no face is found in"):
        bench.measure(tiny, threads=1, photo=blank)


def test_too_few_threads_are_refused(tiny: Path) -> None:
    with pytest.raises(UsageError, match="0 threads"):
        bench.measure(tiny, threads=0)
