"""How a bundle's samples are had from an image: the faces in it, a digit, or its middle."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import UsageError
from privsdk.samples import digits, images
from privsdk.samples.faces import SIZE, Detector, Faces, faces_in
from privsdk.samples.images import Pixels

if TYPE_CHECKING:
    from privsdk.bundle import Bundle

SamplesIn: TypeAlias = Callable[[Pixels], tuple[list[NDArray[np.uint8]], int]]
"""An image, uint8 [H, W, 3], to its samples, and how many there were with those that are left out."""


def sample_reader(bundle: Bundle, faces: Faces, aligned: bool) -> SamplesIn:
    """What takes the samples of ``bundle`` out of an image, or raises a Refusal.

    ``faces`` and ``aligned`` are as in :func:`~privsdk.samples.faces.faces_in`.  Raises UsageError for a bundle whose
    samples are in no image, and where ``aligned`` is of no use.
    """
    if bundle.table is not None:
        raise UsageError(f"the bundle {bundle.name} is for tables: name one CSV file")
    is_of_faces = bundle.kind != "images" and bundle.sample_shape == (SIZE, SIZE, 3)
    if aligned and not is_of_faces:
        raise UsageError(f"the samples of the bundle {bundle.name} are no faces, so none is aligned: leave that out")
    if is_of_faces:
        detector = Detector(bundle.threads)
        return lambda image: faces_in(image, faces, aligned, detector)
    if bundle.sample_shape == (digits.SIDE, digits.SIDE):
        return lambda image: ([digits.digit_in(image)], 1)
    if bundle.kind == "images" and bundle.sample_shape[2:] == (3,):
        return lambda image: ([images.central_square(image, bundle.sample_shape[0])], 1)
    raise UsageError(f"the bundle {bundle.name} has samples {bundle.sample_shape}, which are read from no file here")
