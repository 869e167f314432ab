"""budget="auto": the dials by themselves, for a leakage that is asked for; and a fit that fails its own check."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from a_bundle import made_up_bundle
from make_bundle import flow_privatizer, make_bundle
from typer.testing import CliRunner

from privsdk import Bundle, FitSettings, NotReachedError, Privatizer, UsageError, check_wish, fitted, reuse
from privsdk.cli import app
from privsdk.filters.flow import FlowFilter
from privsdk.fitting import check, dials, fit
from privsdk.fitting.wish import Label, Wish

WISH = Wish((Label("Male", (0,), ("not Male", "Male")),), (Label("Smiling", (1,), ("not Smiling", "Smiling")),))


def test_a_leakage_that_can_be_had_is_had_with_as_much_utility_as_it_leaves() -> None:
    bundle: Any = made_up_bundle()
    stages = set()
    privatizer = fit(
        bundle, "male", "smiling", budget="auto", max_leakage=0.62, on_progress=lambda stage, *_: stages.add(stage)
    )
    settings, found = privatizer.record["settings"], privatizer.record["check"]
    assert "dials" in stages
    assert settings["budget"] == "auto"
    assert settings["fairness"] in dials.FAIRNESS
    assert (settings["a"], settings["rho"]) != (1.0, 1.0) or settings["fairness"] < 1
    assert settings["validation_leakage"] <= 0.62
    assert found["private"]["Male"]["leakage"] + found["private"]["Male"]["gap"] <= 0.62
    assert found["utility"]["Smiling"]["lost"] < 0.03
    assert isinstance(privatizer.filter, FlowFilter)
    assert (privatizer.filter.a, privatizer.filter.rho) == (settings["a"], settings["rho"])


def chosen(
    monkeypatch: pytest.MonkeyPatch, leakage: Any, max_leakage: float, labels: tuple[str, ...] = ("Male",)
) -> tuple[dials.Trial, list[tuple[float, float, float]]]:
    """What is chosen where each label leaks as ``leakage`` says, and all that was tried on the way."""
    tried = []

    def private_labels(seek: Any, attackers: Any, released: tuple[float, float, float], *rest: Any) -> dict[str, Any]:
        tried.append(released)
        return {
            label: {"leakage": leakage(label, *released) - 0.01, "gap": 0.01, "standard_error": 0.005 / 2}
            for label in labels
        }

    monkeypatch.setattr(check, "private_labels", private_labels)
    parts: Any = SimpleNamespace(
        candidates=lambda fairness: SimpleNamespace(fairness=fairness),
        filter=lambda choice, a, rho: SimpleNamespace(perturb=lambda *_: (choice.fairness, rho, a)),
    )
    validation: Any = type("Validation", (), {"mean": 0, "variance": 0, "__len__": lambda self: 1})()
    seeds = np.zeros(1, np.uint64)
    trial = dials.by_leakage(parts, validation, 10**9, seeds, WISH, max_leakage, {}, {}, lambda *_: None)
    return trial, tried


def test_utility_is_kept_first_then_the_code_then_the_latent_is_moved_least(monkeypatch: pytest.MonkeyPatch) -> None:
    def leakage(label: str, fairness: float, rho: float, a: float) -> float:
        return 0.56 + 0.1 * rho - 0.1 * min(fairness / 0.04, 1) - 0.02 * a

    # The margin is .005: .54 is aimed at.
    trial, tried = chosen(monkeypatch, leakage, 0.5451)
    assert (trial.choice.fairness, trial.rho, trial.a) == (0.02, 0.5, 1.0)
    trial, tried = chosen(monkeypatch, leakage, 0.6051)
    assert (trial.choice.fairness, trial.rho, trial.a) == (0.0, 0.6, 1.0)
    trial, tried = chosen(monkeypatch, leakage, 0.7)
    assert (trial.choice.fairness, trial.rho, trial.a) == (0.0, 1.0, 0.0)
    assert len(tried) == len(set(tried)) <= dials.MOST_TRIALS


def test_where_little_can_be_spared_no_more_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def leakage(label: str, fairness: float, rho: float, a: float) -> float:
        return 0.54 + (0.05 if label == "Young" and fairness < 0.03 else 0)

    trial, _ = chosen(monkeypatch, leakage, 0.542, ("Male", "Young"))
    assert (trial.choice.fairness, trial.rho, trial.a) == (0.03, 1.0, 0.0)
    with pytest.raises(NotReachedError, match=r"fairness 1, rho 0.5, a 1\) Male leaks 0.540 .* ask for 0.545"):
        chosen(monkeypatch, leakage, 0.539)


def test_what_auto_cannot_be_asked_with() -> None:
    bundle: Any = made_up_bundle(200)
    for wrong, said in (
        ({}, "give that too, or leave the budget out, which keeps the utility"),
        ({"max_leakage": 0.6, "rho": 0.9}, "leave these out"),
        ({"max_leakage": 0.6, "fairness": 0.0}, "leave these out"),
        ({"max_leakage": 0.6, "method": "minmax"}, "for method flow"),
    ):
        with pytest.raises(UsageError, match=said):
            check_wish(bundle, "male", "smiling", FitSettings(budget="auto", **wrong))  # type: ignore[arg-type]


def test_another_leakage_is_another_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, fits = Bundle.open(make_bundle(tmp_path / "tiny")), []

    def made(bundle: Bundle, *_: Any, max_leakage: float, budget: str, **settings: Any) -> Privatizer:
        fits.append((budget, max_leakage))
        return flow_privatizer(bundle)

    monkeypatch.setattr(reuse, "fit", made)
    for max_leakage in (0.63, 0.63, 0.7):
        fitted(tiny, "male", "smiling", FitSettings(budget="auto", max_leakage=max_leakage))
    assert fits == [("auto", 0.63), ("auto", 0.7)]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--budget", "auto"), 2, "stays under max_leakage"),
        (("--budget", "much"), 2, "a number above 0, or auto"),
        (("--budget", "0"), 2, "a number above 0"),
        (("--budget", "auto", "--max-leakage", "0.5"), 4, "at the strongest setting of the dials"),
    ],
)
def test_the_command_line_takes_a_number_or_auto(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    folder, output = make_bundle(tmp_path / "tiny"), tmp_path / "new.privatizer"
    wish = ("--bundle", str(folder), "--private", "male", "--utility", "smiling")
    done = CliRunner().invoke(app, ["fit", "-o", str(output), *wish, *arguments, "--quiet"])
    assert done.exit_code == code, done.stderr
    assert said in done.stderr
    assert not output.exists()


def found_in_code(leakage: float) -> dict[str, Any]:
    return {"code": {"Male": leakage}, "private": {"Male": {"standard_error": 0.01}}}


def test_a_code_that_tells_the_private_label_is_not_saved_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    check.require_clean_code(found_in_code(0.639), WISH)
    with pytest.raises(NotReachedError, match=r"failed its own check: .* Male, .* 0\.641 \(allowed: 0\.640\)"):
        check.require_clean_code(found_in_code(0.641), WISH)
    digit = Label("Male", tuple(range(10)), tuple("0123456789"))
    check.require_clean_code(found_in_code(0.648), Wish((digit,), WISH.utility_labels))  # the largest of ten
    with pytest.raises(NotReachedError):
        check.require_clean_code(found_in_code(0.649), Wish((digit,), WISH.utility_labels))

    bundle: Any = made_up_bundle(2000)
    monkeypatch.setattr(FlowFilter, "codes", lambda self, mean, *_: mean)  # as if nothing had been taken out
    monkeypatch.setattr(FlowFilter, "perturb", lambda self, mean, *_: mean)
    with pytest.raises(NotReachedError, match="failed its own check"):
        fit(bundle, "male", "smiling", fairness=0.0)
