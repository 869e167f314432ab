"""Photos with what their owner says of them, as a fit takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import Refusal, UsageError
from privsdk.progress import Progress
from privsdk.samples.faces import read_faces
from privsdk.samples.images import Pixels
from privsdk.samples.labels import Labels, labels_of_photos


def read_labelled_faces(
    photos: Sequence[Path],
    labels: Labels,
    wanted: Sequence[str],
    aligned: bool = False,
    on_progress: Progress | None = None,
) -> tuple[Pixels, dict[str, NDArray[np.float64]], list[Refusal]]:
    """The largest face in each photo, uint8 [N, 64, 64, 3], its labels, and the photos that none could be had from.

    ``labels`` are as :func:`privsdk.read_labels` gives them.  Of each of the ``wanted`` ones that stands beside any
    photo there are N numbers, 0 or 1, and NaN where it does not stand.  For ``aligned`` see
    :func:`~privsdk.samples.faces.faces_in`.  Raises UsageError where it cannot be told whose labels some are, or
    none of them is of a face that was found.
    """
    given = labels_of_photos(labels, photos, wanted)
    samples, refusals = read_faces(photos, aligned=aligned, on_progress=on_progress)
    refused = {refusal.position for refusal in refusals}
    rows = [row for position, row in enumerate(given) if position not in refused]
    if labels and not any(rows):
        raise UsageError(
            f"the labels name none of the {len(rows)} photos with a face: the first column holds the files' names"
        )
    columns = {name: np.array([row.get(name, np.nan) for row in rows]) for name in wanted}
    return samples, {name: values for name, values in columns.items() if not np.isnan(values).all()}, refusals
