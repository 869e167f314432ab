"""What releases look like beside their originals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from privsdk.auditing.report import Fidelity
from privsdk.errors import MissingExtraError, UsageError
from privsdk.samples.faces import Detector

SMALLEST = 11  # pixels that SSIM's window is wide
LARGEST_VALUE = 255
MARGIN = 0.25  # of its side, around each face: without it one in 15 heaps of scrambled pixels was taken for a face


def fidelity(before: NDArray[np.uint8], after: NDArray[np.uint8], faces: bool) -> Fidelity:
    """How alike images are before and after, uint8 [N, H, W, 3], [N, H, W, 1] or [N, H, W], and whether they are faces.

    SSIM is that of Wang, Bovik, Sheikh and Simoncelli (2004): windows 11 pixels wide with Gaussian weights (sigma 1.5),
    the mean over places and colours.  PSNR is 10 log10(255^2 / mean squared error).  It is infinite for the same image,
    which counts as if one of its values were off by one: 89 dB at 64 x 64 in colour.  Of ``faces``, [N, H, W, 3], it
    also says in how many the detector finds one.

    :raises UsageError: arrays that do not fit, or images with a side of less than 11 pixels.
    :raises MissingExtraError: scikit-image is not there.
    """
    try:
        from skimage.metrics import peak_signal_noise_ratio, structural_similarity
    except ImportError as error:
        raise MissingExtraError("to compare images, scikit-image is needed: pip install 'privsdk[audit]'") from error
    _require_images(before, after, faces)
    most = 10 * np.log10(LARGEST_VALUE**2 * before[0].size)

    def similarity(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
        return float(
            structural_similarity(
                one,
                other,
                channel_axis=-1 if one.ndim == 3 else None,
                data_range=LARGEST_VALUE,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
        )

    def signal_to_noise(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
        same = np.array_equal(one, other)
        return most if same else float(peak_signal_noise_ratio(one, other, data_range=LARGEST_VALUE))

    return Fidelity(
        samples=len(before),
        similarity=float(np.mean([similarity(*pair) for pair in zip(before, after, strict=True)])),
        signal_to_noise=float(np.mean([signal_to_noise(*pair) for pair in zip(before, after, strict=True)])),
        faces=_share_of_faces(after) if faces else None,
        faces_before=_share_of_faces(before) if faces else None,
    )


def _share_of_faces(pictures: NDArray[np.uint8]) -> float:
    detector = Detector()
    above, beside = (round(MARGIN * side) for side in pictures.shape[1:3])
    framed = np.pad(pictures, ((0, 0), (above, above), (beside, beside), (0, 0)), constant_values=128)
    return float(np.mean([bool(detector.find(picture)) for picture in framed]))


def _require_images(before: NDArray[np.uint8], after: NDArray[np.uint8], faces: bool) -> None:
    for images in (before, after):
        colours = images.shape[3:]
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or colours not in ((), (1,), (3,)) or not len(images):
            raise UsageError(
                f"images are uint8 [N, H, W, 3], [N, H, W, 1] or [N, H, W], one at least, not {images.dtype} "
                f"{list(images.shape)}"
            )
    if before.shape != after.shape:
        raise UsageError(
            f"the originals are {list(before.shape)}, the releases {list(after.shape)}: give one of each, in the same "
            "order"
        )
    height, width = before.shape[1:3]
    if min(height, width) < SMALLEST:
        raise UsageError(f"images of {width} x {height} pixels are too small: SSIM needs {SMALLEST} each way")
    if faces and before.shape[3:] != (3,):
        raise UsageError(f"a face is sought in colour, [N, H, W, 3], not in {list(before.shape)}: give faces=False")
