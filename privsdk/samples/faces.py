"""Faces in photos: found, turned upright, and cut out in the frame that encoders are trained on.

The frame is nearly the usual one of CelebA: the central square of an aligned image whose side is 148/178 of the
image's width, at 64 x 64 pixels.  A photo comes into it by its five landmarks: the similarity transform that
takes them nearest to :data:`TEMPLATE`, in the least-squares sense (S. Umeyama, "Least-squares estimation of
transformation parameters between two point patterns", IEEE TPAMI 13(4), 1991).

The detector is YuNet (W. Wu, H. Peng, S. Yu, "YuNet: a tiny millisecond-level face detector", 2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from privsdk import runtime
from privsdk.errors import Refusal, UsageError
from privsdk.progress import Progress
from privsdk.samples import images
from privsdk.samples.images import Pixels

Faces: TypeAlias = Literal["largest", "all"]

SIZE = 64
"""Width and height of a face sample, in pixels."""

TEMPLATE = np.array([[23.59, 32.25], [40.37, 32.65], [31.84, 42.87], [24.01, 49.77], [39.02, 50.18]])
"""Where the landmarks of a face sample lie, float64 [5, 2] as x, y in pixels of the 64 x 64 frame.

In the order of :attr:`Face.landmarks`.  The mean of what the detector finds in 406 aligned CelebA images;
``python -m benchmarks.face_template`` measures it.
"""

AROUND = 218 / 148
"""How many frames wide a view is in which the detector finds a face well; an aligned CelebA image shows as much."""

LEAST_EYE_DISTANCE = 12.0
"""The fewest pixels between the eyes of a face that is released; in the 64 x 64 frame they are 17 apart.

Measured on portraits made smaller, against the same faces at full size: at 12 pixels an aligned face is off by 1.05
pixels of the frame on average, at 10 by 1.35, at 8 by 1.7, at 6 by 2.5.  Aligned CelebA images themselves scatter by
1.3 to 1.9, so from 12 up a small photo is seen no worse than the faces that the encoder was trained on.
"""


@dataclass(frozen=True, eq=False)
class Face:
    """One face that the detector found, in pixels from the upper left corner of the image.

    ``score`` lies in 0..1, ``box`` is float32 [4] (left, top, right, bottom), ``landmarks`` float32 [5, 2]
    (x, y): right eye, left eye, nose, right and left corner of the mouth, each as the person would say it.
    """

    score: float
    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]

    @property
    def area(self) -> float:
        """The area of the box in pixels."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))

    @property
    def eye_distance(self) -> float:
        """The distance between the eyes in pixels."""
        return float(np.linalg.norm(self.landmarks[0] - self.landmarks[1]))


class Detector:
    """Finds faces with YuNet on ONNX Runtime.  Immutable; threads may share it."""

    _STRIDES = (8, 16, 32)
    _LONG_SIDES = (320, 640)  # a second, finer look where the first finds nothing
    _LEAST_SCORE = 0.6
    _LEANING = np.radians(8)
    _LARGEST_OVERLAP = 0.3

    def __init__(self, threads: int = 1) -> None:
        graph = resources.files("privsdk.samples").joinpath("detector", "yunet_n_dynamic.onnx").read_bytes()
        self._session = runtime.session(graph, threads)
        self._outputs = [f"{kind}_{stride}" for stride in self._STRIDES for kind in ("cls", "obj", "bbox", "kps")]

    def find(self, image: Pixels) -> list[Face]:
        """The faces in uint8 [H, W, 3], the largest first; an empty list where there is none."""
        for long_side in self._LONG_SIDES:
            found = self._find_at(image, long_side)
            if found:
                straight = [self._straightened(image, face) for face in found]
                return sorted(straight, key=lambda face: face.area, reverse=True)
        return []

    def _straightened(self, image: Pixels, face: Face) -> Face:
        """The same face; where it leans, with landmarks from a second look at it turned upright.

        The detector shies from a lean: a head that is turned by 25 degrees it takes for one turned by 17, which
        moves an aligned face by 4.5 pixels of 64 on average.  After the second look 1.7 are left.
        """
        upright = similarity(TEMPLATE, face.landmarks.astype(np.float64))
        if abs(np.arctan2(upright[1, 0], upright[0, 0])) < self._LEANING:
            return face

        long_side = self._LONG_SIDES[0]
        step = SIZE * AROUND / long_side
        corner = SIZE / 2 - step * long_side / 2
        view = upright @ np.array([[step, 0, corner], [0, step, corner], [0, 0, 1]])
        seen = self._find_at(images.warp(image, view, long_side), long_side)
        off_centre = [np.linalg.norm(other.landmarks.mean(axis=0) - long_side / 2) for other in seen]
        if not seen or min(off_centre) > long_side / 4:
            return face
        landmarks = seen[int(np.argmin(off_centre))].landmarks @ view[:, :2].T + view[:, 2]
        return replace(face, landmarks=landmarks.astype(np.float32))

    def _find_at(self, image: Pixels, long_side: int) -> list[Face]:
        """The faces that show when the longer side of the image is brought to ``long_side`` pixels."""
        height, width = image.shape[:2]
        scale = long_side / max(height, width)
        inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
        letterbox = np.zeros((_up_to_32(inner_height), _up_to_32(inner_width), 3), np.float32)
        letterbox[:inner_height, :inner_width] = images.resize(image, inner_width, inner_height)[..., ::-1]

        outputs = self._session.run(self._outputs, {"input": letterbox.transpose(2, 0, 1)[None]})
        per_stride = []
        for k, stride in enumerate(self._STRIDES):
            classes, objects, offsets, points = (output[0] for output in outputs[4 * k : 4 * k + 4])
            columns = letterbox.shape[1] // stride
            per_stride.append(_decode(classes, objects, offsets, points, stride, columns))
        scores, boxes, landmarks = (np.concatenate(parts) for parts in zip(*per_stride, strict=True))

        likely = scores > self._LEAST_SCORE
        scores, boxes, landmarks = scores[likely], boxes[likely], landmarks[likely]
        to_image = np.array([width / inner_width, height / inner_height], np.float32)
        boxes, landmarks = boxes * np.tile(to_image, 2), landmarks * to_image
        return [
            Face(float(scores[k]), boxes[k], landmarks[k])
            for k in _without_overlaps(scores, boxes, self._LARGEST_OVERLAP)
        ]


def align(image: Pixels, landmarks: NDArray[np.float32]) -> Pixels:
    """uint8 [64, 64, 3]: the face with these landmarks, float32 [5, 2], brought into the frame."""
    return images.warp(image, similarity(TEMPLATE, landmarks.astype(np.float64)), SIZE)


def similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The similarity transform that takes ``source`` nearest to ``target``, both float64 [N, 2].

    Gives float64 [2, 3] so that target = matrix @ [x, y, 1].  Umeyama (1991) in two dimensions: with the
    points as complex numbers about their means, scale and turn are the one factor
    sum(conj(source) target) / sum(|source|^2), and a reflection cannot come out.
    """
    start, end = source.mean(axis=0), target.mean(axis=0)
    from_ = (source - start) @ [1, 1j]
    to = (target - end) @ [1, 1j]
    factor = np.vdot(from_, to) / np.vdot(from_, from_).real
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([turn, end - turn @ start])


def check_choice(faces: str) -> None:
    """Raises UsageError where it is none of :data:`Faces`."""
    if faces not in ("largest", "all"):
        raise UsageError(f'faces is {faces!r}: give "largest" or "all"')


def faces_in(image: Pixels, faces: Faces, aligned: bool, detector: Detector) -> tuple[list[Pixels], int]:
    """The faces of a photo, uint8 [H, W, 3], as samples, each uint8 [64, 64, 3], the largest first; and how many
    faces it shows, the ones that are left out among them.

    ``faces`` takes the largest alone or all of them; among several those that are too small are left out.
    With ``aligned`` nothing is searched for: a square is a face sample already and only brought to 64 x 64.
    An aligned CelebA image, 178 x 218, is none: it lies some pixels elsewhere, where filters let more through.  Of a
    square nobody knows how it was cut out, so it is the caller who says it.

    Raises :class:`~privsdk.errors.Refusal` (``no-face``, ``face-too-small`` or ``wrong-size``) and
    :class:`~privsdk.errors.UsageError` for another value of ``faces``.
    """
    check_choice(faces)
    if aligned:
        return [_aligned(image)], 1

    found = detector.find(image)
    if not found:
        raise Refusal("no-face", "No face was found. Give a photo that shows one upright, seen from the front.")
    large_enough = [face for face in found if face.eye_distance >= LEAST_EYE_DISTANCE]
    if not large_enough:
        raise Refusal(
            "face-too-small",
            f"The eyes are {math.floor(found[0].eye_distance)} pixels apart, at least {LEAST_EYE_DISTANCE:.0f} are "
            "needed. Give the photo at its full size, or one taken from nearer.",
        )
    chosen = large_enough if faces == "all" else large_enough[:1]
    return [align(image, face.landmarks) for face in chosen], len(found)


def read_faces(
    sources: Path | str | bytes | Sequence[Path | str | bytes],
    faces: Faces = "largest",
    aligned: bool = False,
    on_progress: Progress | None = None,
) -> tuple[Pixels, list[Refusal]]:
    """The faces in photos, one or several, given as paths or as the bytes of image files.

    Gives the samples, uint8 [N, 64, 64, 3], in the order of the sources, and a
    :class:`~privsdk.errors.Refusal` for each source that none could be had from.  ``on_progress`` is called
    with ``("read", sources done, sources in all)``.  For ``faces`` and ``aligned`` see :func:`faces_in`.
    """
    check_choice(faces)
    sources = [sources] if isinstance(sources, Path | str | bytes) else list(sources)
    detector = Detector()
    samples: list[Pixels] = []
    refusals: list[Refusal] = []
    for position, source in enumerate(sources):
        try:
            pixels = images.read(Path(source) if isinstance(source, str) else source)
            samples += faces_in(pixels, faces, aligned, detector)[0]
        except Refusal as refusal:
            name = f"bytes[{position}]" if isinstance(source, bytes) else str(source)
            refusals.append(refusal.of(name, position))
        if on_progress is not None:
            on_progress("read", position + 1, len(sources))
    return np.array(samples, np.uint8).reshape(-1, SIZE, SIZE, 3), refusals


def _aligned(image: Pixels) -> Pixels:
    height, width = image.shape[:2]
    if min(height, width) >= SIZE and height == width:
        return images.crop_resize(image, (0, 0, width, height), SIZE)
    raise Refusal(
        "wrong-size",
        f"It has {width} x {height} pixels. A face that is aligned already is a square of at least {SIZE} x {SIZE}, "
        "cut out as this program does it. Give the photo without --aligned to have the face found in it.",
    )


def _decode(
    classes: NDArray[np.float32],
    objects: NDArray[np.float32],
    boxes: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    stride: int,
    columns: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Scores [N], boxes [N, 4] (corners) and landmarks [N, 5, 2] in pixels, from the maps of one stride."""
    position = np.arange(len(boxes))
    cells = np.stack([position % columns, position // columns], axis=1).astype(np.float32)
    scores = np.sqrt(np.clip(classes[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1))
    centres = (cells + boxes[:, :2]) * stride
    half_sizes = np.exp(boxes[:, 2:]) * (stride / 2)
    corners = np.concatenate([centres - half_sizes, centres + half_sizes], axis=1)
    points = (landmarks.reshape(-1, 5, 2) + cells[:, None]) * stride
    return scores, corners, points


def _without_overlaps(scores: NDArray[np.float32], boxes: NDArray[np.float32], largest: float) -> list[int]:
    """Which boxes stay when each suppresses less likely ones that overlap it (intersection over union)."""
    order = np.argsort(-scores)
    boxes = boxes[order]
    upper_left = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    lower_right = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.prod(np.clip(lower_right - upper_left, 0, None), axis=2)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    overlaps = shared / (areas[:, None] + areas[None] - shared) > largest

    kept: list[int] = []
    for k in range(len(order)):
        if not overlaps[k, kept].any():
            kept.append(k)
    return [int(order[k]) for k in kept]


def _up_to_32(length: int) -> int:
    """The next multiple of 32, the coarsest stride of the detector."""
    return -(-length // 32) * 32
