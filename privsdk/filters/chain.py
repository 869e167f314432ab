"""One filter behind another: a release that is moved a little further."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from privsdk import filters
from privsdk.errors import PrivatizerError

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Polished:
    """z~ = z' + r(z'), z' what ``base`` releases and r what ``residual``, a label-free filter, adds to it."""

    kind: ClassVar[str] = "polished"

    base: filters.Filter
    residual: filters.Filter

    def __post_init__(self) -> None:
        if self.residual.label_aware:
            raise PrivatizerError("the residual of a polished filter takes no label: fit it again")

    @property
    def label_aware(self) -> bool:
        """Whether :meth:`perturb` needs the private labels: where the base does."""
        return self.base.label_aware

    def perturb(
        self, mean: Floats, variance: Floats, seeds: NDArray[np.uint64], private: NDArray[Any] | None = None
    ) -> Floats:
        """The perturbed latents z~, float32 [N, Z]; arguments and errors are the base's."""
        z = self.base.perturb(mean, variance, seeds, private)
        return self.residual.perturb(z, np.zeros_like(z), seeds)  # a release has no spread of its own

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays of both by name, for :meth:`from_arrays`."""
        return {
            f"{part}.{name}": array
            for part, holder in (("base", self.base), ("residual", self.residual))
            for name, array in holder.arrays().items()
        }

    def settings(self) -> dict[str, Any]:
        """What is not an array, for :meth:`from_arrays`."""
        return {
            part: {"kind": holder.kind, "settings": holder.settings()}
            for part, holder in (("base", self.base), ("residual", self.residual))
        }

    @classmethod
    def from_arrays(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> Polished:
        """The filter that gave these; :class:`~privsdk.errors.PrivatizerError` where they are damaged."""

        def part(name: str) -> filters.Filter:
            own = {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}
            return filters.load(str(settings[name]["kind"]), settings[name]["settings"], own)

        return cls(part("base"), part("residual"))
