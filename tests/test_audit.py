"""An audit finds leaks planted in a filter and little in one that holds, and never says more than it can."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from a_bundle import made_up_bundle

pytest.importorskip("torch")
pytest.importorskip("sklearn")

import privsdk
from privsdk import NotReachedError, Privatizer, PrivatizerError, Report, UsageError
from privsdk.filters import Filter
from privsdk.fitting import fit

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def made_up() -> Any:
    return made_up_bundle(4000)


@pytest.fixture(scope="module")
def holding(made_up: Any) -> Privatizer:
    return fit(made_up, "male", "smiling")


@pytest.fixture(scope="module")
def report(holding: Privatizer) -> Report:
    return privsdk.audit(holding, quick=True)


@dataclass(frozen=True)
class InTheSpread:
    """A filter whose releases are wider where a score is high: their means tell nothing of it."""

    inner: Filter
    bundle: Any
    label_aware: bool = False

    def perturb(self, mean: np.ndarray, variance: np.ndarray, seeds: np.ndarray, private: Any = None) -> np.ndarray:
        released = self.inner.perturb(mean, variance, seeds)
        centre = released.mean(axis=0)
        wide = 1 + 0.6 * (self.bundle.scores.scores(mean)[:, :1] > 0)
        return (centre + wide * (released - centre)).astype(np.float32)


def test_a_leak_that_the_mean_does_not_show_is_found(made_up: Any, holding: Privatizer) -> None:
    leaking = Privatizer(made_up, InTheSpread(holding.filter, made_up), holding.record)
    found = privsdk.audit(leaking, quick=True, threads=2)
    told = found.private["Male"]
    assert told.leakage > 0.75
    assert next(one for one in told.attacks if one.attacker == "logistic regression").leakage < 0.62
    # What the fit once found does not make it better.
    assert told.on_real_samples == told.leakage
    with pytest.raises(NotReachedError, match=r"Male may leak 0\.\d+ on real samples"):
        found.require(max_leakage=0.7)


def test_it_answers_for_real_samples_with_the_gap_that_was_measured(holding: Privatizer, report: Report) -> None:
    checked = holding.record["check"]["private"]["Male"]
    told = report.private["Male"]
    assert told.on_real_samples == max(told.leakage, checked["leakage"] + checked["gap"])
    report.require(max_leakage=told.on_real_samples, min_utility=report.utility["Smiling"].accuracy)
    with pytest.raises(NotReachedError, match=r"Smiling is named rightly in 0\.\d+ of the releases"):
        report.require(min_utility=0.999)
    with pytest.raises(UsageError, match=r"max_leakage is 0\.4"):
        report.require(max_leakage=0.4)
    with pytest.raises(UsageError, match="min_utility is nan"):
        report.require(min_utility=float("nan"))


def test_nobody_knows_what_real_samples_leak_under_another_filter(made_up: Any) -> None:
    found = privsdk.audit(fit(made_up, "male", "smiling", method="minmax", form="linear", label_aware=True), quick=True)
    assert "nobody knows how much better from real samples" in found.verdict
    with pytest.raises(NotReachedError):
        found.require(max_leakage=0.99)


def test_the_combinations_of_several_labels_are_sought(made_up: Any) -> None:
    found = privsdk.audit(fit(made_up, ["male", "young"], "smiling"), quick=True)
    assert list(found.private) == ["Male", "Young", "Male and Young"]
    assert 0.25 < found.private["Male and Young"].base_rate < 0.4
    assert found.private["Male and Young"].leakage < 0.7


def test_the_same_seed_finds_the_same(holding: Privatizer) -> None:
    first, again, other = (privsdk.audit(holding, quick=True, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first.private["Male"].leakage != other.private["Male"].leakage


def test_what_public_latents_do_not_show_is_not_audited(made_up: Any, holding: Privatizer) -> None:
    own = {**holding.record, "private": ["has_dog"], "own_labels": ["has_dog"]}
    own["check"] = {**own["check"], "private": {"has_dog": own["check"]["private"]["Male"]}}
    with pytest.raises(UsageError, match="has_dog is a label of your own"):
        privsdk.audit(Privatizer(made_up, holding.filter, own))
    with pytest.raises(PrivatizerError, match="does not say with which seed"):
        privsdk.audit(Privatizer(made_up, holding.filter, {**holding.record, "settings": {}}))


def test_the_command_line(tmp_path: Path, bundle: privsdk.Bundle) -> None:
    file = tmp_path / "one.privatizer"
    privsdk.fit(bundle, "male", "smiling").save(file)

    def run(*arguments: str, code: int) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "privsdk", "audit", *arguments, "--quiet"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    found = json.loads(run(str(file), "--quick", "--json", "--max-leakage", "0.7", code=0).stdout)
    assert found["schema"] == 2
    assert found["private"]["Male"]["leakage"] < found["private"]["Male"]["on_real_samples"] < 0.7
    refused = run(str(file), "--quick", "--max-leakage", "0.51", code=4)
    assert refused.stdout.startswith("The strongest attacker tells Male")
    assert "Male may leak" in refused.stderr
    assert "one.privatizer2 cannot be read" in run(f"{file}2", code=3).stderr
