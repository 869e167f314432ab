"""How alike releases and originals look, and whether a release still shows a face."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("skimage")

from privsdk import Bundle, MissingExtraError, UsageError, read_faces
from privsdk.auditing.fidelity import fidelity


@pytest.fixture(scope="module")
def portraits(photos: Path) -> np.ndarray:
    return read_faces(sorted(photos.glob("*.jpg"))[:12])[0]


def test_the_same_images_are_as_alike_as_can_be(portraits: np.ndarray) -> None:
    found = fidelity(portraits, portraits, faces=True)
    assert (found.samples, found.similarity) == (12, pytest.approx(1))
    assert (found.faces, found.faces_before) == (1.0, 1.0)
    # As if one of 64 * 64 * 3 values were off by one.
    assert found.signal_to_noise == pytest.approx(10 * np.log10(255**2 * 64 * 64 * 3))
    almost = portraits.copy()
    almost[:, 0, 0, 0] ^= 1
    assert fidelity(portraits, almost, faces=False).signal_to_noise == pytest.approx(found.signal_to_noise)


def test_one_image_that_is_the_same_leaves_the_mean_a_number(portraits: np.ndarray) -> None:
    before = np.clip(portraits[:2], 0, 245)
    after = before + np.array([0, 10], np.uint8).reshape(2, 1, 1, 1)
    most = 10 * np.log10(255**2 * 64 * 64 * 3)
    assert fidelity(before, after, faces=False).signal_to_noise == pytest.approx((most + 20 * np.log10(25.5)) / 2)


def test_similarity_is_the_papers() -> None:
    # Of two even images only the luminance term of Wang et al. (2004), with C1 = (.01 * 255)^2, is not 1.
    even = np.full((1, 20, 16, 3), 100, np.uint8)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 160 + c1) / (100**2 + 160**2 + c1)
    assert fidelity(even, even + 60, faces=False).similarity == pytest.approx(expected)


def test_more_noise_is_less_alike(portraits: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(size=portraits.shape)
    noisy = [np.clip(portraits + spread * noise, 0, 255).astype(np.uint8) for spread in (4, 16, 64)]
    found = [fidelity(portraits, one, faces=False) for one in noisy]
    assert 1 > found[0].similarity > found[1].similarity > found[2].similarity > 0
    assert found[0].signal_to_noise > found[1].signal_to_noise > found[2].signal_to_noise > 5
    # 20 log10(255 / 16), a little more as values are cut off at the ends.
    assert found[1].signal_to_noise == pytest.approx(24, abs=1)
    assert found[0].faces is found[0].faces_before is None


def test_a_reconstruction_is_alike_and_a_face(portraits: np.ndarray, bundle: Bundle) -> None:
    again = bundle.decode(bundle.encode(portraits).mean)
    found = fidelity(portraits, again, faces=True)
    strangers = fidelity(portraits, np.roll(again, 1, axis=0), faces=False)
    assert (found.faces, found.faces_before) == (1.0, 1.0)
    assert found.similarity > 1.5 * strangers.similarity
    assert found.signal_to_noise > strangers.signal_to_noise + 4


def test_scrambled_pixels_are_no_face(portraits: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    scrambled = np.stack([rng.permutation(face.reshape(-1, 3)).reshape(face.shape) for face in portraits])
    found = fidelity(portraits, scrambled, faces=True)
    assert (found.faces, found.faces_before) == (0.0, 1.0)
    assert found.similarity < 0.1


def test_grey_images_come_with_or_without_their_one_colour(portraits: np.ndarray) -> None:
    before, after = portraits[:6, :28, :28, 0], portraits[6:, :28, :28, 0]
    plain, one_colour = (
        fidelity(*pair, faces=False) for pair in ((before, after), (before[..., None], after[..., None]))
    )
    assert plain == one_colour
    assert 0 < plain.similarity < 0.9


def test_what_cannot_be_compared_is_refused(portraits: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"the originals are \[12, 64, 64, 3\], the releases \[11, 64, 64, 3\]"):
        fidelity(portraits, portraits[1:], faces=True)
    for wrong in (portraits / 255, portraits[0, 0], portraits[:0], portraits[..., :2]):
        with pytest.raises(UsageError, match="images are uint8"):
            fidelity(wrong, wrong, faces=False)
    with pytest.raises(UsageError, match="8 x 64 pixels are too small: SSIM needs 11"):
        fidelity(portraits[:, :, :8], portraits[:, :, :8], faces=True)
    with pytest.raises(UsageError, match="sought in colour"):
        fidelity(portraits[..., 0], portraits[..., 0], faces=True)


def test_without_the_extra_it_says_what_to_install(portraits: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.metrics", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'privsdk\[audit\]'"):
        fidelity(portraits, portraits, faces=False)
