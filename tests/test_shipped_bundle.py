"""The faces bundle as it ships, used as a user would: the literal command, the quickstart, and fresh attackers.

The attackers are given what anybody can have: public latents, which are nobody's faces.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from privsdk import Bundle, Latents, Privatizer
from privsdk.auditing.attackers import ATTACKERS, LogisticRegression
from privsdk.auditing.protocols import Released, cross_fitted

SEEN = 4000


@pytest.fixture(scope="module")
def released(bundle: Bundle, privatizer: Privatizer) -> np.ndarray:
    public = bundle.public
    latents = Latents(public.mean[:SEEN], public.variance[:SEEN])
    return privatizer.perturb(latents, draws=np.arange(SEEN, dtype=np.uint64))


def as_released(z: np.ndarray, bundle: Bundle, label: str) -> Released:
    labels = bundle.public.labels[: len(z), bundle.attributes.index(label)]
    return Released(z, labels, np.arange(len(z)))


def test_it_is_small_enough_and_its_flow_is_gaussian(bundle: Bundle, bundle_folder: Path) -> None:
    assert sum(path.stat().st_size for path in bundle_folder.iterdir()) <= 12_000_000
    assert abs(bundle.quality["squared norm of g(z) over its dimension"] - 1) <= 0.04
    assert abs(bundle.quality["memorisation: training nearer than valid"] - 0.5) <= 0.05
    assert all(entry["gap_measured"] for entry in bundle.manifest["attributes"])


@pytest.mark.parametrize("attacker", ATTACKERS, ids=lambda attacker: attacker.name)
def test_a_fresh_attacker_finds_little(attacker: type, bundle: Bundle, released: np.ndarray) -> None:
    found = cross_fitted(attacker, as_released(released, bundle, "Male"), seed=5)
    assert found.leakage < 0.62


def test_the_attackers_would_find_it_and_the_utility_stays(bundle: Bundle, released: np.ndarray) -> None:
    plain = bundle.public.mean[:SEEN]
    male = cross_fitted(LogisticRegression, as_released(plain, bundle, "Male"))
    before = cross_fitted(LogisticRegression, as_released(plain, bundle, "Smiling"))
    after = cross_fitted(LogisticRegression, as_released(released, bundle, "Smiling"))
    assert male.leakage > 0.97
    assert before.accuracy - after.accuracy < 0.02


def test_the_command_of_the_readme_on_a_folder_of_photos(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name in ("photo-01.jpg", "photo-07.jpg", "photo-25.jpg"):
        shutil.copy(photos / name, tmp_path / "photos")
    shutil.copy(photos / "photo-02.jpg", tmp_path / "photos" / "more")

    def run(command: str) -> str:
        done = subprocess.run(
            [Path(sys.executable).parent / "privsdk", *command.split()[1:]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            timeout=200,
        )
        return done.stdout

    said = " ".join(run("privsdk privatize --private male --utility smiling photos/").split())
    assert "3 faces released to" in said
    assert "measured on public latents" in said
    lines = [json.loads(line) for line in (tmp_path / "photos-released" / "release.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["released"] * 3
    assert {line["file"] for line in lines} == {path.name for path in (tmp_path / "photos-released").glob("*.png")}

    run("privsdk fit --private male --utility smiling -o male.privatizer --quiet")
    again = run("privsdk privatize --privatizer male.privatizer --recursive --faces all --output all photos/")
    assert "5 faces released to" in again


def test_the_quickstart_runs(tmp_path: Path, repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, repository / "examples" / "quickstart.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
