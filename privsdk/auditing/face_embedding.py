"""Whose face it is, by dlib's face recognition network (D. E. King, 2017): another encoder than that of any bundle.

It needs the packages ``dlib-bin`` and ``face_recognition_models``.  By the files in them, dlib is under the Boost
Software License 1.0, and the models are "licensed in the public domain or under CC0 1.0 Universal"; their licence file
is CC0 1.0, though the field "License" of their metadata says MIT.  Of the models only the network is used: the 68-point
shape predictor beside it was trained on data for research only.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import MissingExtraError, UsageError
from privsdk.samples import images
from privsdk.samples.faces import SIZE, TEMPLATE, similarity

LENGTH = 128
"""Numbers that a face becomes."""

CHIP = 150
"""Width and height of the pictures that the network was trained on, in pixels."""

PADDING = 0.25
"""What is around the face's square in such a picture, as a share of the square's side."""

EYES = np.array([[0.2273, 0.2214], [0.7528, 0.2212]])
"""Where the eyes are in the face's square, float64 [2, 2] as x, y in its sides: the person's right one, then the left.

Middles between the corners of each eye in the mean face shape of five points that ``dlib.get_face_chip`` aligns to.
"""

CHIP_TO_FRAME = similarity((EYES + PADDING) / (1 + 2 * PADDING) * CHIP, TEMPLATE[:2])
"""Takes a point (x, y, 1) of a chip to one of the 64 x 64 frame: float64 [2, 3].

A chip shows 48 of the frame's 64 pixels.  On portraits it lies 3 of its 150 pixels higher than the chip that dlib
aligns by its own five points, as the corners of eyes lie lower than their middles.  Of 500 CelebA faces same and
different people are told apart as well with either: an AUROC of .994.
"""

MODEL = "face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat"


class FaceEmbedding:
    """Faces to vectors; those of one person are near each other, most of them within .6 (Euclidean).

    :raises MissingExtraError: dlib or its model is not there.
    """

    def __init__(self) -> None:
        try:
            import dlib

            # The package is not imported: it needs pkg_resources, which newer setuptools have no more.
            file = Path(str(metadata.distribution("face_recognition_models").locate_file(MODEL)))
        except ImportError as error:  # PackageNotFoundError is one
            raise MissingExtraError(
                f"to recognise faces, dlib and its model are needed ({error}): pip install 'privsdk[linkage]'"
            ) from error
        if not file.is_file():
            raise MissingExtraError(
                f"face_recognition_models is there without {file.name}: "
                "pip install --force-reinstall 'face_recognition_models>=0.3'"
            )
        self._network = dlib.face_recognition_model_v1(str(file))

    def embed(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [N, 64, 64, 3], aligned as :func:`privsdk.read_faces` does it, to float32 [N, 128]; .1 s a face.

        :raises UsageError: another shape or dtype.
        """
        if faces.dtype != np.uint8 or faces.shape[1:] != (SIZE, SIZE, 3):
            raise UsageError(
                f"faces to recognise are uint8 [N, {SIZE}, {SIZE}, 3], not {faces.dtype} {list(faces.shape)}: have "
                "them aligned by privsdk.read_faces"
            )
        # One at a time: many at once are no faster, and nothing could interrupt them.
        found = [self._network.compute_face_descriptor(images.warp(face, CHIP_TO_FRAME, CHIP)) for face in faces]
        return np.array(found, np.float32).reshape(-1, LENGTH)
