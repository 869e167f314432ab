"""Where the detector finds the landmarks of aligned CelebA images: the measurement behind ``faces.TEMPLATE``.

    python -m benchmarks.face_template --data $PRIVSDK_DATA/celeba

The training images from 182638.jpg on are measured, which are aligned as those of the valid and test partition are,
three times enlarged, as a face in them is small.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from export.datasets.celeba import read_numbers
from export.datasets.labelled import TRAIN
from privsdk.samples import faces, images

FIRST = "182638.jpg"


def landmarks_in_frame(frame: images.Pixels, detector: faces.Detector) -> np.ndarray | None:
    """The landmarks of an aligned image, float64 [5, 2] in pixels of the face sample, if it shows one."""
    height, width = frame.shape[:2]
    found = detector.find(images.resize(frame, 3 * width, 3 * height))
    if len(found) != 1:
        return None
    side = 148 / 178 * width
    corner = np.array([width - side, height - side]) / 2
    return (found[0].landmarks.astype(np.float64) / 3 - corner) * (faces.SIZE / side)


def crop(frame: images.Pixels) -> images.Pixels:
    """uint8 [64, 64, 3]: the usual crop of an aligned CelebA image, uint8 [H, W, 3] of any scale, W:H = 178:218."""
    height, width = frame.shape[:2]
    side = 148 / 178 * width
    left, top = (width - side) / 2, (height - side) / 2
    return images.crop_resize(frame, (left, top, left + side, top + side), faces.SIZE)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the mean landmarks of aligned CelebA images.")
    parser.add_argument("--data", type=Path, required=True, help="a folder in CelebA's official layout")
    parser.add_argument("--images", type=int, default=400, help="about how many, spread over those")
    arguments = parser.parse_args()

    detector = faces.Detector()
    partition = read_numbers(arguments.data / "list_eval_partition.txt")
    names = [name for name, part in partition.items() if part == TRAIN and name >= FIRST]
    chosen = names[:: max(1, len(names) // arguments.images)]
    measured = [
        landmarks_in_frame(images.read(arguments.data / "img_align_celeba" / name), detector) for name in chosen
    ]
    points = np.stack([one for one in measured if one is not None])

    # A few faces are turned far to the side, or another one stands behind: the mean leaves out the outermost.
    middle = np.median(points, axis=0)
    distances = np.linalg.norm(points - middle, axis=2).mean(axis=1)
    points = points[distances <= np.quantile(distances, 0.95)]
    print(f"{len(points)} faces of {len(measured)} images; mean x, y and spread in pixels of the 64 x 64 frame")
    for name, mean, spread in zip(
        ("right eye", "left eye", "nose", "right corner of the mouth", "left corner of the mouth"),
        points.mean(axis=0),
        points.std(axis=0),
        strict=True,
    ):
        print(f"[{mean[0]:.2f}, {mean[1]:.2f}]  # {name}, spread {spread[0]:.2f}, {spread[1]:.2f}")


if __name__ == "__main__":
    main()
