"""The audit finds what was hidden in releases on purpose, and raises no alarm where there is nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("skimage")

import privsdk
from privsdk import Report
from privsdk.auditing import cases
from privsdk.auditing.attackers import BY_FORM
from privsdk.auditing.attacking import attacks
from privsdk.auditing.audit import FIRST_SEED
from privsdk.auditing.forms import COLUMNS, PIXELS
from privsdk.auditing.protocols import FIVE_FOLDS
from privsdk.auditing.report import Told
from privsdk.auditing.told import told
from privsdk.samples import images

Rng = np.random.Generator
Planted = tuple[np.ndarray, np.ndarray, float]
"""Releases, labels, and the accuracy of whoever knows where to look."""

ROWS = 1200
SIZE = 12


def audited(released: np.ndarray, label: np.ndarray, rng: Rng, quick: bool, folder: Path, **other: Any) -> Report:
    """By an audit as anybody's releases get it; the utility label is kept in the last coordinate, or is bright."""
    flat = released.reshape(len(released), -1).astype(float)
    utility = flat[:, -1] > np.median(flat[:, -1])
    given = {"hidden": label, "kept": utility.astype(int), **other}
    return privsdk.audit(
        released=released, labels=given, private="hidden", utility="kept", quick=quick, threads=2, folder=folder
    )


def attacked(released: np.ndarray, label: np.ndarray, form: str) -> Told:
    """By all attackers of a full audit, with one seed, and nothing else of it."""
    flat = released.reshape(len(released), -1).astype(float)
    given = {"hidden": label, "kept": (flat[:, -1] > np.median(flat[:, -1])).astype(int)}
    case = cases.of_released(released, given, "hidden", "kept")
    found = attacks(case, {form: BY_FORM[form]}, (FIVE_FOLDS,), (FIRST_SEED,), 2, Forgetting(), lambda work: None)
    return told(case, "hidden", found["hidden"], {form: flat[: len(case.test)]})


class Forgetting:
    """Keeps nothing of an unfinished audit."""

    def get(self, name: str) -> None:
        return None

    def put(self, name: str, arrays: Any, notes: Any) -> None:
        return None


def a_shift(rng: Rng, y: np.ndarray, x: np.ndarray) -> Planted:
    """A shift by the label, the same for all, in no single coordinate much."""
    return x + 1.2 * (2 * y[:, None] - 1) / np.sqrt(3) * (np.arange(SIZE) < 3), y, 0.88


def swapped(rng: Rng, y: np.ndarray, x: np.ndarray) -> Planted:
    """An adversary from before is wrong nearly always: the filter has only exchanged the classes."""
    x[:, 0] = np.abs(x[:, 0]) * (1 - 2 * y)
    return x, y, 1.0


def exclusive_or(rng: Rng, y: np.ndarray, x: np.ndarray) -> Planted:
    """In the sign of a product of two coordinates."""
    x[:, 1] = np.abs(x[:, 1]) * np.sign(x[:, 0]) * (2 * y - 1)
    return x, y, 1.0


def in_the_spread(rng: Rng, y: np.ndarray, x: np.ndarray) -> Planted:
    """In the scale alone: both classes have the same mean."""
    return x * np.where(y == 1, 2.0, 1.0)[:, None], y, 0.98


def erased_linearly(rng: Rng, y: np.ndarray, x: np.ndarray) -> Planted:
    """Every linear trace is erased (LEACE); where a coordinate is far from its mean the label is still there."""
    from concept_erasure import LeaceFitter
    from torch import from_numpy

    x[:, 0] = rng.choice([-1.0, 1.0], len(y)) * np.where(y == 1, 2.0, 0.5) + 0.15 * rng.normal(size=len(y))
    x[:, 1] += y
    tensor, labels = from_numpy(x), from_numpy(y)
    return LeaceFitter.fit(tensor, labels).eraser(tensor).numpy(), y, 0.98


def in_the_rounding(rng: Rng, y: np.ndarray, x: np.ndarray) -> Planted:
    """One column of a table is rounded to fives for one class."""
    table = np.round(20 * x + 100, 1)
    table[:, 3] = np.where(y == 1, 5 * np.round(table[:, 3] / 5), np.round(table[:, 3]))
    return table, y, 0.9


LEAKS: tuple[Callable[[Rng, np.ndarray, np.ndarray], Planted], ...] = (
    a_shift,
    swapped,
    exclusive_or,
    in_the_spread,
    erased_linearly,
    in_the_rounding,
)


@pytest.mark.slow
@pytest.mark.parametrize("plant", LEAKS, ids=lambda plant: plant.__name__)
def test_a_planted_leak_is_found(plant: Callable[[Rng, np.ndarray, np.ndarray], Planted]) -> None:
    rng = np.random.default_rng(5)
    y = (rng.random(ROWS) < 0.5).astype(np.int64)
    released, label, best = plant(rng, y, rng.normal(size=(ROWS, SIZE)))
    found = attacked(released, label, COLUMNS)
    assert found.accuracy > 0.9 * best, [(one.attacker, one.accuracy) for one in found.attacks]
    assert found.interval[0] > 0.7
    assert found.accuracy_interval[0] > found.base_rate
    assert found.information.at_least > 0.05


def test_a_label_in_one_pixels_least_bit_is_found() -> None:
    rng = np.random.default_rng(6)
    y = (rng.random(600) < 0.5).astype(np.int64)
    smooth = [images.resize(rng.integers(0, 256, (6, 6, 3), np.uint8), 32, 32) for _ in y]
    released = np.stack(smooth)
    released[:, 17, 5, 1] = (released[:, 17, 5, 1] & 0xFE) | y
    found = attacked(released, y, PIXELS)
    assert found.accuracy > 0.95
    assert found.attacks[0].attacker == "trees on bit planes"


def test_a_rare_group_that_leaks_wholly_is_found(tmp_path: Path) -> None:
    """2% of people give their label away; of all others nothing is told, and the mean hardly shows it."""
    rng = np.random.default_rng(7)
    y = (rng.random(4000) < 0.5).astype(np.int64)
    x = rng.normal(size=(4000, 6))
    rare = rng.random(4000) < 0.02
    x[rare, 1] = 6
    x[rare, 2] = 3.0 * (2 * y[rare] - 1)
    found = audited(x, y, rng, True, tmp_path, rare=rare.astype(int)).private["hidden"]
    assert found.leakage < 0.56
    worst = found.subgroups[0]
    assert worst.leakage > 0.9
    assert worst.interval[0] > 0.7
    assert found.surest > 0.9
    # Nobody needs to have named the group: its releases lie together.
    unnamed = audited(x, y, rng, True, tmp_path).private["hidden"]
    assert unnamed.surest > 0.9
    assert unnamed.surest_interval[0] > 0.6


def test_no_false_alarm(tmp_path: Path) -> None:
    """Of independent data the interval holds .5, and that of the accuracy the base rate, in 95 of 100 audits."""
    missed = [0, 0]
    for draw in range(20):
        rng = np.random.default_rng([8, draw])
        y = (rng.random(500) < 0.4).astype(np.int64)
        found = audited(rng.normal(size=(500, 6)), y, rng, True, tmp_path).private["hidden"]
        missed[0] += not found.interval[0] <= 0.5 <= found.interval[1]
        low, high = found.accuracy_interval
        missed[1] += not low <= found.base_rate <= high
    # Of 20 draws at 5% each more than three miss once in 60 times.
    assert max(missed) <= 3


def test_figures_are_scikit_learns(tmp_path: Path) -> None:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

    from privsdk.auditing.attackers import LogisticRegression
    from privsdk.auditing.intervals import auroc_influence
    from privsdk.auditing.protocols import Released, from_training_partition

    rng = np.random.default_rng(9)
    y = (rng.random(1200) < 0.3).astype(np.int64)
    x = rng.normal(size=(1200, 5)) + 0.5 * y[:, None]
    train, valid, test = (
        Released(x[rows], y[rows], np.arange(400)) for rows in (slice(0, 400), slice(400, 800), slice(800, 1200))
    )
    one = from_training_partition(LogisticRegression, train, valid, test)
    says = (one.scores > 0).astype(int)
    assert one.leakage == pytest.approx(roc_auc_score(test.labels, one.scores), abs=0.01)
    assert auroc_influence(test.labels, one.scores)[0] == pytest.approx(roc_auc_score(test.labels, one.scores))
    assert one.accuracy == pytest.approx(accuracy_score(test.labels, says))
    assert one.balanced_accuracy == pytest.approx(balanced_accuracy_score(test.labels, says))


@pytest.mark.parametrize("count", [10, 30])
def test_too_little_to_say_anything_is_refused(count: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    with pytest.raises(privsdk.UsageError, match=r"needed to say anything of (hidden|kept): give more"):
        audited(rng.normal(size=(count, 4)), np.arange(count) % 2, rng, True, tmp_path)


def test_one_class_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    with pytest.raises(privsdk.UsageError, match="0 of .* samples are 'hidden'"):
        audited(rng.normal(size=(200, 4)), np.zeros(200), rng, True, tmp_path)


def test_few_releases_do_not_pass(tmp_path: Path) -> None:
    rng = np.random.default_rng(12)
    report = audited(rng.normal(size=(120, 4)), rng.integers(0, 2, 120), rng, True, tmp_path)
    assert not report.conclusive
    assert report.verdict.startswith("Too few releases to say how well hidden can be told")
    with pytest.raises(privsdk.NotReachedError, match="not known"):
        report.require(max_leakage=0.99)


def test_labels_of_other_samples_do_not_pass(tmp_path: Path) -> None:
    """Labels in another order tell nothing, and nothing is what a perfect filter would show: it must not pass."""
    rng = np.random.default_rng(13)
    x = rng.normal(size=(3000, 4))
    labels = {"hidden": rng.integers(0, 2, 3000), "kept": rng.permutation((x[:, 3] > 0).astype(int))}
    report = privsdk.audit(
        released=x, labels=labels, private="hidden", utility="kept", quick=True, threads=2, folder=tmp_path
    )
    assert report.doubt is not None
    assert not report.conclusive
    assert "may be those of other samples" in report.verdict
    for bound in ({"max_leakage": 0.99}, {"min_utility": 0.01}):
        with pytest.raises(privsdk.NotReachedError, match="not known"):
            report.require(**bound)
