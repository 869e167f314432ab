"""Make the photos in this folder from CC0 portraits of people who do not exist.

    python examples/make_photos.py --portraits DIR

DIR holds ``female/`` and ``male/`` with one JPEG a portrait.  Written are ``photos/`` (24 photos of one
person and one of two), ``photos-without-face/`` and ``labels.csv``, which names each person's folder.  The
photos are ordinary ones: JPEG with a camera's name, a time and a place in EXIF (all made up), one of them
stored on its side.
"""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFilter

HERE = Path(__file__).resolve().parent
FEMALE = (2, 4, 6, 7, 11, 15, 17, 18, 25, 27, 36, 48)
MALE = (1, 3, 5, 8, 12, 13, 16, 20, 27, 32, 40, 47)
TOGETHER = ((23, 44), "female", "male")
TURNED = 7  # this photo is stored on its side, as by a camera that was held upright


def exif(number: int, orientation: int = 1) -> bytes:
    """Metadata as a camera would write it, all of it invented."""
    data = Image.Exif()
    data[ExifTags.Base.Make] = "Example Optics"
    data[ExifTags.Base.Model] = "Phantom 7"
    data[ExifTags.Base.Orientation] = orientation
    data[ExifTags.Base.Software] = "Phantom 7.1.0"
    data[ExifTags.Base.DateTime] = f"2024:05:{number:02d} 14:{number:02d}:00"
    camera = data.get_ifd(ExifTags.IFD.Exif)
    camera[ExifTags.Base.DateTimeOriginal] = f"2024:05:{number:02d} 14:{number:02d}:00"
    camera[ExifTags.Base.BodySerialNumber] = "000000000"
    place = data.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSLatitudeRef] = "N"
    place[ExifTags.GPS.GPSLatitude] = (0.0, float(number), 0.0)  # in the open sea, on purpose
    place[ExifTags.GPS.GPSLongitudeRef] = "W"
    place[ExifTags.GPS.GPSLongitude] = (20.0, float(number), 0.0)
    return data.tobytes()


def save(picture: Image.Image, path: Path, number: int) -> None:
    orientation = 1
    if number == TURNED:
        picture, orientation = picture.transpose(Image.Transpose.ROTATE_90), 6
    picture.save(path, quality=88, optimize=True, exif=exif(number, orientation))


def together(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two portraits side by side as one photo before a plain wall."""
    photo = Image.new("RGB", (840, 512), (196, 192, 186))
    for picture, corner in ((left, (50, 76)), (right, (430, 56))):
        fading = Image.new("L", (360, 360), 0)
        ImageDraw.Draw(fading).rounded_rectangle((14, 14, 346, 346), 40, fill=255)
        photo.paste(picture.resize((360, 360)), corner, fading.filter(ImageFilter.GaussianBlur(7)))
    return photo


def landscape() -> Image.Image:
    """A picture with nobody in it: hills before an evening sky."""
    width, height = 640, 480
    x, y = np.arange(width), np.arange(height)[:, None]
    dusk, noon = np.array([250, 190, 140]), np.array([90, 140, 205])
    depth = np.clip(y / 300, 0, 1)[..., None]
    picture = np.broadcast_to(noon + (dusk - noon) * depth, (height, width, 3)).copy()
    for base, swing, length, colour in (
        (250, 35, 97, (120, 130, 150)),
        (310, 30, 61, (80, 105, 100)),
        (380, 22, 83, (52, 82, 50)),
    ):
        ridge = base + swing * np.sin(x / length) + swing / 3 * np.sin(x / length * 2.7 + 1)
        picture[y > ridge] = colour
    grain = np.random.default_rng(0).normal(0, 3, picture.shape)
    return Image.fromarray(np.clip(picture + grain, 0, 255).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the example photos from CC0 portraits.")
    parser.add_argument("--portraits", type=Path, required=True, help="a folder with female/ and male/")
    portraits = parser.parse_args().portraits

    photos, empty = HERE / "photos", HERE / "photos-without-face"
    photos.mkdir(exist_ok=True)
    empty.mkdir(exist_ok=True)
    people = [("female", number) for number in FEMALE] + [("male", number) for number in MALE]
    random.Random(0).shuffle(people)  # so that a photo's number tells nothing

    labels = []
    for number, (folder, portrait) in enumerate(people, start=1):
        name = f"photo-{number:02d}.jpg"
        save(Image.open(portraits / folder / f"{portrait:03d}.jpg"), photos / name, number)
        labels.append((name, int(folder == "male")))
    (left, right), left_folder, right_folder = TOGETHER
    pair = together(
        Image.open(portraits / left_folder / f"{left:03d}.jpg"),
        Image.open(portraits / right_folder / f"{right:03d}.jpg"),
    )
    save(pair, photos / f"photo-{len(people) + 1:02d}.jpg", len(people) + 1)
    save(landscape(), empty / "landscape.jpg", len(people) + 2)

    with (HERE / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "male"))
        writer.writerows(labels)


if __name__ == "__main__":
    main()
