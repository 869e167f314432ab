"""Several releases together: albums add up what one photo hardly tells, and a wrong label gives a sample away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from a_bundle import made_up_bundle

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("skimage")

from privsdk.auditing import cases
from privsdk.auditing.attackers import LogisticRegression
from privsdk.auditing.attacking import Which
from privsdk.auditing.audit import FIRST_SEED, _wrong_labels
from privsdk.auditing.forms import COLUMNS
from privsdk.auditing.protocols import FIVE_FOLDS, Released, cross_fitted
from privsdk.auditing.several import albums
from privsdk.fitting import fit

PEOPLE, PHOTOS = 120, 22


def an_album(shift: float, smiles: float, draw: int = 3) -> tuple[cases.Case, dict[str, Any]]:
    """Photos of people, each of which tells the label a little, and smiles that go with it."""
    rng = np.random.default_rng(draw)
    people = np.repeat(np.arange(PEOPLE), PHOTOS)
    hidden = (np.arange(PEOPLE) % 2)[people]
    kept = (rng.random(len(people)) < 0.5 + smiles * (2 * hidden - 1)).astype(int)
    x = rng.normal(size=(len(people), 4))
    x[:, 0] += shift * hidden
    case = cases.of_released(x, {"hidden": hidden, "kept": kept}, "hidden", "kept", people=people)
    test = case.test
    one = cross_fitted(LogisticRegression, Released(test.released, test.labels["hidden"], test.people), FIRST_SEED)
    return case, {"hidden": {Which(COLUMNS, one.attacker, FIVE_FOLDS): [one]}}


def test_an_album_tells_more_than_a_photo_and_says_what_its_true_labels_tell() -> None:
    case, found = an_album(0.4, 0.1)
    told = {one.count: one for one in albums(case, found, case.test.released.astype(np.float32), (FIRST_SEED,))}
    assert set(told) == {2, 5, 10, 20}
    (photo,) = next(iter(found["hidden"].values()))
    assert photo.leakage < 0.65 < 0.8 < told[10].leakage < told[20].leakage
    ceilings = [told[count].ceiling for count in (2, 5, 10, 20)]
    assert ceilings == sorted(ceilings)
    # Of 20 photos Binomial(20, .6) against Binomial(20, .4): an AUROC of .90.
    assert ceilings[-1] == pytest.approx(0.9, abs=0.06)
    assert all(one.interval[0] < one.leakage for one in told.values())


def test_albums_of_independent_photos_tell_nothing() -> None:
    """In 20 draws the interval holds .5 as often as it claims to; albums of four sizes share their photos."""
    missed = dict.fromkeys((2, 5, 10, 20), 0)
    for draw in range(20):
        case, found = an_album(0.0, 0.0, draw)
        for one in albums(case, found, case.test.released.astype(np.float32), (FIRST_SEED,)):
            missed[one.count] += one.interval[0] > 0.5
    # Of 20 draws at 5% each more than three miss once in 60 times.
    assert max(missed.values()) <= 3, missed


def test_nobody_has_an_album_where_each_sample_is_anothers() -> None:
    case, found = an_album(0.4, 0.0)
    alone = cases.Samples(case.test.labels, np.arange(len(case.test)), None, None, case.test.released)
    lonely = cases.Case(**{**vars(case), "test": alone})
    assert albums(lonely, found, case.test.released.astype(np.float32), (FIRST_SEED,)) == []


def test_a_wrong_label_gives_a_sample_away() -> None:
    made_up = made_up_bundle(3000)
    aware = fit(made_up, "male", "smiling", method="minmax", form="linear", label_aware=True, budget=4.0)
    (wrong,) = _wrong_labels(cases.of_public_latents(aware), (FIRST_SEED,))
    assert wrong.label == "Male"
    # It was pushed the wrong way: more of it is told than of a sample that nothing is done to.
    assert wrong.accuracy > 0.85
    assert wrong.leakage > 0.9
    free = fit(made_up, "male", "smiling")
    assert _wrong_labels(cases.of_public_latents(free), (FIRST_SEED,)) == ()
