"""The paper's filters: what they refuse, how they hold their budget, and what a fresh attacker finds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from privsdk import filters
from privsdk.errors import PrivatizerError, UnworkablePairError, UsageError
from privsdk.filters import divergences, posterior
from privsdk.filters.linear import LinearFilter
from privsdk.filters.nonlinear import NonlinearFilter
from privsdk.fitting.data import FitData

pytest.importorskip("torch")

import torch

from privsdk.fitting import minmax
from privsdk.fitting.check import auroc, torch_attackers

SIZE = 12
FORMS = [("linear", True), ("nonlinear", True), ("nonlinear", False)]


def made_up(count: int, seed: int, classes: int = 2) -> FitData:
    """Latents whose private classes lie on two clusters each, and a utility label tied to them a little.

    The last dimension is unused.
    """
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, 2, SIZE))
    private = rng.integers(0, classes, count)
    utility = (rng.random(count) < 0.35 + 0.3 * (private == 0)).astype(np.float32)
    mean = 0.6 * rng.normal(size=(count, SIZE)) + 0.9 * centres[private, rng.integers(0, 2, count)]
    mean[:, 0] = 1.5 * (2 * utility - 1) + 0.6 * rng.normal(size=count)
    used = np.arange(SIZE) < SIZE - 1
    variance = np.where(used, rng.uniform(0.02, 0.06, size=(count, SIZE)), 1.0)
    return FitData(
        np.where(used, mean, 0).astype(np.float32),
        variance.astype(np.float32),
        private.astype(np.int64),
        classes,
        utility[:, None],
        used,
    )


def released(fitted: filters.Filter, data: FitData, seed: int) -> NDArray[np.float32]:
    seeds = np.random.default_rng(seed).integers(0, 2**63, len(data), dtype=np.uint64)
    return fitted.perturb(data.mean, data.variance, seeds, data.private if fitted.label_aware else None)


def leakage(z: NDArray[np.float32], other: NDArray[np.float32], data: FitData, held_out: FitData) -> float:
    """Of attackers trained afresh on ``z``, judged on ``other``."""
    labels, sought = data.private.astype(np.float32), held_out.private.astype(np.float32)
    values = [auroc(attacker(z, labels, other), sought) for attacker in torch_attackers(0).values()]
    return max(max(value, 1 - value) for value in values)


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits of a second, enough for all but what a filter hides."""
    monkeypatch.setattr(minmax, "RESTARTS", 1)
    monkeypatch.setattr(minmax, "STEPS", 20)
    monkeypatch.setattr(minmax, "BATCH", 128)
    monkeypatch.setattr(minmax, "WARM_UP", 5)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


@pytest.fixture(scope="module")
def data() -> FitData:
    return made_up(1500, 0)


@pytest.fixture(scope="module", params=FORMS, ids=lambda form: f"{form[0]}-{'aware' if form[1] else 'free'}")
def fitted(request: pytest.FixtureRequest, data: FitData) -> minmax.LinearFilter | minmax.NonlinearFilter:
    """A short fit of each form."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        shorten(monkeypatch)
        return minmax.fit_minmax(data, *request.param)


@pytest.mark.parametrize(("form", "aware"), FORMS)
def test_a_fresh_attacker_finds_less_and_the_utility_label_stays(
    form: minmax.Form, aware: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minmax, "RESTARTS", 1)
    monkeypatch.setattr(minmax, "STEPS", 100)
    monkeypatch.setattr(minmax, "BATCH", 128)
    data, held_out = made_up(2500, 0), made_up(1500, 1)
    fitted = minmax.fit_minmax(data, form, aware, budget=8.0)
    before = leakage(data.mean, held_out.mean, data, held_out)
    z, other = released(fitted, data, 1), released(fitted, held_out, 2)
    assert before > 0.95
    assert leakage(z, other, data, held_out) < before - 0.15
    told = torch_attackers(0)["logistic"](z, data.utility[:, 0], other)
    assert auroc(told, held_out.utility[:, 0]) > 0.9


@pytest.mark.parametrize("divergence", ["l2", "kl"])
@pytest.mark.parametrize(("form", "aware"), FORMS)
@pytest.mark.usefixtures("short")
def test_the_budget_holds_on_latents_not_fitted_on(
    form: minmax.Form, aware: bool, divergence: minmax.Divergence, data: FitData
) -> None:
    budget = {"l2": 1.5, "kl": 30.0}[divergence]
    fitted = minmax.fit_minmax(data, form, aware, budget, divergence)
    assert 0.9 * budget < fitted.reached <= 1.0001 * budget
    fresh = made_up(2000, 5)
    seeds = np.arange(len(fresh), dtype=np.uint64)
    shift = fitted.perturb(fresh.mean, fresh.variance, seeds, fresh.private) - posterior.sample(
        fresh.mean, fresh.variance, seeds, fresh.used
    )
    if divergence == "l2":
        measured = divergences.l2(shift)
    elif isinstance(fitted, LinearFilter):
        measured = divergences.kl(fitted.gamma_label[fresh.private], fresh.variance, fitted.gamma_noise.T)
    else:
        measured = divergences.kl(shift, fresh.variance)
    assert measured.mean() < 1.1 * budget


def test_the_default_budget_is_a_share_of_the_distance_between_samples(data: FitData) -> None:
    draws = data.mean[:, data.used] + np.sqrt(data.variance[:, data.used]) * np.random.default_rng(0).standard_normal(
        (len(data), SIZE - 1)
    )
    between = np.mean(np.sum((draws - draws[::-1]) ** 2, axis=1))
    assert minmax.default_budget(data, "l2") == pytest.approx(minmax.BUDGET_SHARE * between, rel=0.1)
    assert minmax.default_budget(data, "kl") > minmax.default_budget(data, "l2")


@pytest.mark.parametrize(("form", "aware"), FORMS)
@pytest.mark.usefixtures("short")
def test_the_same_seed_gives_the_same_filter_and_torch_stays_as_it_was(
    form: minmax.Form, aware: bool, data: FitData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minmax, "RESTARTS", 2)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    first = minmax.fit_minmax(data, form, aware, seed=3)
    again = minmax.fit_minmax(data, form, aware, seed=3)
    other = minmax.fit_minmax(data, form, aware, seed=4)
    assert torch.get_num_threads() == threads
    assert all(np.array_equal(array, again.arrays()[name]) for name, array in first.arrays().items())
    assert not all(np.array_equal(array, other.arrays()[name]) for name, array in first.arrays().items())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("short")
def test_progress_ends_at_its_total(data: FitData) -> None:
    calls: list[tuple[str, int, int]] = []
    minmax.fit_minmax(data, on_progress=lambda *call: calls.append(call))
    for stage in ("min-max", "choice"):
        done = [(step, total) for name, step, total in calls if name == stage]
        assert done == [(step, len(done)) for step in range(1, len(done) + 1)]


def test_a_filter_comes_back_from_its_arrays(fitted: filters.Filter, data: FitData) -> None:
    loaded = filters.load(fitted.kind, json.loads(json.dumps(fitted.settings())), fitted.arrays())
    assert np.array_equal(released(fitted, data, 0), released(loaded, data, 0))
    assert loaded.settings() == fitted.settings()


def test_a_damaged_filter_is_refused(fitted: filters.Filter, data: FitData) -> None:
    for name in fitted.arrays():
        missing = {other: array for other, array in fitted.arrays().items() if other != name}
        with pytest.raises(PrivatizerError, match="damaged"):
            filters.load(fitted.kind, fitted.settings(), missing)
        shorter = {**fitted.arrays(), name: fitted.arrays()[name][:-1]}
        if not name.startswith("gamma_label"):
            with pytest.raises(PrivatizerError, match="fit"):
                filters.load(fitted.kind, fitted.settings(), shorter)
    with pytest.raises(PrivatizerError, match="damaged"):
        filters.load(fitted.kind, {}, fitted.arrays())


def test_a_row_is_released_alike_whatever_is_beside_it(fitted: filters.Filter, data: FitData) -> None:
    together = released(fitted, data, 0)
    seeds = np.random.default_rng(0).integers(0, 2**63, len(data), dtype=np.uint64)
    for row in (slice(7, 8), slice(100, 130)):
        alone = fitted.perturb(data.mean[row], data.variance[row], seeds[row], data.private[row])
        assert np.allclose(alone, together[row], atol=1e-5)
    assert not np.allclose(together, released(fitted, data, 1), atol=0.1)


def test_unused_dimensions_leave_as_fresh_noise(fitted: filters.Filter, data: FitData) -> None:
    telling = data.mean.copy()
    telling[:, -1] = 100.0
    seeds = np.arange(len(data), dtype=np.uint64)
    z = fitted.perturb(telling, data.variance, seeds, data.private)
    assert np.array_equal(z, fitted.perturb(data.mean, data.variance, seeds, data.private))
    assert abs(z[:, -1].mean()) < 0.15
    assert z[:, -1].std() == pytest.approx(1, abs=0.1)


@pytest.mark.usefixtures("short")
def test_several_private_classes_are_hidden_together() -> None:
    data = made_up(1500, 0, classes=4)
    fitted = minmax.fit_minmax(data, "linear", True)
    assert isinstance(fitted, LinearFilter)
    assert fitted.gamma_label.shape == (4, SIZE)
    aware = minmax.fit_minmax(data, "nonlinear", True)
    assert isinstance(aware, NonlinearFilter)
    assert aware.private_classes == 4


@pytest.mark.parametrize("form", ["linear", "nonlinear"])
@pytest.mark.usefixtures("short")
def test_labels_that_do_not_fit_are_refused(form: minmax.Form, data: FitData) -> None:
    fitted = minmax.fit_minmax(data, form, True)
    seeds = np.arange(len(data), dtype=np.uint64)
    wrong = {
        "label-aware": None,
        "need 1500": data.private[:-1],
        "whole numbers": data.private.astype(np.float32),
        "must lie in": data.private + 1,
    }
    for message, private in wrong.items():
        with pytest.raises(UsageError, match=message):
            fitted.perturb(data.mean, data.variance, seeds, private)
    with pytest.raises(UsageError, match="seeds"):
        fitted.perturb(data.mean, data.variance, seeds[1:], data.private)
    with pytest.raises(UsageError, match="shape"):
        fitted.perturb(data.mean[:, 1:], data.variance[:, 1:], seeds, data.private)


def test_fits_that_cannot_work_are_refused(data: FitData) -> None:
    with pytest.raises(UnworkablePairError, match="hide"):
        minmax.fit_minmax(data[data.private == 0])
    with pytest.raises(UnworkablePairError, match="keep"):
        minmax.fit_minmax(data[data.utility[:, 0] == 0])


def test_parts_of_the_data_are_disjoint_and_repeat_themselves(data: FitData) -> None:
    first, second = data.split((0.7, 0.2), seed=1)
    assert (len(first), len(second)) == (1050, 300)
    rows = {row.tobytes() for row in first.mean} | {row.tobytes() for row in second.mean}
    assert len(rows) == 1350
    assert np.array_equal(first.mean, data.split((0.7, 0.2), seed=1)[0].mean)
    with pytest.raises(UsageError, match="fractions"):
        data.split((0.7, 0.7), seed=1)


def test_data_that_contradicts_itself_is_refused(data: FitData) -> None:
    fields = vars(data)
    for name, value in {
        "variance": data.variance[1:],
        "private": data.private[1:],
        "utility": data.utility[:, 0],
        "used": data.used[1:],
        "private_classes": 1,
    }.items():
        with pytest.raises(UsageError):
            FitData(**{**fields, name: value})
