"""What a filter is fitted on: latents with their private and utility labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import UsageError


@dataclass(frozen=True, eq=False)
class FitData:
    """N latents with labels.

    ``mean`` and ``variance`` of the posteriors are float32 [N, Z], ``variance`` is positive.
    ``private`` is int64 [N], a class in 0..``private_classes`` - 1: the private label or, where
    several labels are private, their combination.  ``utility`` is float32 [N, U], one column of 0
    and 1 for each utility label.  ``used`` is bool [Z]: the dimensions that the autoencoder uses.

    Raises :class:`~privsdk.errors.UsageError` where the shapes or the classes contradict each other.
    """

    mean: NDArray[np.float32]
    variance: NDArray[np.float32]
    private: NDArray[np.int64]
    private_classes: int
    utility: NDArray[np.float32]
    used: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.mean.ndim != 2 or self.variance.shape != self.mean.shape:
            raise UsageError(
                f"latents need a mean and a variance of one shape [N, Z], "
                f"not {self.mean.shape} and {self.variance.shape}"
            )
        count, size = self.mean.shape
        if self.private.shape != (count,):
            raise UsageError(f"{count} latents need {count} private labels, not {self.private.shape}")
        if self.utility.ndim != 2 or len(self.utility) != count:
            raise UsageError(f"{count} latents need utility labels [{count}, U], not {self.utility.shape}")
        if self.used.shape != (size,) or not self.used.any():
            raise UsageError(f"`used` must mark at least one of {size} dimensions, and has {self.used.shape}")
        if count and not 0 <= self.private.min() <= self.private.max() < self.private_classes:
            raise UsageError(f"private labels must lie in 0..{self.private_classes - 1}")

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, rows: slice | NDArray[np.int64] | NDArray[np.bool_]) -> FitData:
        """The same data, of these rows only."""
        return FitData(
            self.mean[rows],
            self.variance[rows],
            self.private[rows],
            self.private_classes,
            self.utility[rows],
            self.used,
        )

    def split(self, fractions: Sequence[float], seed: int) -> tuple[FitData, ...]:
        """Disjoint random parts of these sizes; ``fractions`` are positive and sum to at most 1."""
        if min(fractions) <= 0 or sum(fractions) > 1 + 1e-9:
            raise UsageError(f"fractions must be positive and sum to at most 1, not {tuple(fractions)}")
        order = np.random.default_rng(seed).permutation(len(self))
        ends = np.rint(np.cumsum([0.0, *fractions]) * len(self)).astype(int)
        return tuple(self[order[start:end]] for start, end in zip(ends, ends[1:], strict=False))
