"""The default filter, applied: what it promises of every single release."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from a_bundle import SIZE, UNUSED, MadeUpBundle, made_up_bundle

from privsdk import filters
from privsdk.arrays import pack, unpack
from privsdk.auditing.attackers import StandardisedPerceptron
from privsdk.auditing.metrics import leakage
from privsdk.errors import PrivatizerError
from privsdk.filters.basis import hats
from privsdk.filters.code import CodeFlow, ConditionalAffine, Moments
from privsdk.filters.flow import FlowFilter
from privsdk.filters.joint_scores import JointScores
from privsdk.filters.scores import clipped
from privsdk.fitting.fair_score import fair_score

COLUMNS = (0, 1)


@pytest.fixture(scope="module")
def bundle() -> MadeUpBundle:
    return made_up_bundle()


@pytest.fixture(scope="module")
def flow_filter(bundle: MadeUpBundle) -> FlowFilter:
    scores = bundle.scores.only(COLUMNS)
    of_public = clipped(scores.scores(bundle.public.mean))
    blur = np.random.default_rng(0).uniform(-1, 1, (len(of_public), 1))
    fair = fair_score(of_public, [(0,)], 0.5, blur)
    return FlowFilter(
        scores,
        bundle.flow,
        code_flow(bundle, of_public),
        fair,
        of_public[:2000],
        private=1,
    )


def code_flow(bundle: MadeUpBundle, scores: np.ndarray) -> CodeFlow:
    x = bundle.flow.forward(bundle.public.mean)
    xi = np.random.default_rng(1).standard_normal(len(x), np.float32)
    first = ConditionalAffine.learned(x, (0,), scores)
    return CodeFlow((first, ConditionalAffine.learned(first.forward(x, scores, xi), (1,), scores)), None)


def seeds_for(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.uint64) + 100


def test_a_release_depends_on_its_seed_alone(bundle: MadeUpBundle, flow_filter: FlowFilter) -> None:
    mean, variance = bundle.public.mean[:40], bundle.public.variance[:40]
    together = flow_filter.perturb(mean, variance, seeds_for(40))
    assert together.dtype == np.float32
    assert np.array_equal(together, flow_filter.perturb(mean, variance, seeds_for(40)))
    alone = flow_filter.perturb(mean[7:8], variance[7:8], seeds_for(40)[7:8])
    assert np.allclose(alone, together[7:8], atol=1e-4)
    other = flow_filter.perturb(mean, variance, seeds_for(40) + np.uint64(1000))
    assert np.abs(other - together).max(axis=1).min() > 0.01


def test_the_release_has_the_scores_that_were_chosen(bundle: MadeUpBundle, flow_filter: FlowFilter) -> None:
    mean, variance = bundle.public.mean[:1000], bundle.public.variance[:1000]
    released = flow_filter.perturb(mean, variance, seeds_for(1000))
    scores = clipped(flow_filter.scores.scores(mean))
    target = flow_filter.targets(scores, seeds_for(1000))
    missed = np.abs(flow_filter.scores.scores(released) - target)
    assert missed.max() < 0.01
    borrowed = target[:, 0]
    assert abs(np.corrcoef(borrowed, scores[:, 0])[0, 1]) < 0.3
    assert np.corrcoef(target[:, 1], scores[:, 1])[0, 1] > 0.9


def test_borrowed_scores_are_drawn_or_averaged(bundle: MadeUpBundle, flow_filter: FlowFilter) -> None:
    scores = clipped(flow_filter.scores.scores(bundle.public.mean[:500]))
    drawn = flow_filter.targets(scores, seeds_for(500))[:, 0]
    assert np.isin(drawn, flow_filter.population[:, 0]).all()
    mean_only = replace(flow_filter, a=0.0)
    averaged = mean_only.targets(scores, seeds_for(500))
    # What is left of chance is the blur of the fair score.
    again = mean_only.targets(scores, seeds_for(500) + np.uint64(9))
    assert np.abs(averaged[:, 0] - again[:, 0]).mean() < drawn.std() / 4
    assert averaged[:, 0].std() < drawn.std() / 2


def test_rho_thins_the_code(bundle: MadeUpBundle, flow_filter: FlowFilter) -> None:
    mean, variance = bundle.public.mean[:300], bundle.public.variance[:300]

    def moved(rho: float) -> float:
        released = replace(flow_filter, rho=rho).perturb(mean, variance, seeds_for(300))
        return float(np.square(released - mean)[:, flow_filter.flow.used].sum(1).mean())

    assert moved(1.0) < moved(0.9) < moved(0.5)


def test_unused_dimensions_leave_as_fresh_noise(bundle: MadeUpBundle, flow_filter: FlowFilter) -> None:
    mean, variance = bundle.public.mean[:2000].copy(), bundle.public.variance[:2000]
    mean[:, UNUSED] = 5
    released = flow_filter.perturb(mean, variance, seeds_for(2000))[:, UNUSED]
    assert abs(released.mean()) < 0.1
    assert abs(released.std() - 1) < 0.1


def test_the_code_and_its_inverse(bundle: MadeUpBundle, flow_filter: FlowFilter) -> None:
    x = bundle.flow.forward(bundle.public.mean[:500])
    scores = clipped(flow_filter.scores.scores(bundle.public.mean[:500]))
    xi = np.random.default_rng(0).standard_normal(scores.shape, np.float32)
    blind = tuple(replace(affine, along=0 * affine.along) for affine in flow_filter.code.affine)
    whole = CodeFlow(blind, None)
    assert np.abs(whole.inverse(whole.forward(x, scores, xi), scores) - x).max() < 1e-4
    first = flow_filter.code.affine[0]
    code = first.forward(x, scores, xi[:, 0])
    # But for one direction, all of it is in the code.
    assert np.linalg.matrix_rank(code - blind[0].forward(x, scores, xi[:, 0]), tol=1e-2) == 1
    assert np.allclose(code @ first.along, xi[:, 0], atol=1e-4)
    code = flow_filter.code.forward(x, scores, xi)
    assert np.abs(np.corrcoef(np.c_[code, scores].T)[-2:, :-2]).max() < 0.15


def test_moments_take_mean_and_spread_out_whatever_the_score_is() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 4, (40_000, 5)).astype(np.float32)
    x = rng.standard_normal((40_000, 3)).astype(np.float32)
    x[:, 1] *= np.exp(0.05 * scores[:, 3])
    x[:, 0] += np.abs(scores[:, 3])
    x[:, 2] -= scores[:, 3] + 0.8 * x[:, 1]
    moments = Moments.of(x, scores)
    again = Moments.from_arrays(unpack(pack(moments.arrays(), {}))[0])
    assert again.fits(5, 3)
    assert not again.fits(5, 4)
    assert not Moments(np.float32(0), again.mean, again.spread).fits(5, 3)
    assert not Moments(again.knots[:, ::-1], again.mean, again.spread).fits(5, 3)
    strangers = rng.standard_normal((40_000, 3)).astype(np.float32)
    moved = again.matched(strangers, scores[:, [1, 3]], attributes=(3,), columns=(1,))
    for low, high in ((-6, -3), (-3, 0), (0, 3), (3, 6)):
        there = (scores[:, 3] > low) & (scores[:, 3] < high)
        assert np.abs(moved[there].mean(0) - x[there].mean(0)).max() < 0.15
        assert np.abs(np.cov(moved[there].T) - np.cov(x[there].T)).max() < 0.35


def test_the_affine_map_takes_mean_and_spread_out_whatever_the_score_is() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 4, (40_000, 2)).astype(np.float32)
    x = rng.standard_normal((40_000, 3)).astype(np.float32)
    x[:, 1] *= np.exp(0.05 * scores[:, 1])
    x[:, 0] += np.abs(scores[:, 1])
    x[:, 2] -= scores[:, 1] + 0.8 * x[:, 1]
    xi = rng.standard_normal(len(x), np.float32)
    code = ConditionalAffine.learned(x, [1], scores).forward(x, scores, xi)
    for low, high in ((-6, -3), (-3, 0), (0, 3), (3, 6)):
        there = code[(scores[:, 1] > low) & (scores[:, 1] < high)]
        assert np.abs(there.mean(0)).max() < 0.25
        # A fifth of the difference between spreads is left where it is: what few people show is drawn to all.
        assert np.abs(np.cov(there.T) - np.eye(3)).max() < 0.4
    untouched = ConditionalAffine.learned(x, [0], scores).forward(x, scores, xi)
    one, other = (np.linalg.qr(values - values.mean(0))[0] for values in (untouched, x))
    assert np.linalg.svd(one.T @ other)[1][1] > 0.95  # the second canonical correlation


def test_the_affine_map_of_many_classes() -> None:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 20_000)
    scores = (12 * np.eye(3)[classes] - 6).astype(np.float32)
    x = rng.standard_normal((20_000, 4)).astype(np.float32) * (1 + classes[:, None]) + classes[:, None]
    affine = ConditionalAffine.learned(x.astype(np.float32), [0, 1, 2], scores)
    code = affine.forward(x.astype(np.float32), scores, rng.standard_normal(len(x), np.float32))
    for one in range(3):
        assert np.abs(code[classes == one].mean(0)).max() < 0.05
        assert np.abs(np.cov(code[classes == one].T) - np.eye(4)).max() < 0.6
    assert np.abs(affine.inverse(code, scores) - x).max() < 1e-3


def test_no_attacker_reads_the_score_in_the_code_by_the_shape_it_has_left() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12_000, 4)).astype(np.float32)
    # Two numbers tell the score outright, and not linearly: what x varies by, given it, is bent.
    score = 4 * x[:, 0] * (1 + 0.5 * np.tanh(x[:, 1]))
    affine = ConditionalAffine.learned(x, [0], score[:, None])
    xi = rng.standard_normal(len(x), np.float32)

    def told(code: np.ndarray) -> float:
        half = len(x) // 2
        attacker = StandardisedPerceptron(seed=0).fit(code[:half], score[:half] > 0)
        return leakage(score[half:] > 0, attacker.score(code[half:]))

    assert told(replace(affine, along=0 * affine.along).forward(x, score[:, None], xi)) > 0.8
    assert told(affine.forward(x, score[:, None], xi)) < 0.6


def test_hat_functions_sum_to_one() -> None:
    score = np.random.default_rng(0).normal(0, 9, 200).astype(np.float32)
    basis = hats(score, np.linspace(-5, 5, 6).astype(np.float32))
    assert basis.shape == (200, 6)
    assert np.allclose(basis.sum(1), 1, atol=1e-5)


def test_joint_scores_make_strangers_go_together_as_people_do() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(0, 3, 20_000)
    people = np.stack([first, 0.8 * first + rng.normal(0, 2, 20_000), rng.normal(0, 2, 20_000)], 1).astype(np.float32)
    joint = JointScores.of(people)
    joint = JointScores.from_arrays(unpack(pack(joint.arrays(), {}))[0])
    assert joint.fits(3)
    strangers = rng.normal(0, 3, (20_000, 2)).astype(np.float32)
    drawn = joint.draw(strangers, [1, 0], rng)
    assert np.allclose(np.corrcoef(drawn.T), np.corrcoef(people[:, [1, 0]].T), atol=0.03)
    assert np.allclose(drawn.std(0), people[:, [1, 0]].std(0), rtol=0.05)
    assert np.isfinite(joint.draw(strangers * 0 + 99, [1, 0], rng)).all()
    assert not joint.fits(2)
    assert not JointScores(np.float32(0), joint.shares).fits(3)
    # Nobody's own two scores are among them.
    assert not {tuple(row) for row in drawn[:, ::-1].tolist()} & {tuple(row) for row in people[:, :2].tolist()}


def test_gradients_are_those_of_the_scores(bundle: MadeUpBundle) -> None:
    z = bundle.public.mean[:5].astype(np.float64)
    network = bundle.scores.only(COLUMNS)
    scores, gradient = network.gradient(z)
    assert np.allclose(scores, network.scores(z), atol=1e-5)
    for dimension in range(SIZE):
        step = np.zeros(SIZE)
        step[dimension] = 1e-2
        slope = (network.scores(z + step) - network.scores(z - step)) / 2e-2
        assert np.allclose(gradient[:, :, dimension], slope, atol=5e-3)


def test_save_and_load(bundle: MadeUpBundle, flow_filter: FlowFilter) -> None:
    again = filters.load(flow_filter.kind, flow_filter.settings(), flow_filter.arrays())
    mean, variance = bundle.public.mean[:20], bundle.public.variance[:20]
    released = flow_filter.perturb(mean, variance, seeds_for(20))
    assert np.array_equal(again.perturb(mean, variance, seeds_for(20)), released)
    assert not again.label_aware


@pytest.mark.parametrize(
    "wrong",
    [
        *({"a": 5.0}, {"rho": 0.0}, {"rho": 7.0}, {"private": 2}, {"private": 0}, {"private": float("inf")}),
        {"private": 10**15},  # and no list so long is made to find that out
    ],
)
def test_settings_that_no_fit_gives_are_refused(flow_filter: FlowFilter, wrong: dict) -> None:
    with pytest.raises(PrivatizerError, match="fit it again"):
        filters.load("flow", flow_filter.settings() | wrong, flow_filter.arrays())


@pytest.mark.parametrize("sizes", [[], [0], [-1], [2], [2**40], [2**62, 2**62, 2**62, 2**62, 1]])
def test_a_fair_score_of_other_scores_is_refused(flow_filter: FlowFilter, sizes: list) -> None:
    arrays = flow_filter.arrays() | {"fair_score.sizes": np.array(sizes, np.int64)}
    with pytest.raises(PrivatizerError, match="its fair score is not of 2 scores"):  # before a list so long is made
        filters.load("flow", flow_filter.settings(), arrays)


@pytest.mark.parametrize("columns", [[-1], [99], []])
def test_a_basis_of_another_labels_score_is_refused(flow_filter: FlowFilter, columns: list) -> None:
    arrays = flow_filter.arrays() | {"code.affine.0.columns": np.array(columns, np.int64)}
    with pytest.raises(PrivatizerError, match="fit it again"):
        filters.load("flow", flow_filter.settings(), arrays)


def test_a_damaged_filter_is_refused(flow_filter: FlowFilter) -> None:
    arrays = flow_filter.arrays()
    del arrays["code.affine.0.mean"]
    with pytest.raises(PrivatizerError, match="fit it again"):
        filters.load("flow", flow_filter.settings(), arrays)
    with pytest.raises(PrivatizerError, match="no filter of kind"):
        filters.load("magic", flow_filter.settings(), flow_filter.arrays())
