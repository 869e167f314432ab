"""The paper's linear filter (23): noise and a shift by the private label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from privsdk import noise
from privsdk.errors import PrivatizerError
from privsdk.filters import posterior
from privsdk.filters.rows import times

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LinearFilter:
    """z~ = z + Gamma [eps ; onehot(y)] with Gamma = [G, D], eps ~ N(0, I) of the latent's dimension (23).

    Label-aware: ``perturb`` needs the private label y of every sample.  ``gamma_noise`` is G', float32
    [Z, Z], so that a row eps adds eps G'; ``gamma_label`` is D', float32 [C, Z], the shift of each of C
    classes; ``used`` is bool [Z].  ``budget`` bounds the mean over samples of the ``divergence``, "l2", "kl",
    "reverse-kl" or "chi-square" (10), and ``reached`` is its value, by ``filters.divergences.mean``, on latents
    that the filter was not trained on; of "chi-square" it is the bound that holds for every sample.
    """

    kind: ClassVar[str] = "linear"
    label_aware: ClassVar[bool] = True

    gamma_noise: Floats
    gamma_label: Floats
    used: NDArray[np.bool_]
    divergence: str
    budget: float
    reached: float

    def __post_init__(self) -> None:
        size = len(self.used)
        if self.gamma_noise.shape != (size, size) or self.gamma_label.shape[1:] != (size,):
            raise PrivatizerError(
                f"the linear filter's weights {self.gamma_noise.shape} and {self.gamma_label.shape} "
                f"do not fit latents of {size} dimensions: fit the filter again"
            )

    def perturb(
        self,
        mean: Floats,
        variance: Floats,
        seeds: NDArray[np.uint64],
        private: NDArray[np.integer] | None = None,
    ) -> Floats:
        """The perturbed latents z~, float32 [N, Z].

        ``mean`` and ``variance`` are float32 [N, Z], ``seeds`` uint64 [N] and ``private`` int [N], classes
        in 0..C-1.  The same seed and latent give the same z~, whatever the other rows are.

        :raises UsageError: ``private`` is missing, or shapes or classes do not fit.
        """
        z = posterior.sample(mean, variance, seeds, self.used)
        label = posterior.checked_private(private, len(z), len(self.gamma_label))
        eps = noise.normal(seeds, len(self.used), "filter noise")
        return z + times(eps, self.gamma_noise) + self.gamma_label[label]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The weights by name, for :meth:`from_arrays`."""
        return {
            "gamma_noise": self.gamma_noise,
            "gamma_label": self.gamma_label,
            "used": self.used.astype(np.uint8),
        }

    def settings(self) -> dict[str, Any]:
        """What is not an array, for :meth:`from_arrays`."""
        return {"divergence": self.divergence, "budget": self.budget, "reached": self.reached}

    @classmethod
    def from_arrays(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> LinearFilter:
        """The filter that gave these; :class:`~privsdk.errors.PrivatizerError` where they are damaged."""
        try:
            return cls(
                gamma_noise=np.asarray(arrays["gamma_noise"], np.float32),
                gamma_label=np.asarray(arrays["gamma_label"], np.float32),
                used=np.asarray(arrays["used"]).astype(bool),
                divergence=str(settings["divergence"]),
                budget=float(settings["budget"]),
                reached=float(settings["reached"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise PrivatizerError(f"the linear filter is damaged ({error}): fit it again") from error
