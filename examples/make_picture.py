"""The README's picture: portraits of nobody above, what is released of them below.

python examples/make_picture.py docs/before-after.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import privsdk
from privsdk.samples import images

PHOTOS = Path(__file__).parent / "photos"
SHOWN = 10
MAGNIFIED = 2
# A fixed key, so that the same bundle always gives the same picture; a device draws its own.
KEY = bytes(32)


def main(target: Path) -> None:
    samples, _ = privsdk.read_faces(sorted(PHOTOS.glob("*.jpg"))[:SHOWN])
    privatizer = privsdk.fit(privsdk.Bundle.open("faces"), private="male", utility="smiling")
    released = privatizer.privatize(samples, key=KEY)
    rows = [
        [images.resize(face, MAGNIFIED * face.shape[1], MAGNIFIED * face.shape[0]) for face in faces]
        for faces in (samples, released)
    ]
    target.write_bytes(images.to_bytes(images.sheet(rows), "png"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
