"""LEACE: the private label taken out as far as a linear attacker can see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import PrivatizerError
from privsdk.filters import posterior
from privsdk.filters.rows import times

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ErasureFilter:
    """z~ = z - A (z - mu): of all affine maps the one that moves z least and leaves nothing linear of the label.

        A = W^+ U U' W,    W = S^(-1/2),    U the left singular vectors of W C

    S is the covariance of z and C its cross-covariance with the private label's one-hot; after the map all classes
    have one mean, so no linear classifier does better than a constant (LEACE; Belrose, Schneider-Joseph, Ravfogel,
    Cotterell, Raff, Biderman, "LEACE: Perfect linear concept erasure in closed form", 2023, Theorem 4.3).  What the
    label does to spreads and shapes stays, and whatever the utility label has in common with it linearly goes.

    z is a posterior sample; ``matrix`` is A', float32 [Z, Z], so that a row z - mu loses (z - mu) A'; ``mean`` is mu,
    float32 [Z]; ``used`` is bool [Z], the other dimensions are fresh noise.  Label-free.
    """

    kind: ClassVar[str] = "erasure"
    label_aware: ClassVar[bool] = False

    matrix: Floats
    mean: Floats
    used: NDArray[np.bool_]

    def __post_init__(self) -> None:
        size = len(self.used)
        if self.matrix.shape != (size, size) or self.mean.shape != (size,):
            raise PrivatizerError(
                f"the erasure's matrix {self.matrix.shape} and mean {self.mean.shape} do not fit latents of {size} "
                "dimensions: fit the filter again"
            )

    def perturb(
        self,
        mean: Floats,
        variance: Floats,
        seeds: NDArray[np.uint64],
        private: NDArray[Any] | None = None,
    ) -> Floats:
        """The perturbed latents z~, float32 [N, Z].

        ``mean`` and ``variance`` are float32 [N, Z], ``seeds`` uint64 [N]; ``private`` is not looked at.  The same
        seed and latent give the same z~, whatever the other rows are.

        :raises UsageError: shapes do not fit.
        """
        z = posterior.sample(mean, variance, seeds, self.used)
        return (z - times(z - self.mean, self.matrix)).astype(np.float32, copy=False)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays by name, for :meth:`from_arrays`."""
        return {"matrix": self.matrix, "mean": self.mean, "used": self.used.astype(np.uint8)}

    def settings(self) -> dict[str, Any]:
        """What is not an array: nothing."""
        return {}

    @classmethod
    def from_arrays(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> ErasureFilter:
        """The filter that gave these."""
        return cls(
            matrix=np.asarray(arrays["matrix"], np.float32),
            mean=np.asarray(arrays["mean"], np.float32),
            used=np.asarray(arrays["used"]).astype(bool),
        )
