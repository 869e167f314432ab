"""`privsdk audit` on files: what any tool released, photos of one's own, and what is refused."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("skimage")

import privsdk
from privsdk.samples import images

REPOSITORY = Path(__file__).resolve().parent.parent.parent
ROWS = 400

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`privsdk audit` with these arguments, which must end with this exit code."""
    environment = {**os.environ, "PRIVSDK_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}

    def run(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "privsdk", "audit", *map(str, arguments)]
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    return run


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def table(tmp_path: Path) -> tuple[Path, Path]:
    """Rows that tell the hidden label by their first column, and their labels."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(ROWS, 4))
    hidden, kept = rng.integers(0, 2, ROWS), (x[:, 1] > 0).astype(int)
    x[:, 0] += 2 * hidden
    names = [f"row{number}" for number in range(ROWS)]
    released = write_csv(tmp_path / "out.csv", "nabcd", [[name, *row] for name, row in zip(names, x, strict=True)])
    rows = [[name, *pair, f"person {n // 4}"] for n, (name, *pair) in enumerate(zip(names, hidden, kept, strict=True))]
    return released, write_csv(tmp_path / "labels.csv", ["name", "hidden", "kept", "person"], rows)


WISH = ("--private", "hidden", "--utility", "kept", "--bundle", "faces")


def test_a_table_of_another_tool(run: Run, table: tuple[Path, Path], tmp_path: Path) -> None:
    released, labels = table
    page = tmp_path / "page.html"
    arguments = ("--released", released, "--labels", labels, *WISH, "--people", "person", "--quick", "--html", page)
    done = run(*arguments, "--json", "--max-leakage", "0.7", code=4)
    found = json.loads(done.stdout)
    assert found["private"]["hidden"]["leakage"] > 0.85
    assert found["people"] < found["samples"]
    assert found["measured_on"] == "the releases given"
    assert "hidden may leak" in done.stderr
    assert "<!doctype html>" in page.read_text(encoding="utf-8").lower()
    assert "exists already" in run(*arguments, code=2).stderr


def test_the_json_is_what_its_schema_says(run: Run, table: tuple[Path, Path]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    from privsdk.auditing.schema import schema

    published = json.loads((REPOSITORY / "docs" / "audit.schema.json").read_text(encoding="utf-8"))
    assert published == schema(), "python -m privsdk.auditing.schema > docs/audit.schema.json"
    found = json.loads(run("--released", table[0], "--labels", table[1], *WISH, "--quick", "--json").stdout)
    jsonschema.validate(found, published)
    del found["private"]["hidden"]["interval"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, published)


def test_labels_of_other_files_are_refused(run: Run, table: tuple[Path, Path], tmp_path: Path) -> None:
    released, _ = table
    others = write_csv(
        tmp_path / "others.csv", ["name", "hidden", "kept"], [["photo1.png", 0, 1], ["photo2.png", 1, 0]]
    )
    assert "names none of the 400 files" in run("--released", released, "--labels", others, *WISH, code=2).stderr


def test_ten_samples_are_too_few(run: Run, table: tuple[Path, Path], tmp_path: Path) -> None:
    _, labels = table
    few = write_csv(tmp_path / "few.csv", "nab", [[f"row{number}", number, 1.5] for number in range(10)])
    assert "needed to say anything" in run("--released", few, "--labels", labels, *WISH, code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name a privatizer, or what another tool released"),
        (("a.privatizer", "--released", "out"), "one of the two"),
        (("a.privatizer", "--labels", "l.csv"), "give both"),
        (("a.privatizer", "--private", "male"), "the privatizer knows its labels"),
        (("a.privatizer", "--people", "person"), "--people is a column of --labels"),
        (("a.privatizer", "--no-originals"), "name one (--html)"),
        (("--released", "out", "--labels", "l.csv", "--data", "photos"), "--data and --aligned are of a privatizer"),
    ],
)
def test_options_that_do_not_go_together(run: Run, arguments: Sequence[str], message: str) -> None:
    assert message in run(*arguments, code=2).stderr


def test_images_of_another_tool(run: Run, tmp_path: Path) -> None:
    """A folder in which a bright corner tells the hidden label; a file that is none is refused, the others go on."""
    rng = np.random.default_rng(2)
    folder, before = tmp_path / "out", tmp_path / "before"
    folder.mkdir()
    before.mkdir()
    rows = []
    for number in range(240):
        hidden, kept = rng.integers(0, 2, 2)
        picture = images.resize(rng.integers(0, 200, (4, 4, 3), np.uint8), 64, 64)
        (before / f"{number}.png").write_bytes(images.to_bytes(picture, "png"))
        picture[:16, :16] = 60 + 120 * hidden
        picture[-16:, -16:] = 60 + 120 * kept
        (folder / f"{number}.png").write_bytes(images.to_bytes(picture, "png"))
        rows.append([f"{number}.png", hidden, kept])
    (folder / "broken.png").write_bytes(b"no picture")
    labels = write_csv(tmp_path / "labels.csv", ["name", "hidden", "kept"], rows)
    done = run("--released", folder, "--originals", before, "--labels", labels, *WISH, "--quick", "--json", code=1)
    assert "refused" in done.stderr
    assert "broken.png" in done.stderr
    found = json.loads(done.stdout)
    assert found["samples"] == 180
    assert found["private"]["hidden"]["leakage"] > 0.9
    assert found["fidelity"]["similarity"] < 1
    assert found["attributes"][0]["before"] is not None


def test_photos_of_ones_own(bundle: privsdk.Bundle, tmp_path: Path) -> None:
    """Attackers learn from public latents and, in folds by person, among the photos' own people."""
    privatizer = privsdk.fit(bundle, "male", "smiling")
    rng = np.random.default_rng(3)
    rows = rng.permutation(len(bundle.public))[:300]
    samples = bundle.decode(bundle.public.mean[rows])
    column = {name: bundle.public.labels[rows, bundle.attributes.index(name)] for name in ("Male", "Smiling")}
    report = privsdk.audit(
        privatizer, data=samples, labels=column, people=np.arange(300) // 3, quick=True, threads=2, folder=tmp_path
    )
    assert report.measured_on == "the samples given"
    assert (report.samples, report.people) == (300, 100)
    told = report.private["Male"]
    assert told.on_real_samples == told.leakage < 0.75
    assert any("cannot be told here" in limit for limit in report.limits)
    with pytest.raises(privsdk.UsageError, match="there are no labels for Smiling"):
        privsdk.audit(privatizer, data=samples, labels={"male": column["Male"]})
