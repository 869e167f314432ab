"""Where the detector finds the landmarks of aligned CelebA images: the measurement behind ``faces.TEMPLATE``.

    python -m benchmarks.face_template --data $PRIVSDK_DATA/celeba

The official images (000001 to 010000) alone are measured, three times enlarged, as a face in them is small.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from privsdk.samples import faces, images


def landmarks_in_frame(frame: images.Pixels, detector: faces.Detector) -> np.ndarray | None:
    """The landmarks of an aligned image, float64 [5, 2] in pixels of the face sample, if it shows one."""
    height, width = frame.shape[:2]
    found = detector.find(images.resize(frame, 3 * width, 3 * height))
    if len(found) != 1:
        return None
    side = 148 / 178 * width
    corner = np.array([width - side, height - side]) / 2
    return (found[0].landmarks.astype(np.float64) / 3 - corner) * (faces.SIZE / side)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the mean landmarks of aligned CelebA images.")
    parser.add_argument("--data", type=Path, required=True, help="a folder in CelebA's official layout")
    parser.add_argument("--images", type=int, default=500, help="how many, spread over the official ones")
    arguments = parser.parse_args()

    detector = faces.Detector()
    numbers = np.linspace(1, 10_000, arguments.images).round().astype(int)
    paths = [arguments.data / "img_align_celeba" / f"{number:06d}.jpg" for number in numbers]
    measured = [landmarks_in_frame(images.read(path), detector) for path in paths if path.exists()]
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
