"""The paper's nonlinear filter: a small network that reads the latent, noise and, if it may, the label."""

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
from privsdk.filters.scores import elu

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class NonlinearFilter:
    """z~ = z + r([z ; eps ; onehot(y)]), or r([z ; eps]) where it is label-free; eps ~ N(0, I).

    r is a network of fully connected layers with an ELU between and a linear path beside them.
    ``weights`` are float32 [in, out], ``biases`` float32 [out], first layer first; ``skip`` is the linear
    path, float32 [I, Z] for I = Z + E + C inputs: Z of the latent, E of noise, one for each of C private
    classes (C = 0: label-free).  ``used`` is bool [Z].  ``budget`` bounds the mean over samples of the
    ``divergence`` of the shift, "l2", "kl", "reverse-kl" or "chi-square" (10), and ``reached`` is its value, by
    ``filters.divergences.mean``, on latents that the filter was not trained on.
    """

    kind: ClassVar[str] = "nonlinear"

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]
    skip: Floats
    used: NDArray[np.bool_]
    private_classes: int
    divergence: str
    budget: float
    reached: float

    def __post_init__(self) -> None:
        size = len(self.used)
        widths = [self.skip.shape[0], *(len(bias) for bias in self.biases)]
        fitting = (
            len(self.weights) == len(self.biases) > 0
            and all(
                weight.shape == shape
                for weight, shape in zip(self.weights, zip(widths, widths[1:], strict=False), strict=True)
            )
            and self.skip.shape[1] == widths[-1] == size
            and widths[0] >= size + self.private_classes
        )
        if not fitting:
            raise PrivatizerError(
                f"the nonlinear filter's weights do not fit latents of {size} dimensions: fit it again"
            )

    @property
    def label_aware(self) -> bool:
        """Whether :meth:`perturb` needs the private labels."""
        return self.private_classes > 0

    def perturb(
        self,
        mean: Floats,
        variance: Floats,
        seeds: NDArray[np.uint64],
        private: NDArray[np.integer] | None = None,
    ) -> Floats:
        """The perturbed latents z~, float32 [N, Z].

        ``mean`` and ``variance`` are float32 [N, Z], ``seeds`` uint64 [N]; ``private``, int [N] with classes
        in 0..C-1, is needed where the filter is label-aware and is not looked at where it is not.  The same
        seed and latent give the same z~, whatever the other rows are.

        :raises UsageError: labels are needed and missing, or shapes or classes do not fit.
        """
        z = posterior.sample(mean, variance, seeds, self.used)
        eps = noise.normal(seeds, len(self.skip) - len(self.used) - self.private_classes, "filter noise")
        inputs = [z, eps]
        if self.label_aware:
            label = posterior.checked_private(private, len(z), self.private_classes)
            inputs.append(np.eye(self.private_classes, dtype=np.float32)[label])
        return z + self._residual(np.concatenate(inputs, axis=1))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The weights by name, for :meth:`from_arrays`."""
        layers = {f"weight_{layer}": weight for layer, weight in enumerate(self.weights)}
        layers |= {f"bias_{layer}": bias for layer, bias in enumerate(self.biases)}
        return {**layers, "skip": self.skip, "used": self.used.astype(np.uint8)}

    def settings(self) -> dict[str, Any]:
        """What is not an array, for :meth:`from_arrays`."""
        return {
            "layers": len(self.weights),
            "private_classes": self.private_classes,
            "divergence": self.divergence,
            "budget": self.budget,
            "reached": self.reached,
        }

    @classmethod
    def from_arrays(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> NonlinearFilter:
        """The filter that gave these; :class:`~privsdk.errors.PrivatizerError` where they are damaged."""
        try:
            layers = range(int(settings["layers"]))
            return cls(
                weights=tuple(np.asarray(arrays[f"weight_{layer}"], np.float32) for layer in layers),
                biases=tuple(np.asarray(arrays[f"bias_{layer}"], np.float32) for layer in layers),
                skip=np.asarray(arrays["skip"], np.float32),
                used=np.asarray(arrays["used"]).astype(bool),
                private_classes=int(settings["private_classes"]),
                divergence=str(settings["divergence"]),
                budget=float(settings["budget"]),
                reached=float(settings["reached"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise PrivatizerError(f"the nonlinear filter is damaged ({error}): fit it again") from error

    def _residual(self, inputs: Floats) -> Floats:
        hidden = inputs
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = elu(times(hidden, weight) + bias)
        return times(hidden, self.weights[-1]) + self.biases[-1] + times(inputs, self.skip)
