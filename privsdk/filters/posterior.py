"""What enters a min-max filter: one posterior sample of each latent, drawn from its seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk import noise
from privsdk.errors import UsageError


def sample(
    mean: NDArray[np.float32],
    variance: NDArray[np.float32],
    seeds: NDArray[np.uint64],
    used: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """One draw z ~ N(mean, variance) a row, float32 [N, Z]; unused dimensions are fresh N(0, 1).

    The posterior's own spread hides traces too small for a filter and large enough for an attacker;
    what the autoencoder does not use carries nothing but such traces.

    Raises :class:`~privsdk.errors.UsageError` where the shapes do not belong together.
    """
    if mean.ndim != 2 or mean.shape[1] != len(used) or variance.shape != mean.shape:
        raise UsageError(
            f"the filter takes a mean and a variance of shape [N, {len(used)}], "
            f"not {mean.shape} and {variance.shape}: encode with the bundle it was fitted for"
        )
    if seeds.shape != (len(mean),):
        raise UsageError(f"{len(mean)} latents need {len(mean)} seeds, not {seeds.shape}")
    drawn = noise.normal(seeds, len(used), "posterior")
    z = (mean + np.sqrt(variance) * drawn).astype(np.float32)
    if not used.all():
        z[:, ~used] = noise.normal(seeds, int((~used).sum()), "unused")
    return z


def classes(labels: NDArray[Any], counts: Sequence[int]) -> NDArray[np.int64]:
    """P labels of each row, [N, P], as the one class that a filter knows, int64 [N]: y_1 + c_1 y_2 + c_1 c_2 y_3 ...

    ``counts`` c are how many classes each label has.
    """
    return labels.astype(np.int64) @ np.cumprod([1, *counts[:-1]], dtype=np.int64)


def checked_private(private: NDArray[np.integer] | None, count: int, classes: int) -> NDArray[np.integer]:
    """``private`` as a label-aware filter can use it: int [count], each in 0..``classes`` - 1.

    Raises :class:`~privsdk.errors.UsageError` otherwise.  A label is never guessed: a wrong one
    pushes the sample the wrong way and gives it away.
    """
    if private is None:
        raise UsageError(
            "this filter is label-aware: give the private label of every sample, "
            "or fit a label-free filter (label_aware=False)"
        )
    private = np.asarray(private)
    if private.shape != (count,):
        raise UsageError(f"{count} latents need {count} private labels, not {private.shape}")
    if not np.issubdtype(private.dtype, np.integer):
        raise UsageError(f"private labels are class indices, whole numbers, not {private.dtype}")
    if count and not 0 <= private.min() <= private.max() < classes:
        raise UsageError(f"private labels must lie in 0..{classes - 1}; found {private.min()}..{private.max()}")
    return private
