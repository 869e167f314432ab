"""The same sample, filter and key give the same bytes, whatever is released with it and however the filter came."""

from __future__ import annotations

import numpy as np
import pytest

import privsdk
from privsdk import Bundle, Privatizer

KEY = bytes(range(32))


@pytest.fixture(scope="module")
def samples(bundle: Bundle) -> np.ndarray:
    return bundle.decode(bundle.public.mean[:48])


@pytest.mark.parametrize("size", [1, 7, 16])
def test_a_release_does_not_depend_on_its_batch(privatizer: Privatizer, samples: np.ndarray, size: int) -> None:
    order = np.random.default_rng(size).permutation(len(samples))
    together = privatizer.privatize(samples, key=KEY)
    for start in range(0, len(samples), size):
        rows = order[start : start + size]
        assert (privatizer.privatize(samples[rows], key=KEY) == together[rows]).all()


def test_nor_on_whether_the_filter_was_just_fitted_or_read_from_a_file(
    privatizer: Privatizer, samples: np.ndarray
) -> None:
    saved = Privatizer.from_bytes(privatizer.to_bytes(), privatizer.bundle)
    assert saved.filter_digest == privatizer.filter_digest
    assert (saved.privatize(samples, key=KEY) == privatizer.privatize(samples, key=KEY)).all()


def test_a_filter_of_a_label_of_many_classes_is_as_steady() -> None:
    bundle = Bundle.open("mnist")
    privatizer = privsdk.fit(bundle, private="Digit", utility="Circle")
    samples = bundle.decode(bundle.public.mean[:64])
    together = privatizer.privatize(samples, key=KEY)
    alone = np.concatenate([privatizer.privatize(samples[row : row + 1], key=KEY) for row in range(len(samples))])
    assert (alone == together).all()


def test_another_key_or_another_filter_gives_other_noise(
    bundle: Bundle, privatizer: Privatizer, samples: np.ndarray
) -> None:
    released = privatizer.privatize(samples, key=KEY)
    assert not (privatizer.privatize(samples, key=bytes(32)) == released).reshape(len(samples), -1).all(axis=1).any()
    record = privatizer.record
    # The same filter but for a setting that changes nothing here: it is another one, and so are its random choices.
    other = Privatizer(
        bundle,
        type(privatizer.filter).from_arrays(
            privatizer.filter.settings() | {"rho": 1 - 1e-9}, privatizer.filter.arrays()
        ),
        record,
    )
    assert other.filter_digest != privatizer.filter_digest
    assert not (other.privatize(samples, key=KEY) == released).reshape(len(samples), -1).all(axis=1).any()
