"""Random choices: the same for a sample whatever the batch, other for another sample, key or purpose."""

from __future__ import annotations

import hmac

import numpy as np
import pytest

from privsdk import UsageError, noise

KEY = bytes(range(32))
SAMPLES = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3)).astype(np.uint8)


def test_seeds_are_those_of_the_first_version() -> None:
    prefix = (1).to_bytes(8, "little") + b"p" + (5).to_bytes(8, "little") + b"bytes"
    expected = [hmac.new(KEY, prefix + sample, "sha256").digest()[:8] for sample in (b"a", b"b")]
    assert noise.sample_seeds(KEY, [b"a", b"b"], "p").tobytes() == b"".join(expected)
    assert noise.sample_seeds(KEY, [b"a"], "p")[0] == 5827268052358930974


def test_draws_are_those_of_the_first_version() -> None:
    """The numbers were computed by Philox 4x64-10 written out by hand from the paper."""
    seeds = np.array([1, 2**63], np.uint64)
    assert noise.uniform(seeds, "p").tolist() == [0.051632237347350896, 0.4851653495359335]
    expected = np.array([[-0.1302987713859838, -0.29840922155523614], [1.0228852324519189, 0.5305891019375003]])
    assert noise.normal(seeds, 2, "p") == pytest.approx(expected, abs=1e-6)


def test_a_row_does_not_depend_on_its_batch() -> None:
    seeds = noise.sample_seeds(KEY, SAMPLES, "p")
    draws = noise.normal(seeds, 5, "p")
    for row in range(len(SAMPLES)):
        alone = noise.sample_seeds(KEY, SAMPLES[row : row + 1], "p")
        assert alone[0] == seeds[row]
        assert (noise.normal(alone, 5, "p")[0] == draws[row]).all()


def test_fewer_numbers_are_not_asked_of_the_generator_twice() -> None:
    assert noise.normal(np.arange(3, dtype=np.uint64), 7, "p").shape == (3, 7)
    assert noise.normal(np.empty(0, np.uint64), 7, "p").shape == (0, 7)


def test_sample_key_purpose_type_and_shape_all_matter() -> None:
    flat = SAMPLES.reshape(6, -1)
    seeds = [
        noise.sample_seeds(KEY, SAMPLES, "p"),
        noise.sample_seeds(bytes(32), SAMPLES, "p"),
        noise.sample_seeds(KEY, SAMPLES, "q"),
        noise.sample_seeds(KEY, flat, "p"),
        noise.sample_seeds(KEY, SAMPLES.astype(np.int8), "p"),
        noise.sample_seeds(KEY, [row.tobytes() for row in SAMPLES], "p"),
    ]
    assert len(np.unique(np.concatenate(seeds))) == 36


def test_purposes_of_one_seed_are_independent() -> None:
    seeds = noise.sample_seeds(KEY, [str(row).encode() for row in range(4000)], "p")
    first, second = noise.normal(seeds, 1, "a")[:, 0], noise.normal(seeds, 1, "b")[:, 0]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


def test_the_distributions_are_right() -> None:
    seeds = noise.sample_seeds(KEY, [str(row).encode() for row in range(4000)], "p")
    normal, uniform = noise.normal(seeds, 10, "a"), noise.uniform(seeds, "b")
    assert abs(normal.mean()) < 0.02
    assert abs(normal.std() - 1) < 0.02
    assert np.abs(np.cov(normal.T) - np.eye(10)).max() < 0.08
    assert abs((np.abs(normal) > 1.96).mean() - 0.05) < 0.005
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.02


def test_the_order_of_bytes_in_memory_does_not_matter() -> None:
    numbers = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    swapped = numbers.astype(numbers.dtype.newbyteorder(">"))
    assert (noise.sample_seeds(KEY, numbers, "p") == noise.sample_seeds(KEY, swapped, "p")).all()


def test_draws_are_independent_of_the_batch() -> None:
    seeds = np.array([5, 6, 7], np.uint64)
    together = noise.uniform(seeds, "p")
    assert together.tolist() == [noise.uniform(seeds[[row]], "p")[0] for row in range(3)]


def test_a_short_key_is_refused() -> None:
    with pytest.raises(UsageError, match="the key has 3 bytes"):
        noise.sample_seeds(b"abc", [b"a"], "p")
