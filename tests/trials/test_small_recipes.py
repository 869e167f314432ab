"""The whole recipe of digits and of rows, from made-up files to a bundle with its gaps: a minute each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the central trainer needs the extra 'export'")

from test_export_bernoulli import write_digits, write_rows

from export.bernoulli import Settings
from export.datasets import adult, mnist
from export.datasets.labelled import TEST
from privsdk.bundle import Bundle
from privsdk.errors import TrainingDataError


def test_made_up_digits_become_a_bundle(
    tmp_path: Path, export: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    data, out, place = write_digits(tmp_path / "data"), tmp_path / "run", tmp_path / "bundles" / "digits"
    place.parent.mkdir()
    command = ("recipe", "digits", "--data", data, "--out", out, "--bundle", place, "--flow-steps", 60)
    export(*command, "--epochs", 40, "--public-latents", 1000)
    assert "Digit, accuracy: " in capsys.readouterr().out
    bundle = Bundle.open(place)
    bundle.verify()
    assert (bundle.kind, bundle.sample_shape, bundle.latent_size) == ("digits", (28, 28), 10)
    assert bundle.manifest["groups"] == {"Digit": list(mnist.DIGITS)}
    assert len(bundle.public) == 1000
    test = mnist.load(data).part(TEST)
    latents = bundle.encode(test.samples)
    said = bundle.scores.scores(latents.mean) > 0
    assert (said == test.labels).mean() > 0.95
    made = bundle.decode(latents.mean)
    assert made.shape == test.samples.shape
    assert np.abs(made.astype(int) - test.samples).mean() < 25
    # What is trained already is not trained again, and other settings do not go on with it.
    before = (out / "vae" / "last.pt").stat().st_mtime_ns
    export(*command, "--epochs", 40, "--public-latents", 1000)
    assert (out / "vae" / "last.pt").stat().st_mtime_ns == before
    assert Bundle.open(place).digest == bundle.digest
    with pytest.raises(TrainingDataError, match="holds a run with other settings"):
        Settings.of("digits", data, 41, 60, 1000, 0).begin(out)
    write_digits(data, training=500)
    with pytest.raises(TrainingDataError, match="holds a run with other settings or data"):
        Settings.of("digits", data, 40, 60, 1000, 0).begin(out)


def test_made_up_rows_become_a_bundle(tmp_path: Path, export: Callable[..., None]) -> None:
    data, out, place = write_rows(tmp_path / "data"), tmp_path / "run", tmp_path / "rows"
    export(
        *("recipe", "table", "--data", data, "--out", out, "--bundle", place),
        *("--epochs", 100, "--flow-steps", 60, "--public-latents", 1000),
    )
    bundle = Bundle.open(place)
    bundle.verify()
    assert (bundle.kind, bundle.sample_shape, bundle.latent_size) == ("table", (109,), 30)
    assert "groups" not in json.loads((place / "manifest.json").read_text())
    test = adult.load(data).part(TEST)
    latents = bundle.encode(test.samples)
    said = bundle.scores.scores(latents.mean) > 0
    assert (said == test.labels)[:, 0].mean() > 0.95
    for group in np.split(bundle.decode(latents.mean), np.cumsum(adult.SIZES)[:-1], axis=1):
        assert set(np.unique(group)) <= {0, 1}
        assert (group.sum(axis=1) == 1).all()
    card = (place / "MODEL_CARD.md").read_text()
    assert "for rows of a table, frozen" in card
    assert "408 rows of 408 people in the train partition" in card
