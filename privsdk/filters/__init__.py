"""Filters: latent to perturbed latent, plain arrays in and plain arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import PrivatizerError

__all__ = ["Filter", "load"]


class Filter(Protocol):
    """What turns a latent into a perturbed latent.

    ``kind`` names it for :func:`load`; ``label_aware`` says whether ``perturb`` wants the private label.
    """

    @property
    def kind(self) -> str: ...

    @property
    def label_aware(self) -> bool: ...

    def perturb(
        self,
        mean: NDArray[np.float32],
        variance: NDArray[np.float32],
        seeds: NDArray[np.uint64],
        private: NDArray[Any] | None = None,
    ) -> NDArray[np.float32]:
        """float32 [N, Z] from ``mean`` and ``variance`` [N, Z]; one seed a row decides all chance."""
        ...

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Every array that :func:`load` needs, by name."""
        ...

    def settings(self) -> dict[str, Any]:
        """Everything else that :func:`load` needs, as JSON takes it."""
        ...


def load(kind: str, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> Filter:
    """The filter of this ``kind`` that had these ``settings()`` and ``arrays()``.

    :raises PrivatizerError: no filter is of this kind, or something of it is missing.
    """
    from privsdk.filters.chain import Polished
    from privsdk.filters.erasure import ErasureFilter
    from privsdk.filters.flow import FlowFilter
    from privsdk.filters.gaussian_mechanism import GaussianMechanism
    from privsdk.filters.linear import LinearFilter
    from privsdk.filters.nonlinear import NonlinearFilter
    from privsdk.filters.optimal_transport import OptimalTransport
    from privsdk.filters.rank_resample import RankResample

    kinds: dict[str, Callable[[Mapping[str, Any], Mapping[str, NDArray[Any]]], Filter]] = {
        FlowFilter.kind: FlowFilter.from_arrays,
        LinearFilter.kind: LinearFilter.from_arrays,
        NonlinearFilter.kind: NonlinearFilter.from_arrays,
        GaussianMechanism.kind: GaussianMechanism.from_arrays,
        ErasureFilter.kind: ErasureFilter.from_arrays,
        OptimalTransport.kind: OptimalTransport.from_arrays,
        RankResample.kind: RankResample.from_arrays,
        Polished.kind: Polished.from_arrays,
    }
    if kind not in kinds:
        raise PrivatizerError(
            f"there is no filter of kind {kind!r}: it was saved by another version of privsdk; fit it again"
        )
    try:
        return kinds[kind](settings, arrays)
    except (LookupError, ValueError, TypeError, ArithmeticError, AttributeError) as error:
        raise PrivatizerError(f"the {kind} filter is damaged ({error}): fit it again") from error
