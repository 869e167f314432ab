"""The paper's filters: what they refuse, how they hold their budget, and what a fresh attacker finds."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import get_args

import numpy as np
import pytest
from a_bundle import made_up_bundle
from numpy.typing import NDArray

import privsdk
from privsdk import filters
from privsdk.errors import NotReachedError, PrivatizerError, UnworkablePairError, UsageError
from privsdk.filters import divergences, posterior
from privsdk.filters.chain import Polished
from privsdk.filters.linear import LinearFilter
from privsdk.filters.nonlinear import NonlinearFilter
from privsdk.fitting.asked import Asked
from privsdk.fitting.data import FitData
from privsdk.reuse import FitSettings

pytest.importorskip("torch")

import torch

from privsdk.fitting.check import judge
from privsdk.fitting.engines.by_torch import TorchEngine
from privsdk.fitting.minmax import budget as budgets
from privsdk.fitting.minmax import draw, fit, fit_minmax, polish
from privsdk.fitting.minmax.choice import gaussians, told
from privsdk.fitting.minmax.recipe import RECIPES, Form, Recipe, Scheme, Step

SIZE = 12
FORMS: list[tuple[Form, bool]] = [("linear", True), ("nonlinear", True), ("nonlinear", False)]
IDS = ["linear", "nonlinear-aware", "nonlinear-free"]
Filters = LinearFilter | NonlinearFilter


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


def two_gaussians(count: int, seed: int) -> FitData:
    """The private label moves the first dimension by 3 spreads, the utility label the second, on their own.

    A filter that knows the label hides it with a shift of 1.5 each way, at a budget of 2.25; one that does not can
    take the first dimension out, at a budget of 3.25 and what noise in its place costs.
    """
    rng = np.random.default_rng(seed)
    private, utility = rng.integers(0, 2, count), rng.integers(0, 2, count)
    mean = rng.normal(size=(count, 4)).astype(np.float32)
    mean[:, 0] += 3 * private - 1.5
    mean[:, 1] += 3 * utility - 1.5
    variance = np.full_like(mean, 0.02)
    return FitData(mean, variance, private, 2, utility[:, None].astype(np.float32), np.ones(4, bool))


def leakage(z: NDArray[np.float32], data: FitData) -> float:
    """Of the strongest of attackers trained afresh on half of ``z`` and judged on the other, both ways."""
    attackers = [*TorchEngine().attackers(11).values(), gaussians]
    return max(judge(attacker, z, data.private, data.private_classes).leakage for attacker in attackers)


def kept(z: NDArray[np.float32], data: FitData) -> float:
    return judge(TorchEngine().attackers(11)["logistic"], z, data.utility[:, 0]).leakage


def shortened(recipe: Recipe) -> Recipe:
    """For fits of a second, enough for all but what a filter hides."""
    return replace(recipe, steps=20, check=10 if recipe.check else 0, starts=1, catch_up=5, batch=128)


@pytest.fixture(scope="module")
def short() -> Mapping[Scheme, Recipe]:
    return {scheme: shortened(recipe) for scheme, recipe in RECIPES.items()}


@pytest.fixture(scope="module")
def short_fits(short: Mapping[Scheme, Recipe]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(fit, "RECIPES", short)
        yield


@pytest.fixture(scope="module")
def data() -> FitData:
    return made_up(1500, 0)


@pytest.fixture(scope="module", params=FORMS, ids=IDS)
def fitted(request: pytest.FixtureRequest, data: FitData, short: Mapping[Scheme, Recipe]) -> Filters:
    """A short fit of each form."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(fit, "RECIPES", short)
        return fit_minmax(data, *request.param)


@pytest.mark.parametrize(("form", "aware"), FORMS, ids=IDS)
def test_a_budget_that_suffices_brings_fresh_attackers_near_chance(
    form: Form, aware: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPES["dependable"], starts=1, steps=200, batch=256)
    monkeypatch.setattr(fit, "RECIPES", {"dependable": recipe})
    held_out = two_gaussians(3000, 1)
    fitted = fit_minmax(two_gaussians(3000, 0), form, aware, budget=4.5)
    z = released(fitted, held_out, 2)
    assert leakage(held_out.mean, held_out) > 0.97
    assert leakage(z, held_out) < 0.6
    assert kept(z, held_out) > 0.93


@pytest.mark.parametrize(("form", "aware"), FORMS, ids=IDS)
@pytest.mark.usefixtures("short_fits")
def test_a_budget_that_does_not_suffice_hides_nothing_more(form: Form, aware: bool) -> None:
    held_out = two_gaussians(3000, 1)
    fitted = fit_minmax(two_gaussians(1500, 0), form, aware, budget=0.3)
    # Whatever moves latents by .3 in the mean square leaves the classes' means at least 1.9 apart.
    assert leakage(released(fitted, held_out, 2), held_out) > 0.8


def test_an_attacker_that_reads_spreads_has_a_part_in_the_choice() -> None:
    rng = np.random.default_rng(0)
    data = two_gaussians(2000, 0)
    data.mean[:, 0] = rng.normal(size=2000) * np.where(data.private, 2, 1)
    assert judge(TorchEngine().attackers(0)["logistic"], data.mean, data.private).leakage < 0.56
    nothing = LinearFilter(np.zeros((4, 4), np.float32), np.zeros((2, 4), np.float32), data.used, "l2", 1.0, 0.0)
    leaked, still_told = told(nothing, data, 0)
    assert leaked > 0.68
    assert still_told > 0.97


BUDGETS: dict[divergences.Divergence, float] = {"l2": 1.5, "kl": 30.0, "reverse-kl": 7.0, "chi-square": 20.0}


@pytest.mark.parametrize("divergence", BUDGETS)
@pytest.mark.parametrize(("form", "aware"), FORMS, ids=IDS)
@pytest.mark.usefixtures("short_fits")
def test_the_budget_holds_in_training_and_on_latents_not_fitted_on(
    form: Form, aware: bool, divergence: divergences.Divergence, data: FitData
) -> None:
    budget = BUDGETS[divergence]
    steps: list[Step] = []
    fitted = fit_minmax(data, form, aware, budget, divergence, on_step=steps.append)
    assert max(step.spent for step in steps) <= 1.0001 * budget
    assert 0.5 * budget < fitted.reached <= 1.0001 * budget

    fresh = made_up(2000, 5)
    if isinstance(fitted, LinearFilter):
        shift, noise = fitted.gamma_label[fresh.private], fitted.gamma_noise.T
    else:
        seeds = np.arange(len(fresh), dtype=np.uint64)
        entered = posterior.sample(fresh.mean, fresh.variance, seeds, fresh.used)
        shift, noise = fitted.perturb(fresh.mean, fresh.variance, seeds, fresh.private) - entered, None
    assert divergences.mean(divergence, shift, fresh.variance, noise)(1.0) < 1.1 * budget


@pytest.mark.parametrize("divergence", BUDGETS)
def test_the_budget_in_training_is_the_closed_form(divergence: divergences.Divergence) -> None:
    rng = np.random.default_rng(0)
    shift, noise = (rng.normal(size=(rows, 5)).astype(np.float32) for rows in (2, 5))
    width, share = rng.uniform(0.5, 1.5, size=5).astype(np.float32), np.array([0.25, 0.75], np.float32)
    variance = np.broadcast_to(width**2 if divergence != "l2" else 1, (4, 5))
    spent = divergences.mean(divergence, shift[[0, 1, 1, 1]], variance, noise.T)
    limit = spent(0.1)
    measured_against = torch.from_numpy(width if divergence != "l2" else np.ones_like(width))
    parameters = [torch.from_numpy(array).requires_grad_() for array in (shift, noise)]
    factor, said = budgets.Budget(divergence, limit).for_classes(
        parameters[0], torch.from_numpy(share), parameters[1], measured_against
    )
    assert factor.item() == pytest.approx(0.1, rel=1e-3)
    assert said == pytest.approx(limit)

    # The factor follows the weights: a step along its derivative, and the budget still holds.
    factor.backward()
    step = 1e-3 * parameters[1].grad.numpy()
    further = factor.item() + float((step * parameters[1].grad.numpy()).sum())
    moved = divergences.mean(divergence, shift[[0, 1, 1, 1]], variance, (noise + step).T)
    assert moved(further) == pytest.approx(limit, rel=1e-3)


def test_the_default_budgets_are_what_a_share_of_the_distance_between_samples_spends(data: FitData) -> None:
    used = data.used
    draws = data.mean[:, used] + np.sqrt(data.variance[:, used]) * np.random.default_rng(0).standard_normal(
        (len(data), SIZE - 1)
    )
    between = np.mean(np.sum((draws - draws[::-1]) ** 2, axis=1))
    l2 = budgets.default_budget(data, "l2")
    assert l2 == pytest.approx(budgets.BUDGET_SHARE * between, rel=0.1)
    shift = np.full((len(data), SIZE - 1), np.sqrt(l2 / (SIZE - 1)))
    for divergence in divergences.DIVERGENCES:
        spent = divergences.mean(divergence, shift, data.variance[:, used])(1.0)
        assert budgets.default_budget(data, divergence) == pytest.approx(spent, rel=1e-4)


@pytest.mark.usefixtures("short_fits")
def test_the_papers_scheme_has_one_adversary_and_another_filter(data: FitData) -> None:
    steps: dict[Scheme, list[Step]] = {scheme: [] for scheme in get_args(Scheme)}
    fits = [fit_minmax(data, budget=1.5, scheme=scheme, on_step=told.append) for scheme, told in steps.items()]
    assert [len(step.adversary_losses) for step in steps["paper"]] == [1] * 20
    assert len(steps["dependable"][0].adversary_losses) > 1
    assert [one.reached for one in fits] == pytest.approx([1.5, 1.5], rel=1e-4)
    assert not np.array_equal(released(fits[0], data, 0), released(fits[1], data, 0))


def test_the_start_that_fresh_attackers_find_best_goes_on(
    data: FitData, short: Mapping[Scheme, Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "RECIPES", {"dependable": replace(short["dependable"], starts=2, steps=40)})
    found = iter([(0.9, 0.9), (0.8, 0.9), (0.7, 0.9), (0.6, 0.5), (0.7, 0.8)])
    filters_told: list[filters.Filter] = []

    def scripted(fitted: filters.Filter, data: FitData, seed: int) -> tuple[float, float]:
        filters_told.append(fitted)
        return next(found)

    monkeypatch.setattr(fit, "told", scripted)
    steps: list[Step] = []
    best = fit_minmax(data, on_step=steps.append)
    assert [step.start for step in steps] == [0] * 10 + [1] * 40
    assert best is filters_told[2]


def test_a_fit_that_attackers_find_no_better_ends_early(
    data: FitData, short: Mapping[Scheme, Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "RECIPES", {"dependable": replace(short["dependable"], steps=100, patience=2)})
    monkeypatch.setattr(fit, "told", lambda fitted, data, seed: (0.7, 0.8))
    steps: list[Step] = []
    calls: list[tuple[int, int]] = []
    fit_minmax(data, on_step=steps.append, on_progress=lambda stage, done, total: calls.append((done, total)))
    assert len(steps) == 30
    assert calls[-1] == (100, 100)


@pytest.mark.usefixtures("short_fits")
def test_the_training_can_be_drawn(data: FitData) -> None:
    pytest.importorskip("matplotlib")
    steps: list[Step] = []
    fit_minmax(data, on_step=steps.append)
    losses, spent = draw(steps).axes
    assert len(losses.lines) == len(steps[0].adversary_losses) + 1
    assert losses.lines[-1].get_ydata().tolist() == [step.utility_loss for step in steps]
    assert spent.lines[0].get_ydata().tolist() == [step.spent for step in steps]


@pytest.mark.parametrize(("form", "aware"), FORMS, ids=IDS)
def test_the_same_seed_gives_the_same_filter_and_torch_stays_as_it_was(
    form: Form, aware: bool, data: FitData, short: Mapping[Scheme, Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "RECIPES", {"dependable": replace(short["dependable"], starts=2, steps=10, check=5)})
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    first = fit_minmax(data, form, aware, seed=3)
    again = fit_minmax(data, form, aware, seed=3)
    other = fit_minmax(data, form, aware, seed=4)
    assert torch.get_num_threads() == threads
    assert all(np.array_equal(array, again.arrays()[name]) for name, array in first.arrays().items())
    assert not all(np.array_equal(array, other.arrays()[name]) for name, array in first.arrays().items())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("short_fits")
def test_progress_ends_at_its_total(data: FitData) -> None:
    calls: list[tuple[str, int, int]] = []
    fit_minmax(data, on_progress=lambda *call: calls.append(call))
    assert calls == [("min-max", step, 20) for step in [*range(1, 21), 20]]


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


@pytest.mark.usefixtures("short_fits")
def test_several_private_classes_are_hidden_together() -> None:
    data = made_up(1500, 0, classes=4)
    fitted = fit_minmax(data, "linear", True)
    assert isinstance(fitted, LinearFilter)
    assert fitted.gamma_label.shape == (4, SIZE)
    aware = fit_minmax(data, "nonlinear", True)
    assert isinstance(aware, NonlinearFilter)
    assert aware.private_classes == 4


@pytest.mark.parametrize("form", ["linear", "nonlinear"])
@pytest.mark.usefixtures("short_fits")
def test_labels_that_do_not_fit_are_refused(form: Form, data: FitData) -> None:
    fitted = fit_minmax(data, form, True)
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
        fit_minmax(data[data.private == 0])
    with pytest.raises(UnworkablePairError, match="keep"):
        fit_minmax(data[data.utility[:, 0] == 0])
    few = np.concatenate([np.flatnonzero(data.private == 0), np.flatnonzero(data.private == 1)[:4]])
    with pytest.raises(UnworkablePairError, match="only 4 samples"):
        fit_minmax(data[few])


def test_a_polish_that_helps_is_kept_and_comes_back_from_its_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPES["dependable"], starts=1, steps=75, batch=256)
    monkeypatch.setattr(fit, "RECIPES", {"dependable": recipe})
    data, held_out = two_gaussians(3000, 0), two_gaussians(3000, 1)
    towards = np.array([[0.7, 0, 0, 0], [-0.7, 0, 0, 0]], np.float32)
    base = LinearFilter(np.zeros((4, 4), np.float32), towards, data.used, "l2", 1.0, 0.49)
    polished = polish(base, data, budget=3.0)
    assert isinstance(polished, Polished)
    assert polished.label_aware
    before, after = released(base, held_out, 2), released(polished, held_out, 2)
    assert leakage(after, held_out) < leakage(before, held_out) - 0.05
    assert kept(after, held_out) > 0.93
    moved = np.square(after - before).sum(axis=1).mean()
    assert 0.1 < moved < 1.1 * 3.0

    loaded = filters.load(polished.kind, json.loads(json.dumps(polished.settings())), polished.arrays())
    assert np.array_equal(released(loaded, held_out, 2), after)
    with pytest.raises(PrivatizerError, match="damaged"):
        filters.load(polished.kind, {}, polished.arrays())
    with pytest.raises(PrivatizerError, match="no label"):
        Polished(base, base)


@pytest.mark.parametrize(
    "after",
    [(0.698, 0.9), (0.6, 0.89)],
    ids=["leaks as much", "costs too much of the utility"],
)
@pytest.mark.usefixtures("short_fits")
def test_a_polish_that_does_not_help_is_not_kept(
    after: tuple[float, float], data: FitData, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = LinearFilter(np.zeros((SIZE, SIZE), np.float32), np.zeros((2, SIZE), np.float32), data.used, "l2", 1.0, 0.0)
    module = sys.modules[polish.__module__]
    monkeypatch.setattr(module, "told", lambda fitted, data, seed: (0.7, 0.9) if fitted is base else after)
    assert polish(base, data) is base


def test_a_scheme_is_for_this_method_and_one_of_two() -> None:
    settings = asdict(FitSettings(method="minmax", scheme="paper"))
    assert Asked(**settings).scheme == "paper"
    for other, message in (({"scheme": "another"}, "no scheme"), ({"method": "flow"}, "scheme is for method minmax")):
        with pytest.raises(UsageError, match=message):
            Asked(**{**settings, **other})


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


def test_no_leakage_is_believed_of_a_filter_whose_gap_nobody_measured() -> None:
    privatizer = privsdk.fit(made_up_bundle(), "male", "smiling", method="minmax", form="linear", label_aware=True)
    assert privatizer.record["check"]["private"]["Male"]["leakage"] < 0.9
    assert "is known of the default filter alone" in privatizer.record["check"]["warnings"][-1]
    with pytest.raises(NotReachedError, match="nobody knows how much more on real samples"):
        privatizer.require(0.99)
    privatizer.require(1.0)
