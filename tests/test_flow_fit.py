"""The default filter, fitted: fresh attackers find little, what was kept is kept, and refusals come first."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from a_bundle import MadeUpBundle, made_up_bundle

from privsdk.codec import Latents
from privsdk.errors import NotReachedError, UnknownLabelError, UnworkablePairError, UsageError
from privsdk.filters.flow import FlowFilter
from privsdk.filters.scores import clipped
from privsdk.fitting import check, fit
from privsdk.fitting.engines.by_torch import TorchEngine
from privsdk.fitting.engines.closed_form import ClosedForm
from privsdk.privatizer import Privatizer

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def bundle() -> Any:
    return made_up_bundle()


@pytest.fixture(scope="module")
def privatizer(bundle: Any) -> Privatizer:
    return fit(bundle, "male", "smiling", seed=1)


def bytes_of(privatizer: Privatizer) -> bytes:
    return b"".join(array.tobytes() for array in privatizer.filter.arrays().values())


def test_fresh_attackers_find_little_and_utility_stays(bundle: MadeUpBundle, privatizer: Privatizer) -> None:
    found = privatizer.record["check"]
    assert found["measured_on"] == "public latents"
    assert found["private"]["Male"]["leakage"] < 0.6
    assert found["private"]["Male"]["gap"] == 0.01
    assert found["utility"]["Smiling"]["lost"] < 0.03
    public = bundle.public
    plain = check.judge(check.numpy_logistic, public.mean[:2000], public.labels[:2000, 0].astype(np.float32))
    assert plain.leakage > 0.9
    rng = np.random.default_rng(0)
    fresh = bundle.flow.inverse(rng.standard_normal((4000, 9), np.float32))
    labels = (rng.random(4000) < 1 / (1 + np.exp(-bundle.scores.scores(fresh)[:, 0]))).astype(np.float32)
    released = privatizer.filter.perturb(fresh, np.full_like(fresh, 0.02), np.arange(4000, dtype=np.uint64))
    for attacker in (ClosedForm().attackers(0) | TorchEngine().attackers(0)).values():
        assert check.judge(attacker, released, labels).leakage < 0.6


def test_the_same_seed_gives_the_same_filter_and_leaves_torch_alone(bundle: Any, privatizer: Privatizer) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    again = fit(bundle, "Male", ["SMILING"], seed=1)
    assert bytes_of(again) == bytes_of(privatizer)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_progress_covers_every_stage(bundle: Any) -> None:
    seen: list[tuple[str, int, int]] = []
    fit(bundle, "male", "smiling", fairness=0.04, on_progress=lambda *step: seen.append(step))
    assert {stage for stage, _, _ in seen} == {"codes", "fair score", "flow", "check"}
    assert all(0 <= done <= total for _, done, total in seen)


def test_several_labels_at_once(bundle: Any) -> None:
    privatizer = fit(bundle, ["male", "young"], "smiling", fairness=0.1)
    found = privatizer.record["check"]["private"]
    assert {"Male", "Young", "Male and Young", "not Male and Young"} <= set(found)
    assert max(entry["leakage"] for entry in found.values()) < 0.65


def test_own_labelled_latents_join_the_fit(bundle: Any, privatizer: Privatizer) -> None:
    smiling = np.argsort(bundle.scores.scores(bundle.public.mean)[:, 1])[-1500:]
    own = Latents(bundle.public.mean[smiling], bundle.public.variance[smiling])
    labels = {"male": bundle.public.labels[smiling, 0], "Smiling": np.arange(1500) % 2}
    fitted = fit(bundle, "male", "smiling", data=own, labels=labels, seed=1).filter
    # They shape the fair score, and the filter carries nobody's own scores.
    above = [np.median(one.fair_score.tables[0].everyone[1]) for one in (fitted, privatizer.filter)]
    assert above[0] > above[1] + 0.5
    mine = clipped(bundle.scores.only([0, 1]).scores(own.mean))
    assert not {tuple(pair) for pair in mine.tolist()} & {tuple(pair) for pair in fitted.population.tolist()}
    others = replace(own, mean=own.mean + 0.013)  # nobody's among the public latents
    mine = clipped(bundle.scores.only([0, 1]).scores(others.mean))
    fitted = fit(bundle, "male", "smiling", data=others, labels=labels, seed=1).filter
    for affine, (column,) in zip(fitted.code.affine, fitted.code.columns, strict=True):
        places = affine.basis.knots[:, None] - 1e-3 * np.arange(5)[:, None]
        assert np.abs(places - mine[:, column]).min() > 1e-6
    extreme = replace(own, mean=own.mean + 9)  # their scores lie beyond everybody's, at the tables' ends
    fitted = fit(bundle, "male", "smiling", data=extreme, labels=labels, seed=1).filter
    table = fitted.fair_score.tables[0]
    told = np.concatenate([part.ravel() for part in (table.needed, table.levels, table.balance, table.everyone)])
    mine = clipped(bundle.scores.only([0, 1]).scores(extreme.mean))
    assert not np.isin(told, mine[np.abs(mine) < 12]).any()
    with pytest.raises(UnworkablePairError, match="one class only in the samples"):
        fit(bundle, "male", "smiling", data=own, labels=labels | {"male": np.ones(1500)})
    with pytest.raises(UsageError, match="variance"):
        fit(bundle, "male", "smiling", data=replace(own, variance=-own.variance), labels=labels)
    with pytest.raises(UsageError, match="1500 numbers"):
        fit(bundle, "male", "smiling", data=own, labels=labels | {"male": np.ones(3)})


@pytest.mark.parametrize(
    ("private", "utility", "error"),
    [
        ("male", "male", UnworkablePairError),
        (["male", "Male"], "smiling", UnworkablePairError),
        ("mael", "smiling", UnknownLabelError),
        ("bald", "smiling", UnworkablePairError),
        ([], "smiling", UsageError),
        ("male", [], UsageError),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(bundle: Any, private: Any, utility: Any, error: type) -> None:
    steps: list[object] = []
    with pytest.raises(error):
        fit(bundle, private, utility, on_progress=lambda *step: steps.append(step))
    assert not steps


@pytest.mark.parametrize(
    "wrong",
    [
        {"a": 1.5},
        {"rho": 0.0},
        {"fairness": -1.0},
        {"budget": 0.0},
        {"budget": float("inf")},
        {"max_leakage": 0.3},
        {"method": "x"},
        {"seed": -1},
        {"seed": 2**64},
        {"label_aware": True},
        {"divergence": "kl"},
        {"budget": "auto"},
        {"method": "minmax", "form": "linear"},
        {"method": "minmax", "form": "cubic"},
        {"method": "minmax", "divergence": "l1"},
        {"method": "minmax", "budget": float("nan")},
        {"method": "minmax", "rho": 0.8},
        {"method": "minmax", "fairness": 1.0},
    ],
)
def test_settings_out_of_range_are_refused(bundle: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        fit(bundle, "male", "smiling", **wrong)


def test_what_is_not_reached_is_refused(bundle: Any) -> None:
    with pytest.raises(NotReachedError, match="a private label leaks"):
        fit(bundle, "male", "smiling", fairness=0.0, max_leakage=0.501)
    with pytest.raises(NotReachedError, match="distortion"):
        fit(bundle, "male", "smiling", budget=1e-3)


def test_a_distortion_budget_is_held(bundle: Any, privatizer: Privatizer) -> None:
    free = privatizer.record["settings"]["distortion"]
    held = fit(bundle, "male", "smiling", budget=0.8 * free, seed=1)
    assert held.record["settings"]["distortion"] <= 0.8 * free
    assert isinstance(held.filter, FlowFilter)
    assert held.filter.a < 1


@pytest.mark.parametrize(
    ("engine", "fitted_by", "method", "attackers"),
    [
        ("auto", "onnx", "flow", ["logistic", "mlp", "mlp standardised"]),
        ("closed-form", "closed-form", "closed-form", ["logistic", "k-nearest neighbours"]),
    ],
)
def test_without_torch_onnx_runtime_trains(
    tmp_path: Path, engine: str, fitted_by: str, method: str, attackers: list[str]
) -> None:
    script = f"""
import sys
sys.modules["torch"] = None
from a_bundle import made_up_bundle
from privsdk.fitting import fit
privatizer = fit(made_up_bundle(), "male", "smiling", engine={engine!r})
found = privatizer.record["check"]["private"]["Male"]
assert privatizer.method == {method!r}, privatizer.method
assert privatizer.record["settings"]["engine"] == {fitted_by!r}, privatizer.record
assert (privatizer.filter.code.couplings is None) == ({method!r} == "closed-form")
assert found["leakage"] < 0.65, found
assert found["strongest"] in {attackers}, found
assert privatizer.record["check"]["utility"]["Smiling"]["lost"] < 0.03, privatizer.record
"""
    here = Path(__file__).resolve().parent
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{here}:{here.parent}", "PRIVSDK_HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
