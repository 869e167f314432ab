"""Labels that the bundle does not know: learned from own samples, hidden or kept, and refused where too few say it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from a_bundle import MadeUpBundle, made_up_bundle
from numpy.typing import NDArray

import privsdk
from privsdk import Bundle, Latents, NotReachedError, Privatizer, UnknownLabelError, UnworkablePairError, UsageError
from privsdk.fitting import check, fit
from privsdk.fitting.engines.by_torch import TorchEngine
from privsdk.fitting.engines.closed_form import ClosedForm
from privsdk.fitting.own_check import warnings
from privsdk.fitting.own_labels import Extended, OwnLabel, standard_error

REPOSITORY = Path(__file__).resolve().parent.parent
SIZE = 10
ALONG = np.random.default_rng(99).normal(size=SIZE)


def people(bundle: MadeUpBundle, count: int, seed: int) -> tuple[Latents, NDArray[np.int64]]:
    """Latents that the bundle has not seen, and whether each has a dog: a direction of the latent that no score is."""
    rng = np.random.default_rng(seed)
    z = bundle.flow.inverse(rng.standard_normal((count, SIZE - 1), np.float32))
    log_odds = ((z - bundle.scores.shift) * bundle.scores.inverse_scale) @ (4 * ALONG / np.linalg.norm(ALONG))
    return Latents(z, np.full_like(z, 0.02)), (rng.random(count) < 1 / (1 + np.exp(-log_odds))).astype(np.int64)


@pytest.fixture(scope="module")
def made_up() -> Any:
    return made_up_bundle()


@pytest.fixture(scope="module")
def hidden(made_up: Any) -> Privatizer:
    own, dogs = people(made_up, 500, 1)
    return fit(made_up, "has dog", "smiling", data=own, labels={"has_dog": dogs}, seed=1)


def assert_hidden(
    privatizer: Privatizer, others: Latents, private: np.ndarray, most: float, utility: np.ndarray
) -> None:
    """Attackers of all families find the private label in the latents of others, not in releases of them."""
    seeds = np.arange(len(others), dtype=np.uint64)
    released = privatizer.filter.perturb(others.mean, others.variance, seeds)
    for attacker in (ClosedForm().attackers(0) | TorchEngine().attackers(0)).values():
        assert check.judge(attacker, others.mean, private).leakage > 0.9
        assert check.judge(attacker, released, private).leakage < most
    assert check.judge(check.numpy_logistic, released, utility).accuracy > 0.9


def test_an_own_label_is_hidden_from_fresh_attackers_on_others(made_up: Any, hidden: Privatizer) -> None:
    others, dogs = people(made_up, 4000, 2)
    smiles = (made_up.scores.scores(others.mean)[:, 1] > 0).astype(np.int64)
    assert_hidden(hidden, others, private=dogs, most=0.62, utility=smiles)


def test_the_record_says_what_was_found_on_own_samples(hidden: Privatizer) -> None:
    assert hidden.private == ("has_dog",)
    assert hidden.record["own_labels"] == ["has_dog"]
    found = hidden.record["check"]
    own = found["own_samples"]["has_dog"]
    assert own["samples"] == 500
    assert own["auroc_unfiltered"] > 0.9
    assert own["leakage"] < 0.62
    assert own["standard_error"] == pytest.approx(0.026, abs=0.001)
    assert found["private"]["has_dog"]["gap"] >= max(0.01, own["leakage"] - found["private"]["has_dog"]["leakage"])
    assert found["calibration"]["has_dog"]["measured_on"] == "own samples"
    assert found["calibration"]["has_dog"]["error"] < 0.08
    assert found["warnings"] == []


def test_an_own_label_can_be_kept_beside_one_that_the_bundle_knows(made_up: Any) -> None:
    own, dogs = people(made_up, 300, 3)
    given = np.where(np.arange(300) < 250, dogs, np.nan)  # of fifty photos it was not said
    privatizer = fit(made_up, "male", "smiling", keep="has_dog", data=own, labels={"has_dog": given})
    assert privatizer.utility == ("Smiling", "has_dog")
    found = privatizer.record["check"]["own_samples"]["has_dog"]
    assert found["samples"] == 250
    assert found["accuracy"] > found["accuracy_unfiltered"] - 0.08
    others, dogs = people(made_up, 4000, 4)
    released = privatizer.filter.perturb(others.mean, others.variance, np.arange(4000, dtype=np.uint64))
    assert check.judge(check.numpy_logistic, released, dogs).accuracy > 0.82


def test_it_is_saved_and_loaded(made_up: Any, hidden: Privatizer) -> None:
    again = Privatizer.from_bytes(hidden.to_bytes(), made_up)
    assert again.private == ("has_dog",)
    others, _ = people(made_up, 50, 5)
    seeds = np.arange(50, dtype=np.uint64)
    assert np.array_equal(again.perturb(others, draws=seeds), hidden.perturb(others, draws=seeds))
    with pytest.raises(privsdk.PrivatizerError, match="no label has_dog"):
        Privatizer(made_up, hidden.filter, hidden.record | {"own_labels": []})
    with pytest.raises(privsdk.PrivatizerError, match="own_labels"):
        Privatizer(made_up, hidden.filter, hidden.record | {"own_labels": "has_dog"})


def test_too_few_samples_are_refused_with_the_reason(made_up: Any) -> None:
    own, dogs = people(made_up, 200, 6)
    few = np.concatenate([np.flatnonzero(dogs == 1)[:9], np.flatnonzero(dogs == 0)])
    with pytest.raises(UnworkablePairError, match="9 samples that have it and .*at least 10 of either"):
        fit(made_up, "has_dog", "smiling", data=own[few], labels={"has_dog": dogs[few]})
    with pytest.raises(UnworkablePairError, match="one class only in the samples"):
        fit(made_up, "has_dog", "smiling", data=own, labels={"has_dog": np.ones(200)})
    with pytest.raises(UnknownLabelError, match="no label 'has_dog'"):
        fit(made_up, "has_dog", "smiling", data=own)
    with pytest.raises(UsageError, match="without the samples"):
        fit(made_up, "has_dog", "smiling", labels={"has_dog": dogs})
    with pytest.raises(UsageError, match="each 0 or 1"):
        fit(made_up, "has_dog", "smiling", data=own, labels={"has_dog": dogs + 1})
    with pytest.raises(UsageError, match="given twice"):
        fit(made_up, "has_dog", "smiling", data=own, labels={"has_dog": dogs, "Has Dog": dogs})


def test_a_label_of_which_nothing_shows_is_not_called_hidden(made_up: Any) -> None:
    own, _ = people(made_up, 200, 7)
    for private, utility in (("has_dog", "smiling"), ("male", "has_dog")):
        with pytest.raises(NotReachedError, match="cannot be told from guessing"):
            fit(made_up, private, utility, data=own, labels={"has_dog": np.arange(200) % 2})


def test_few_samples_are_enough_for_a_fit_and_not_for_silence(made_up: Any) -> None:
    own, dogs = people(made_up, 60, 8)
    privatizer = fit(made_up, "has_dog", "smiling", data=own, labels={"has_dog": dogs})
    (warning,) = privatizer.record["check"]["warnings"]
    assert "known from 60 samples only" in warning
    assert "are needed for one of 0.03" in warning
    assert "from what the filter has not learned of" in warning


def test_what_few_samples_leave_open_is_about_what_somebody_with_many_finds(made_up: Any) -> None:
    others, dogs = people(made_up, 8000, 12)
    for count in (40, 150):
        own, few = people(made_up, count, 13)
        learned = OwnLabel.learned("has_dog", made_up.scores, made_up.public, own.mean, few == 1, 0)
        score = learned.score.scores(others.mean)
        left = others.mean - score * (np.cov(others.mean.T, score.T)[-1:, :-1] / score.var())  # Gaussian: nothing of it
        told = check.judge(check.numpy_logistic, left.astype(np.float32), dogs).leakage
        assert learned.unlearned == pytest.approx(told, abs=0.08)


@pytest.mark.parametrize("name", ["Smilling", 3])
def test_labels_that_nobody_asks_for_and_nobody_knows_are_refused(made_up: Any, name: Any) -> None:
    latents, labels = people(made_up, 300, seed=8)
    with pytest.raises(UsageError, match="name"):
        fit(made_up, "male", "smiling", data=latents, labels={name: labels})


def test_warnings_of_leaks_and_of_calibration() -> None:
    own = {"samples": 1500, "positives": 700, "unlearned": 0.55, "leakage": 0.7, "standard_error": 0.02}
    found = {
        "measured_on": "public latents",
        "private": {"has_dog": {"leakage": 0.55}},
        "own_samples": {"has_dog": own},
        "calibration": {
            "has_dog": {"error": 0.05, "measured_on": "own samples", "samples": 1000},
            "Smiling": {"error": 0.2, "measured_on": "own samples", "samples": 1000},
            "Young": {"error": 0.2, "measured_on": "own samples", "samples": 40},
        },
    }
    leaks, off = warnings(found)
    assert leaks.startswith(
        "has_dog leaks more on own samples that the filter had not seen (0.70) than on public latents"
    )
    assert off.startswith("The probabilities that the score of Smiling states are off by 0.20")


def test_unlabelled_own_latents_join_the_fit(made_up: Any) -> None:
    own, _ = people(made_up, 400, 9)
    privatizer = fit(made_up, "male", "smiling", data=own)
    assert privatizer.record["check"]["private"]["Male"]["leakage"] < 0.6
    assert "own_samples" not in privatizer.record["check"]
    with pytest.raises(UsageError, match="not finite"):
        fit(made_up, "male", "smiling", data=Latents(own.mean * np.nan, own.variance))
    with pytest.raises(UsageError, match="have 3 numbers"):
        fit(made_up, "male", "smiling", data=Latents(own.mean[:, :3], own.variance[:, :3]))


def test_a_filter_fitted_on_own_latents_alone_holds_on_others(made_up: Any) -> None:
    own, _ = people(made_up, 3000, 10)
    privatizer = fit(made_up, "male", "smiling", data=own, fit_on="own")
    assert privatizer.record["check"]["measured_on"] == "own samples"
    assert privatizer.record["check"]["latents"] == 750
    assert "is known of the default filter alone" in privatizer.record["check"]["warnings"][-1]
    with pytest.raises(NotReachedError, match="nobody knows how much more"):
        privatizer.require(0.99)
    others, _ = people(made_up, 4000, 11)
    men, smiles = (made_up.scores.scores(others.mean)[:, :2] > 0).astype(np.int64).T
    assert_hidden(privatizer, others, private=men, most=0.6, utility=smiles)


def test_own_samples_may_take_no_part_or_all_in_a_fit(made_up: Any) -> None:
    own, _ = people(made_up, 400, 9)
    apart = fit(made_up, "male", "smiling", data=own, fit_on="public").filter.arrays()
    assert all((apart[name] == array).all() for name, array in fit(made_up, "male", "smiling").filter.arrays().items())
    with pytest.raises(UsageError, match="400 own samples are too few"):
        fit(made_up, "male", "smiling", data=own, fit_on="own")
    with pytest.raises(UsageError, match="0 own samples are too few"):
        fit(made_up, "male", "smiling", fit_on="own")
    many, _ = people(made_up, 1000, 9)
    with pytest.raises(UnworkablePairError, match="59 own samples are 'Male' of Male"):
        fit(made_up, "male", "smiling", data=many, labels={"male": np.arange(1000) < 59}, fit_on="own")
    with pytest.raises(UsageError, match="nothing to fit on called 'mine'"):
        fit(made_up, "male", "smiling", data=own, fit_on="mine")  # type: ignore[arg-type]


def test_calibration_is_measured_on_own_labels_or_told_by_the_bundle(made_up: Any) -> None:
    own, _ = people(made_up, 1000, 10)
    likely = 1 / (1 + np.exp(-made_up.scores.scores(own.mean)[:, 0]))
    male = (np.random.default_rng(0).random(1000) < likely).astype(np.int64)
    found = fit(made_up, "male", "smiling", data=own, labels={"male": male}).record["check"]
    assert found["calibration"]["Male"]["error"] < 0.06
    assert found["calibration"]["Male"]["samples"] == 1000
    assert "Smiling" not in found["calibration"]  # the made-up bundle does not say it


def test_scores_of_an_extended_bundle_are_those_that_were_learned(made_up: Any) -> None:
    own, dogs = people(made_up, 300, 11)
    learned = OwnLabel.learned("has_dog", made_up.scores, made_up.public, own.mean, dogs == 1, 0)
    extended = Extended.of(made_up, [learned], 0)
    assert extended.scores.fits(SIZE, 5)
    assert extended.moments.fits(5, SIZE - 1)
    assert extended.joint_scores.fits(5)
    scores = extended.scores.scores(own.mean)
    assert np.allclose(scores[:, :4], made_up.scores.scores(own.mean), atol=1e-4)
    assert np.allclose(scores[:, 4:], learned.score.scores(own.mean), atol=1e-4)
    assert extended.public.labels.shape == (len(made_up.public), 5)
    assert check.auroc(scores[:, 4], dogs) > learned.auroc - 0.02
    for pair in ((0, 1), (1, 3), (2, 3)):
        assert np.array_equal(extended.joint_scores._pair(*pair), made_up.joint_scores._pair(*pair))


def test_the_standard_error_is_that_of_many_repetitions() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3 == 0
    areas = [check.auroc((rng.normal(size=60) + labels).astype(np.float32), labels) for _ in range(2000)]
    assert standard_error(float(np.mean(areas)), labels) == pytest.approx(float(np.std(areas)), rel=0.15)


def test_photos_and_a_table_of_labels_on_the_command_line(photos: Path, tmp_path: Path) -> None:
    """Portraits and a CSV with a name that the bundle does not know: fitted, saved, released with labels."""
    with (REPOSITORY / "examples" / "labels.csv").open(encoding="utf-8") as file:
        (_, *rows) = csv.reader(file)
    lines = [f"{name},{male},{number % 2}" for number, (name, male) in enumerate(rows)]
    (tmp_path / "own.csv").write_text("\n".join(["file,Plays_chess,noise", *lines]), encoding="utf-8")
    (tmp_path / "broken.jpg").write_bytes(b"broken")

    def run(*arguments: str, code: int) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "privsdk", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    wish = ("--utility", "smiling", "-o", "own.privatizer", "--quiet")
    where = (str(photos), "--labels", "own.csv")
    assert "name the photos" in run("fit", "--labels", "own.csv", "--private", "plays chess", *wish, code=2).stderr
    assert "no label 'plays'" in run("fit", *where, "--private", "plays", "--keep", "noise", *wish, code=2).stderr
    few = run("fit", str(photos), "broken.jpg", "--private", "male", "--fit-on", "own", *wish, code=2).stderr
    assert f"{len(list(photos.glob('*.jpg'))) + 1} own samples are too few" in few
    assert "refused" not in few  # said before any photo is read
    assert "from guessing" in run("fit", *where, "--private", "noise", *wish, code=4).stderr
    assert not (tmp_path / "own.privatizer").exists()

    done = run("fit", "broken.jpg", *where, "--private", "plays chess", *wish, "--keep", "young", "--json", code=1)
    assert "refused broken.jpg: " in done.stderr
    assert "warning: plays chess is known from 24 samples only" in done.stderr
    record = json.loads(done.stdout)["record"]
    assert record["own_labels"] == ["plays chess"]
    assert record["utility"] == ["Smiling", "Young"]

    (tmp_path / "smiles.csv").write_text("file,smiling\nphoto-01.jpg,1\n", encoding="utf-8")
    saved = ("--privatizer", "own.privatizer", "--labels", "smiles.csv", "--output", "released", "--json")
    released = json.loads(run("privatize", str(photos), *saved, code=0).stdout)["released"]
    assert [each["labels"] for each in released if each["labels"]] == [{"Smiling": 1}]


def test_an_own_utility_label_is_released_beside_the_sample(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    with (REPOSITORY / "examples" / "labels.csv").open(encoding="utf-8") as file:
        known = {name: {"tall": int(male)} for name, male in list(csv.reader(file))[1:]}
    found = privsdk.photos_in(photos)
    samples, labels, refusals = privsdk.read_labelled_faces(found, known, ("tall", "young"))
    assert not refusals
    assert list(labels) == ["tall"]
    privatizer = fit(bundle, "young", "tall", data=samples, labels=labels)
    privatizer.save(tmp_path / "tall.privatizer")
    loaded = Privatizer.load(tmp_path / "tall.privatizer", bundle)
    release, *_ = loaded.release(found[:1], tmp_path / "out", labels=known)
    assert isinstance(release, privsdk.Release)
    assert release.labels == known[found[0].name]
