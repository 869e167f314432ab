"""What chose a filter never reports on it: samples, people and seeds of an audit's parts are disjoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from a_bundle import made_up_bundle

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("skimage")

import privsdk
from privsdk import Latents, Privatizer, UsageError
from privsdk.auditing import attackers, cases
from privsdk.auditing.attacking import attacks
from privsdk.auditing.audit import FIRST_SEED, examined
from privsdk.auditing.forms import COLUMNS, LATENTS
from privsdk.auditing.protocols import BOTH, FIVE_FOLDS
from privsdk.fitting import fit
from privsdk.fitting.material import gather
from privsdk.fitting.wish import resolve


@pytest.fixture(scope="module")
def made_up() -> Any:
    return made_up_bundle()


@pytest.fixture(scope="module")
def privatizer(made_up: Any) -> Privatizer:
    return fit(made_up, "male", "smiling", seed=5)


def rows(means: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in means}


def test_an_audit_scores_on_what_the_fit_never_saw(made_up: Any, privatizer: Privatizer) -> None:
    case = cases.of_public_latents(privatizer)
    material = gather(made_up, resolve("Male", "Smiling", made_up.attributes, {}), None, 5)
    assert case.train is not None
    parts = [rows(part.latents.mean) for part in (case.train, case.validation, case.test) if part.latents is not None]
    assert [len(part) for part in parts] == [3600, 900, 1500]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    used = rows(material.train.mean) | rows(material.validation.mean)
    assert parts[2] == rows(material.check.mean)
    assert not parts[2] & used
    people = [set(part.people) for part in (case.train, case.validation, case.test)]
    assert not people[0] & people[2]
    assert not people[1] & people[2]


class Watching(attackers.LogisticRegression):
    """Logistic regression that remembers on what it was trained and what it scored."""

    name = "watching"
    settings: ClassVar[tuple[float, ...]] = (0.1, 1.0)
    seen: ClassVar[list[tuple[str, int, set[bytes], np.ndarray]]] = []

    def __init__(self, seed: int = 0, threads: int = 1, setting: int = 0) -> None:
        super().__init__(seed, threads, setting)
        self._seed = seed
        self._learned: set[bytes] = set()

    def fit(self, x: np.ndarray, y: np.ndarray) -> Self:
        self._learned = rows(x)
        return super().fit(x, y)

    def score(self, x: np.ndarray) -> np.ndarray:
        self.seen.append(("scored", self._seed, self._learned, x))
        return super().score(x)


class Nothing:
    def get(self, name: str) -> None:
        return None

    def put(self, name: str, arrays: Any, notes: Any) -> None:
        return None


def watched(case: cases.Case, form: str) -> list[tuple[str, int, set[bytes], np.ndarray]]:
    Watching.seen.clear()
    protocols = BOTH if case.train is not None else (FIVE_FOLDS,)
    attacks(case, {form: (Watching,)}, protocols, (FIRST_SEED, FIRST_SEED + 1), 1, Nothing(), lambda work: None)
    return list(Watching.seen)


def test_no_attacker_is_scored_on_what_it_learned_from_or_was_tuned_on(privatizer: Privatizer) -> None:
    case = cases.of_public_latents(privatizer)
    tested = {
        seed: rows(case.releasing.release(case.test, seed, [LATENTS])[LATENTS]) for seed in (FIRST_SEED, FIRST_SEED + 1)
    }
    seen = watched(case, LATENTS)
    for _, _seed, learned, scored in seen:
        assert not learned & rows(scored)
    tuning = [entry for entry in seen if not rows(entry[3]) & tested[entry[1]]]
    assert len(tuning) == 2 * 2 + 2  # two settings for each seed, and the threshold of the training partition
    assert all(not entry[2] & tested[entry[1]] for entry in tuning)


def test_folds_and_tuning_have_people_of_their_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    people = rng.integers(0, 60, 600)
    x = rng.normal(size=(600, 4))
    given = {"a": rng.integers(0, 2, 600), "b": (x[:, 0] > 0).astype(int)}
    case = cases.of_released(x, given, "a", "b", people=people)
    assert not set(case.test.people) & set(case.validation.people)
    whose = {row.tobytes(): int(person) for row, person in zip(x, people, strict=True)}
    for _, _, learned, scored in watched(case, COLUMNS):
        assert not {whose[row] for row in learned} & {whose[row.tobytes()] for row in scored}


def test_the_seeds_are_no_fits(made_up: Any, privatizer: Privatizer) -> None:
    case = cases.of_public_latents(privatizer)
    report = examined(case, quick=True)
    assert set(report.seeds) == {FIRST_SEED}
    assert privatizer.record["settings"]["seed"] not in report.seeds
    taken = Privatizer(made_up, privatizer.filter, {**privatizer.record, "settings": {"seed": FIRST_SEED}})
    with pytest.raises(UsageError, match="choose another seed"):
        privsdk.audit(taken, quick=True)


def test_people_of_ones_own_are_not_those_that_attackers_learn_from(made_up: Any, privatizer: Privatizer) -> None:
    rng = np.random.default_rng(2)
    mean = made_up.public.mean[rng.permutation(6000)[:400]] + 0.01
    given = {"Male": rng.integers(0, 2, 400), "Smiling": rng.integers(0, 2, 400)}
    case = cases.of_samples(privatizer, Latents(mean, np.full_like(mean, 0.02)), given, people=np.arange(400) // 4)
    assert case.train is not None
    assert case.train.latents is not None
    assert case.test.latents is not None
    assert not rows(case.train.latents.mean) & rows(case.test.latents.mean)
    assert case.measured_on == "the samples given"
