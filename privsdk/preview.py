"""The sheet of originals and releases side by side, for the eyes of the person who releases them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from privsdk.samples import images
from privsdk.samples.images import Pixels

MOST_PAIRS = 24
"""How many faces are shown at most."""


def sheet(pairs: Sequence[tuple[Pixels, Pixels]]) -> Pixels:
    """Originals and releases in pairs, three pairs a row, at twice their size, under a warning."""
    large = [[pixels.repeat(2, axis=0).repeat(2, axis=1) for pixels in pair] for pair in pairs]
    rows = [sum(large[start : start + 3], []) for start in range(0, len(large), 3)]
    body = images.sheet(rows, ("before", "released") * min(len(pairs), 3))
    margin = 8
    blank = np.full((1, max(body.shape[1], 240) - margin, 3), 255, np.uint8)
    banner = images.sheet([[blank]], ["for your eyes only: do not share"])
    width = max(banner.shape[1], body.shape[1])
    padded = [
        np.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0)), constant_values=255) for part in (banner, body)
    ]
    return np.concatenate(padded)
