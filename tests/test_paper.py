"""The paper's experiments: what they are made of, and that the README shows what was measured and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from benchmarks.cells import Cell, Cells, alone
from benchmarks.paper import filters
from benchmarks.paper.classifier import PapersClassifier
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.experiments import EXPERIMENTS
from benchmarks.paper.measure import Within
from benchmarks.paper.place import Space
from benchmarks.paper.server import Server, User, held_by_users, shared_out
from benchmarks.paper.sheet import NOTHING, Sheet, Spread
from benchmarks.paper.writing import README, RESULTS, Result, readme
from export.datasets.labelled import TEST, TRAIN
from privsdk.auditing import metrics
from privsdk.auditing.attackers import LogisticRegression
from privsdk.filters import divergences
from privsdk.filters.linear import LinearFilter
from privsdk.fitting.data import FitData

SHEET = Sheet("Caption:", ("release", "figure", "empty"), (("ours", Spread((0.5, 0.6), (0.51, 0.59)), NOTHING),))


def rings(count: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points float32 [N, 4] whose class is how far two of their coordinates lie from the middle."""
    x = np.random.default_rng(seed).standard_normal((count, 4)).astype(np.float32)
    return x, np.minimum(np.hypot(x[:, 0], x[:, 1]), classes - 1e-3).astype(np.int64)


def made_up() -> FitData:
    """Latents whose first dimension shows the private label, the second the utility label."""
    rng = np.random.default_rng(0)
    private, utility = rng.integers(0, 2, (2, 1500))
    mean = rng.standard_normal((1500, 4)).astype(np.float32)
    mean[:, 0] += 2 * private
    mean[:, 1] += 2 * utility
    variance = np.full_like(mean, 0.05)
    return FitData(mean, variance, private, 2, utility[:, None].astype(np.float32), np.array([True, True, True, False]))


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # the number of passes is that of the other
@pytest.mark.parametrize("classes", [2, 3])
def test_the_papers_classifier_is_as_good_as_another_implementation(classes: int) -> None:
    train, test = rings(4000, classes, 0), rings(4000, classes, 1)
    scores = PapersClassifier(0).fit(*train).score(test[0])
    said = scores.argmax(axis=1) if classes > 2 else scores > 0
    other = MLPClassifier((64,), alpha=0, batch_size=100, max_iter=20, random_state=0).fit(*train)
    assert scores.shape == ((4000, 3) if classes > 2 else (4000,))
    assert np.mean(said == test[1]) == pytest.approx(other.score(*test), abs=0.02)
    assert np.array_equal(scores, PapersClassifier(0).fit(*train).score(test[0]))


def test_releases_of_the_published_method_hold_the_budget() -> None:
    data, budget = made_up(), 2.0
    for filter_ in (filters.published(data, budget, seed=0), filters.gaussian(data, budget)):
        assert isinstance(filter_, LinearFilter)
        expected = divergences.l2(filter_.gamma_label[data.private], filter_.gamma_noise.T).mean()
        assert expected == pytest.approx(budget, rel=0.05)
        seeds = np.arange(len(data), dtype=np.uint64)
        without = replace(filter_, gamma_noise=0 * filter_.gamma_noise, gamma_label=0 * filter_.gamma_label)
        z, before = (one.perturb(data.mean, data.variance, seeds, data.private) for one in (filter_, without))
        moved = np.square(z - before)[:, data.used].sum(axis=1)
        assert moved.mean() == pytest.approx(budget, rel=0.1)


@pytest.mark.parametrize(("people", "parts"), [(100, 10), (107, 10), (11, 2)])
def test_the_users_parts_are_disjoint_and_of_as_many_people(people: int, parts: int) -> None:
    identity = np.random.default_rng(1).integers(0, people, 30 * people)
    rows = np.arange(0, len(identity), 3)
    found = shared_out(identity, rows, parts)
    there = [set(identity[one]) for one in found]
    assert [len(one) for one in there] == [len(np.unique(identity[rows])) // parts] * parts
    assert len(set.union(*there)) == sum(map(len, there))
    for one, whose in zip(found, there, strict=True):
        assert set(one) == {row for row in rows if identity[row] in whose}


def test_the_adversarys_weight_says_how_much_is_hidden() -> None:
    data = made_up()
    # What shows the private label shows the other one too: the filter has to choose.
    private = np.where(np.random.default_rng(1).random(len(data)) < 0.1, 1 - data.private, data.private)
    data = replace(data, utility=private[:, None].astype(np.float32))
    told = []
    for weight in (0.01, filters.WEIGHT):
        z = filters.published(data, 4.0, seed=0, weight=weight).perturb(
            data.mean, data.variance, np.arange(len(data), dtype=np.uint64), data.private
        )
        scores = LogisticRegression(0).fit(z[:1000], data.private[:1000]).score(z[1000:])
        told.append(float(metrics.leakage(data.private[1000:], scores)))
    assert told[0] > told[1] + 0.1


def of_two_users() -> tuple[Space, list[User]]:
    """Forty people of six samples each, whose latent is the number of the sample."""
    identity = np.repeat(np.arange(40), 6)
    data = SimpleNamespace(identity=identity, partition=np.where(identity < 30, TRAIN, TEST))
    mean = np.arange(len(identity), dtype=np.float32)[:, None]
    space: Any = SimpleNamespace(domain=SimpleNamespace(data=data), latents=SimpleNamespace(mean=mean))
    return space, [User(0, "One", "Other"), User(1, "Other", "One")]


def test_the_server_holds_what_users_released_and_public_samples_as_they_are() -> None:
    space, users = of_two_users()
    fitted_on: list[set[int]] = []

    def release(user: User, rows: np.ndarray, seed: int) -> np.ndarray:
        fitted_on.append(set(rows.tolist()))
        return space.latents.mean + 1000 * (user.number + 1)

    server = Server.of(space, users, 5, release, seed=0)
    own = [set(rows.tolist()) for rows in server.own]
    everybody = set(np.flatnonzero(space.domain.data.partition == TRAIN).tolist())
    assert not own[0] & own[1]
    assert set(server.rows.tolist()) == everybody
    for row, z in zip(server.rows.tolist(), server.z[:, 0].tolist(), strict=True):
        assert z == row + (1000 if row in own[0] else 2000 if row in own[1] else 0)
    assert fitted_on == [everybody - own[1], everybody - own[0]]
    shares = held_by_users(space, TEST, users)
    assert [len(np.unique(space.domain.data.identity[rows])) for rows in shares] == [5, 5]
    assert not set(shares[0].tolist()) & set(shares[1].tolist())


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    cells, measured = Cells(tmp_path), []

    def measure(name: str) -> Cell:
        def made() -> Cell:
            if name == "third" and len(measured) == 2:
                raise KeyboardInterrupt
            measured.append(name)
            return Cell({"figure": alone(0.5)})

        return cells.cell(name, made)

    names = ("first", "second", "third")
    with pytest.raises(KeyboardInterrupt):
        [measure(name) for name in names]
    measured.append("killed")
    assert [measure(name)["figure"].value for name in names] == [0.5] * 3
    assert measured == ["first", "second", "killed", "third"]


def test_a_sheet_comes_back_and_leaves_empty_columns_out() -> None:
    assert Sheet.from_json(SHEET.to_json()) == SHEET
    assert "0.550 ± 0.071" in SHEET.markdown()
    assert "empty" not in SHEET.markdown()


def test_within_is_a_goal_in_both_directions() -> None:
    assert Within(0.03).met_by(-0.03)
    assert not Within(0.03).met_by(-0.04)
    assert not Within(0.03).met_by(0.04)


def test_the_readme_is_made_of_the_results(tmp_path: Path) -> None:
    experiment = Experiment("digits", "Title", "What came of it.", lambda place: [SHEET])
    assert "Not measured yet." in readme({"one": experiment}, tmp_path)
    Result((SHEET,), 2, "a machine").write(tmp_path / "one.json")
    text = readme({"one": experiment}, tmp_path)
    assert "0.550 ± 0.071" in text
    assert "What came of it." in text
    assert "Not measured yet." not in text


def test_the_readme_is_up_to_date() -> None:
    if RESULTS.exists():
        assert README.read_text() == readme(EXPERIMENTS)
        assert {path.stem for path in RESULTS.glob("*.json")} <= set(EXPERIMENTS)
    else:
        assert not README.exists()
