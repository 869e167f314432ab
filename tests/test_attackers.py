"""Attackers find leaks that were planted, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from privsdk.auditing import attackers, protocols
from privsdk.auditing.attackers import ATTACKERS
from privsdk.auditing.protocols import Released

SIZE = 6


def planted(kind: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Latents that tell a label by their mean, by the sign of a product, by their spread, or not at all."""
    generator = np.random.default_rng(seed)
    y = (generator.random(count) < 0.4).astype(np.uint8)
    z = generator.normal(size=(count, SIZE)).astype(np.float32)
    if kind == "shift":
        z += y[:, None] * 0.7
    elif kind == "xor":
        z[:, 1] = np.abs(z[:, 1]) * np.sign(z[:, 0]) * np.where(y == 1, 1, -1)
    elif kind == "scale":
        z *= np.where(y == 1, 1.6, 1.0)[:, None]
    return z, y


def parts(kind: str) -> tuple[Released, Released, Released]:
    made = []
    for seed, count in ((1, 1800), (2, 300), (3, 900)):
        z, y = planted(kind, count, seed)
        made.append(Released(z, y, np.arange(count) // 3))
    return made[0], made[1], made[2]


@pytest.fixture(scope="module")
def found() -> dict[str, dict[tuple[str, str], protocols.Attack]]:
    """Every attack on every kind of leak."""
    return {
        kind: {(one.attacker, one.protocol): one for one in protocols.attack(*parts(kind))}
        for kind in ("shift", "xor", "scale", "nothing")
    }


PROTOCOLS = (protocols.TRAINING_PARTITION, protocols.FIVE_FOLDS)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("attacker", ATTACKERS, ids=lambda attacker: attacker.name)
def test_every_attacker_finds_a_shift(found, attacker, protocol) -> None:
    assert found["shift"][attacker.name, protocol].leakage > 0.8


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", ["xor", "scale"])
@pytest.mark.parametrize(
    "attacker",
    [one for one in ATTACKERS if one is not attackers.LogisticRegression],
    ids=lambda attacker: attacker.name,
)
def test_curved_attackers_find_what_no_plane_shows(found, attacker, kind, protocol) -> None:
    assert found[kind][attacker.name, protocol].leakage > 0.65
    assert found[kind]["logistic regression", protocol].leakage < 0.57


def test_nothing_is_found_where_there_is_nothing(found) -> None:
    assert all(one.leakage < 0.56 for one in found["nothing"].values())


def test_the_strongest_comes_first() -> None:
    strength = [one.leakage for one in protocols.attack(*parts("shift"), attackers=ATTACKERS[:2])]
    assert strength == sorted(strength, reverse=True)


def test_balanced_accuracies(found) -> None:
    """With few 1s the attacker's own threshold is cautious; the one found on validation data is not."""
    one = found["shift"]["logistic regression", protocols.TRAINING_PARTITION]
    assert 0.7 < one.balanced_accuracy <= one.best_balanced_accuracy + 0.03
    assert one.best_balanced_accuracy > 0.75


def test_folds_keep_people_together_and_leak_nothing_across_them() -> None:
    """A label that is known only by who it is cannot be found in people one has not seen."""
    generator = np.random.default_rng(9)
    people = np.repeat(np.arange(120), 10)
    who = generator.normal(size=(120, SIZE)).astype(np.float32)
    labels = (generator.random(120) < 0.5).astype(np.uint8)
    z = (who[people] + 0.05 * generator.normal(size=(1200, SIZE))).astype(np.float32)
    one = protocols.cross_fitted(attackers.NearestNeighbours, Released(z, labels[people], people))
    assert one.leakage < 0.62
    shuffled = protocols.cross_fitted(attackers.NearestNeighbours, Released(z, labels[people], np.arange(1200)))
    assert shuffled.leakage > 0.95


def test_at_most_as_many_samples_as_the_limit() -> None:
    train, valid, test = parts("shift")

    class Limited(attackers.NearestNeighbours):
        limit = 500

    assert protocols.from_training_partition(Limited, train, valid, test).samples == 500
    assert protocols.cross_fitted(Limited, test).samples == 500


def test_the_same_seed_finds_the_same() -> None:
    train, valid, test = parts("shift")
    for attacker in ATTACKERS:
        first, second = (
            protocols.from_training_partition(attacker, train[np.arange(500)], valid, test, seed=3) for _ in "ab"
        )
        assert np.array_equal(first.scores, second.scores)


@pytest.mark.parametrize("attacker", ATTACKERS, ids=lambda attacker: attacker.name)
def test_a_class_may_have_fewer_samples_than_dimensions(attacker) -> None:
    z, _ = planted("nothing", 300, seed=5)
    y = np.zeros(300, np.uint8)
    y[: SIZE - 2] = 1
    z[y == 1] += 5
    assert attacker(0).fit(z, y).score(z[y == 1]).mean() > attacker(0).fit(z, y).score(z[y == 0]).mean()
