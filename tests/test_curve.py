"""The curve of the dials: measured as plain data, drawn apart from that, with nobody's faces below it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from a_bundle import made_up_bundle
from make_bundle import make_bundle
from typer.testing import CliRunner

from privsdk import Curve, MissingExtraError, OutputExistsError, UsageError, check_curve, curve, draw_curve, drawing
from privsdk.cli import app
from privsdk.fitting import curve as measuring
from privsdk.samples import images

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def measured() -> Curve:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "FAIRNESS", (0.0, 1.0))
        patch.setattr(measuring, "RHOS", (1.0, 0.5))
        bundle: Any = made_up_bundle(4000)
        return curve(bundle, "male", "smiling", fairness=0.04)


def test_each_dial_does_what_it_is_for(measured: Curve) -> None:
    assert (measured.private, measured.utility) == (("Male",), ("Smiling",))
    assert measured.latents == measured.crowd == 1000
    weakest, strongest = measured.along_fairness
    kept, thinned = measured.along_rho
    assert [point.fairness for point in measured.along_fairness] == [0.0, 1.0]
    assert {point.fairness for point in measured.along_rho} == {0.04}
    assert strongest.fair_score_leakage < weakest.fair_score_leakage + 0.01
    assert all(0.5 <= point.leakage < 0.65 and point.gap == 0.01 for point in measured.along_fairness)
    assert thinned.distortion_share > kept.distortion_share
    assert thinned.linked < kept.linked
    assert thinned.rank >= kept.rank >= 1
    assert thinned.lost < kept.lost + 0.03
    assert 0.5 < measured.label_ceiling < 0.7
    assert measured.faces is None  # a row of numbers is no picture


def test_a_curve_is_drawn_into_a_new_file(measured: Curve, tmp_path: Path) -> None:
    draw_curve(measured, tmp_path / "plain.png")
    faces = np.full((4, 1 + len(measured.shown), 64, 64, 3), 200, np.uint8)
    draw_curve(replace(measured, faces=faces), tmp_path / "faces.png")
    plain, with_faces = (images.read(tmp_path / name) for name in ("plain.png", "faces.png"))
    assert with_faces.shape[0] > plain.shape[0]
    with pytest.raises(OutputExistsError):
        draw_curve(measured, tmp_path / "plain.png")
    assert {path.name for path in tmp_path.glob("*.png")} == {"plain.png", "faces.png"}


def test_what_cannot_be_drawn_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_curve(tmp_path / "new.png")
    with pytest.raises(UsageError, match="cannot be written"):
        check_curve(tmp_path / "none" / "new.png")
    monkeypatch.setattr(drawing, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="matplotlib"):
        check_curve(tmp_path / "new.png")


def test_the_command_line_draws_the_fit_that_it_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "FAIRNESS", (0.0, 1.0))
    monkeypatch.setattr(measuring, "RHOS", (1.0, 0.5))
    folder = make_bundle(tmp_path / "tiny")
    output, picture = tmp_path / "new.privatizer", tmp_path / "new.png"
    arguments = ["fit", "-o", str(output), "--bundle", str(folder), "--private", "male", "--utility", "smiling"]
    arguments += ["--fairness", "0.04", "--curve", str(picture)]
    done = CliRunner().invoke(app, [*arguments, "--method", "minmax"])
    assert done.exit_code == 2, done.stderr
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    assert "The curve is in" in done.stdout
    assert images.read(picture).shape[1] > 500
    output.unlink()
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    assert "new.png exists already" in again.stderr
    assert not output.exists()
