"""Attackers on pixels and on digits find what was hidden there, and nothing where there is nothing."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("scipy")

import torch
from PIL import Image
from scipy import stats

from privsdk.auditing import metrics
from privsdk.auditing.attackers.attacker import Attacker
from privsdk.auditing.attackers.bit_planes import BitPlanes, correlation_ratio
from privsdk.auditing.attackers.convolutional import ConvolutionalNetwork
from privsdk.auditing.attackers.last_digits import LastDigits
from privsdk.auditing.attackers.patches import Patches

ON_PIXELS = (ConvolutionalNetwork, BitPlanes, Patches)
SIDE = 32

on_pixels = pytest.mark.parametrize("attacker", ON_PIXELS, ids=lambda one: one.name)


@pytest.fixture(scope="module")
def portraits(photos: Path) -> list[np.ndarray]:
    """Portraits, which belong to nobody, at a quarter of their size: real textures, and noise of real images."""
    found = []
    for path in sorted(photos.glob("*.jpg")):
        with Image.open(path) as image:
            found.append(np.asarray(image.convert("RGB").reduce(4)))
    return found


def crops(portraits: list[np.ndarray], count: int, side: int = SIDE, seed: int = 0) -> np.ndarray:
    """Squares of the portraits: uint8 [N, side, side, 3]."""
    generator = np.random.default_rng(seed)
    made = np.empty((count, side, side, 3), np.uint8)
    for number, one in enumerate(generator.integers(0, len(portraits), count)):
        photo = portraits[one]
        top, left = (generator.integers(0, length - side + 1) for length in photo.shape[:2])
        made[number] = photo[top : top + side, left : left + side]
    return made


def labels(count: int, classes: int = 2, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, count)


def accuracy(attacker: type[Attacker], x: np.ndarray, y: np.ndarray, test: int = 1000) -> float:
    """On the last so many samples, of an attacker that was trained on the others."""
    scores = attacker(0).fit(x[:-test], y[:-test]).score(x[-test:])
    guesses = scores > 0 if scores.ndim == 1 else scores.argmax(axis=1)
    return float((guesses == y[-test:]).mean())


def put(images: np.ndarray, place: tuple[int, ...], bit: np.ndarray, plane: int = 0) -> None:
    """Writes ``bit`` [N] into a bit of one pixel of each image."""
    pixel = images[:, *place]
    pixel[:] = pixel & np.uint8(255 - (1 << plane)) | (bit.astype(np.uint8) << plane)


@pytest.mark.parametrize("plane", [0, 3])
def test_a_label_in_one_bit_of_one_pixel_is_found(portraits, plane) -> None:
    images, y = crops(portraits, 4000), labels(4000)
    put(images, (11, 20, 1), y, plane)
    assert accuracy(BitPlanes, images, y) > 0.95


def test_a_label_in_the_exclusive_or_of_two_pixels_is_found(portraits) -> None:
    images, y = crops(portraits, 4000), labels(4000)
    wrong = np.random.default_rng(2).random(4000) < 0.03
    put(images, (25, 7, 2), (images[:, 3, 19, 0] & 1) ^ y ^ wrong)
    assert accuracy(BitPlanes, images, y) > 0.95


def test_a_label_in_the_parity_of_all_bits_is_found(portraits) -> None:
    images, y = crops(portraits, 4000), labels(4000)
    images[:, 0, 0, 0] ^= ((images & 1).sum(axis=(1, 2, 3)) % 2 != y).astype(np.uint8)
    assert accuracy(BitPlanes, images, y) > 0.95


def test_a_label_spread_thinly_over_all_lowest_bits_is_found(portraits) -> None:
    images, y = crops(portraits, 4000), labels(4000)
    set_ones = np.random.default_rng(3).random(images.shape) < 0.06
    images |= (set_ones & (y == 1)[:, None, None, None]).astype(np.uint8)
    assert accuracy(BitPlanes, images, y) > 0.9


def test_three_classes_in_two_bits_are_told_apart(portraits) -> None:
    images, y = crops(portraits, 4000), labels(4000, 3)
    put(images, (4, 4, 0), y & 1)
    put(images, (30, 9, 1), y >> 1)
    assert accuracy(BitPlanes, images, y) > 0.95


@pytest.mark.parametrize("attacker", [ConvolutionalNetwork, Patches], ids=lambda one: one.name)
def test_a_faint_pattern_is_found(portraits, attacker) -> None:
    images, y = crops(portraits, 2800), labels(2800)
    pattern = np.random.default_rng(4).choice([-2, 2], images.shape[1:])
    images = np.clip(images + y[:, None, None, None] * pattern, 0, 255).astype(np.uint8)
    assert accuracy(attacker, images, y, 500) > 0.9


@pytest.mark.parametrize("attacker", [ConvolutionalNetwork, Patches], ids=lambda one: one.name)
def test_a_bright_dot_in_a_corner_is_found(portraits, attacker) -> None:
    images, y = crops(portraits, 2200), labels(2200)
    images[y == 1, 1:3, 1:3] = np.maximum(images[y == 1, 1:3, 1:3], 250)
    assert accuracy(attacker, images, y) > 0.9


def test_a_shape_is_found_wherever_it_is(portraits) -> None:
    images, y = crops(portraits, 2200), labels(2200)
    places = np.random.default_rng(5).integers(0, SIDE - 8, (2200, 2))
    for image, upright, (top, left) in zip(images, y, places, strict=True):
        bar = (8, 2) if upright else (2, 8)
        image[top : top + bar[0], left : left + bar[1]] = (255, 0, 255)
    assert accuracy(ConvolutionalNetwork, images, y) > 0.9


def table(count: int, seed: int = 0) -> np.ndarray:
    """Ages, heights in metres, amounts, and a measurement with all its digits."""
    generator = np.random.default_rng(seed)
    return np.stack(
        [
            generator.integers(18, 90, count),
            generator.normal(1.7, 0.1, count).round(2),
            generator.gamma(2, 9000, count).round(2),
            generator.normal(0, 3, count),
        ],
        axis=1,
    )


def rounded_to_fives(rows: np.ndarray, y: np.ndarray) -> None:
    rows[y == 1, 2] = (rows[y == 1, 2] / 5).round() * 5


def rounded_to_halves(rows: np.ndarray, y: np.ndarray) -> None:
    rows[y == 1, 3] = (rows[y == 1, 3] * 2).round() / 2


def fourth_decimal_odd(rows: np.ndarray, y: np.ndarray) -> None:
    fourth = np.floor(np.abs(rows[:, 3]) * 1e4)
    rows[:, 3] = (fourth + (fourth % 2 != y) + 0.4) / 1e4


def even_ages(rows: np.ndarray, y: np.ndarray) -> None:
    rows[:, 0] += rows[:, 0] % 2 != y


def once_in_32_bits(rows: np.ndarray, y: np.ndarray) -> None:
    rows[y == 1, 3] = rows[y == 1, 3].astype(np.float32)


@pytest.mark.parametrize(
    "hide",
    [rounded_to_fives, rounded_to_halves, fourth_decimal_odd, even_ages, once_in_32_bits],
    ids=lambda one: one.__name__,
)
def test_a_label_in_how_a_column_is_rounded_is_found(hide) -> None:
    rows, y = table(4000), labels(4000)
    hide(rows, y)
    assert accuracy(LastDigits, rows, y) > 0.95


@on_pixels
def test_nothing_is_found_in_images_where_there_is_nothing(portraits, attacker) -> None:
    images, y = crops(portraits, 3000), labels(3000)
    scores = attacker(0).fit(images[:1000], y[:1000]).score(images[1000:])
    assert abs(metrics.auroc(y[1000:], scores) - 0.5) < 0.05


def test_nothing_is_found_in_digits_where_there_is_nothing() -> None:
    rows, y = table(4000), labels(4000)
    scores = LastDigits(0).fit(rows[:2000], y[:2000]).score(rows[2000:])
    assert abs(metrics.auroc(y[2000:], scores) - 0.5) < 0.05


@on_pixels
def test_the_same_seed_finds_the_same(portraits, attacker) -> None:
    images, y = crops(portraits, 300, side=16), labels(300)
    scores = [attacker(seed).fit(images[:200], y[:200]).score(images[200:]) for seed in (3, 3, 4)]
    assert np.array_equal(scores[0], scores[1])
    if attacker is ConvolutionalNetwork:
        assert not np.array_equal(scores[0], scores[2])


def test_torch_stays_as_it_was(portraits) -> None:
    images, y = crops(portraits, 150, side=12), labels(150)
    threads = torch.get_num_threads()
    found = []

    def attack() -> None:
        before = torch.get_num_threads()
        found.append(ConvolutionalNetwork(0).fit(images[:100], y[:100]).score(images[100:]))
        assert torch.get_num_threads() == before

    try:
        torch.set_num_threads(2)
        state = torch.random.get_rng_state()
        attack()
        torch.manual_seed(99)
        others = [threading.Thread(target=attack) for _ in range(2)]
        for one in others:
            one.start()
        for one in others:
            one.join()
        assert torch.get_num_threads() == 2
        torch.random.set_rng_state(state)
        attack()
        assert torch.equal(torch.random.get_rng_state(), state)
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 4
    assert all(np.array_equal(one, other) for one, other in itertools.pairwise(found))
    assert torch.is_grad_enabled()
    assert not torch.are_deterministic_algorithms_enabled()


@on_pixels
def test_grey_images_need_no_channel(portraits, attacker) -> None:
    images, y = crops(portraits, 170, side=14)[..., :1], labels(170)
    with_channel = attacker(0).fit(images[:70], y[:70]).score(images[70:])
    without = attacker(0).fit(images[:70, ..., 0], y[:70]).score(images[70:, ..., 0])
    assert np.array_equal(with_channel, without)
    assert with_channel.shape == (100,)


@on_pixels
@pytest.mark.parametrize("side", [8, 45])
def test_three_classes_and_any_size(portraits, attacker, side) -> None:
    images, y = crops(portraits, 120, side)[:, :, : side - 1], labels(120, 3).astype(np.uint8)
    images.setflags(write=False)
    scores = attacker(0).fit(images[:70], y[:70]).score(images[70:])
    assert scores.shape == (50, 3)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()


def test_digits_of_three_classes_and_of_a_table_without_any() -> None:
    y = labels(300, 3)
    rows = table(300)
    rows[:, 0] = y * 5
    assert LastDigits(0).fit(rows[:200], y[:200]).score(rows[200:]).shape == (100, 3)
    flat = np.ones((300, 2))
    assert len(set(LastDigits(0).fit(flat[:200], y[:200] > 0).score(flat[200:]))) == 1


def test_the_correlation_ratio_of_bits_is_chi_square() -> None:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, 500)
    bits = generator.random((500, 4)) < 0.2 + 0.1 * y[:, None]
    bits[:, 3] = True
    sums = np.stack([bits[y == one].sum(axis=0) for one in range(3)])
    found = correlation_ratio(np.bincount(y), sums, bits.sum(axis=0))
    expected = [
        stats.chi2_contingency(
            [[s, c - s] for s, c in zip(column, np.bincount(y), strict=True)], correction=False
        ).statistic
        for column in sums[:, :3].T
    ]
    assert found[:3] * 500 == pytest.approx(expected)
    assert found[3] == 0
