"""What a filter is fitted on: latents with their private and utility labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import UnworkablePairError, UsageError
from privsdk.filters import posterior

HANDFUL = 10  # samples of a class, with fewer of which nothing can be said of it


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

    def draw(self, seed: int) -> NDArray[np.float32]:
        """One posterior sample of each row, float32 [N, Z], as it enters a filter; unused dimensions are noise."""
        seeds = np.random.default_rng(seed).integers(0, 2**63, len(self), dtype=np.uint64)
        return posterior.sample(self.mean, self.variance, seeds, self.used)

    def check_workable(self, least: int = HANDFUL) -> None:
        """Refuses labels that no filter can be fitted for, with the reason.

        ``least`` is how many samples each class must have.  Where several labels are private the classes are their
        combinations; a fit that can do with rare ones, or without some, takes a smaller number, 0 at the least.

        :raises UnworkablePairError: a label has one class, a class has too few samples, or the utility labels tell the
            private one outright.
        """
        private = np.bincount(self.private, minlength=self.private_classes)
        if np.count_nonzero(private) < 2:
            raise UnworkablePairError("the private label has one class only: there is nothing to hide")
        if private.min() < least:
            raise UnworkablePairError(
                f"class {private.argmin()} of the private label has {private.min()} samples, too few to learn what "
                f"gives it away: give at least {least}, or choose another label"
            )
        for number, labels in enumerate(self.utility.T):
            name = "the utility label" if self.utility.shape[1] == 1 else f"utility label {number + 1}"
            utility = np.bincount(labels.astype(np.int64), minlength=2)
            if not utility.all():
                raise UnworkablePairError(f"{name} has one class only: there is nothing to keep")
            if utility.min() < least:
                raise UnworkablePairError(
                    f"class {utility.argmin()} of {name} has {utility.min()} samples, too few to learn what keeps it: "
                    f"give at least {least}, or choose another label"
                )
        kinds, kind = np.unique(self.utility, axis=0, return_inverse=True)
        pairs = np.unique(kind.reshape(-1) * self.private_classes + self.private)
        if len(pairs) == len(kinds):
            raise UnworkablePairError(
                "whoever knows the utility labels of these samples knows their private label: one cannot be kept and "
                "the other hidden"
            )
