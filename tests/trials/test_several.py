"""Several releases together: noise averages away, albums add up what one photo hardly tells, a wrong label tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from a_bundle import made_up_bundle

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("skimage")

from privsdk import Privatizer, noise
from privsdk.auditing import cases
from privsdk.auditing.attackers import LogisticRegression
from privsdk.auditing.attacking import Which
from privsdk.auditing.audit import FIRST_SEED, _wrong_labels
from privsdk.auditing.forms import COLUMNS
from privsdk.auditing.protocols import FIVE_FOLDS, Released, cross_fitted
from privsdk.auditing.several import KEYED, REDRAWN, albums, averages, bursts
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


@dataclass(frozen=True)
class Noisy:
    """Adds noise to a latent, drawn anew from each seed, and nothing else."""

    spread: float
    kind: str = "noisy"
    label_aware: bool = False

    def perturb(self, mean: np.ndarray, variance: np.ndarray, seeds: np.ndarray, private: Any = None) -> np.ndarray:
        return (mean + self.spread * noise.normal(seeds, mean.shape[1], "noise")).astype(np.float32)


def test_noise_that_averages_away_is_found() -> None:
    """One release hides the label; the mean of a thousand, with the choices redrawn, gives it away."""
    made_up = made_up_bundle(4000)
    record = fit(made_up, "male", "smiling", engine="onnx").record
    case = cases.of_public_latents(Privatizer(made_up, Noisy(12.0), record))
    found = averages(case, (FIRST_SEED,), threads=2, advance=lambda: None)
    redrawn, keyed = ({one.count: one.leakage for one in found if one.kind == kind} for kind in (REDRAWN, KEYED))
    assert redrawn[1] < 0.7 < 0.88 < redrawn[1000]
    assert keyed[1000] == keyed[1] < 0.7
    (burst,) = bursts(case, (FIRST_SEED,))
    assert burst.leakage > redrawn[1]


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
