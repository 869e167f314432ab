"""A full audit: all attackers on a filter that holds, and after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from a_bundle import made_up_bundle

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("skimage")

import privsdk
from privsdk import Privatizer
from privsdk.fitting import fit

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def made_up() -> Any:
    return made_up_bundle(4000)


@pytest.fixture(scope="module")
def holding(made_up: Any) -> Privatizer:
    return fit(made_up, "male", "smiling")


def test_little_is_found_where_the_filter_holds(holding: Privatizer, tmp_path: Path) -> None:
    report = privsdk.audit(holding, threads=2, folder=tmp_path)
    told, kept = report.private["Male"], report.utility["Smiling"]
    assert told.leakage < 0.6
    assert told.interval[0] < told.leakage < told.interval[1]
    assert told.leakage == told.attacks[0].leakage == max(one.leakage for one in told.attacks)
    # Ten on latents, four on the code, one on likelihoods; under both protocols.
    assert len({(one.attacker, one.form, one.protocol) for one in told.attacks}) == len(told.attacks) == 2 * 15
    assert 0.5 < told.base_rate < 0.6
    assert kept.lost == pytest.approx(kept.accuracy_unfiltered - kept.accuracy)
    assert kept.accuracy > 0.85

    together = {(one.kind, one.count): one.leakage for one in report.several}
    # Choices keyed to the sample: a thousand releases are one.
    assert together["one sample, choices keyed", 1000] == together["one sample, choices keyed", 1]
    assert report.map is not None
    assert report.map.after.shape == (1000, 2)
    assert {one.name for one in report.attributes} == {"Male", "Smiling", "Young"}
    assert "<!doctype html>" in report.to_html().lower()
    json.dumps(report.to_json(), allow_nan=False)


def test_a_killed_audit_goes_on_where_it_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 4))
    hidden, kept_label = rng.integers(0, 2, 400), (x[:, 1] > 0).astype(int)
    x[:, 0] += 2 * hidden
    released, labels = tmp_path / "out.csv", tmp_path / "labels.csv"
    released.write_text("name,a,b,c,d\n" + "".join(f"r{n},{','.join(map(str, row))}\n" for n, row in enumerate(x)))
    pairs = zip(hidden, kept_label, strict=True)
    labels.write_text("name,hidden,kept\n" + "".join(f"r{n},{one},{other}\n" for n, (one, other) in enumerate(pairs)))
    wish = ("--private", "hidden", "--utility", "kept")
    arguments = ["--released", str(released), "--labels", str(labels), *wish, "--json", "--quiet", "--threads", "1"]
    command = [sys.executable, "-m", "privsdk", "audit", *arguments]

    def environment(home: str) -> dict[str, str]:
        return {**os.environ, "PRIVSDK_HOME": str(tmp_path / home), "OMP_NUM_THREADS": "1"}

    whole = subprocess.run(command, cwd=REPOSITORY, env=environment("a"), capture_output=True, text=True, check=True)
    assert not list((tmp_path / "a" / "unfinished").iterdir())  # nothing is left when it is done
    killed = subprocess.Popen(command, cwd=REPOSITORY, env=environment("b"), stdout=subprocess.PIPE)
    kept = tmp_path / "b" / "unfinished"
    deadline = time.monotonic() + 200
    while len(list(kept.glob("*/*.sealed"))) < 5:
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert killed.stdout is not None
    killed.stdout.close()
    finished = sorted(kept.glob("*/*.sealed"))
    damaged, untouched = finished[0], finished[1:]
    damaged.write_bytes(damaged.read_bytes()[:-7])
    written = {path: path.stat().st_mtime_ns for path in untouched}
    again = subprocess.Popen(command, cwd=REPOSITORY, env=environment("b"), stdout=subprocess.PIPE, text=True)
    while again.poll() is None and len(list(kept.glob("*/*.sealed"))) <= len(finished):
        time.sleep(0.02)
    assert {path: path.stat().st_mtime_ns for path in untouched} == written
    output, _ = again.communicate()
    first, second = json.loads(whole.stdout), json.loads(output)
    assert first["private"] == second["private"]
    assert not list(kept.iterdir())
