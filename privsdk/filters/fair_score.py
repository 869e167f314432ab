"""The fair utility score t: the utility score, less what it tells of the private label, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.code import context
from privsdk.filters.scores import elu

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FairScore:
    """A tiny network on the K scores (private ones first, then the V utility scores s_u), added to s_u.

        t = s_u + ELU(c H + h) O + o,    c = s / 4

    ``hidden`` H is float32 [K, U], ``out`` O [U, V].  ``fair_quantiles`` and ``score_quantiles``, [Q, V], are
    the same quantiles of t and of s_u: they bring t back to the scale of s_u.
    """

    hidden: Floats
    hidden_bias: Floats
    out: Floats
    out_bias: Floats
    fair_quantiles: Floats
    score_quantiles: Floats

    def fair(self, scores: Floats) -> Floats:
        """t for scores float32 [N, K]: float32 [N, V]."""
        correction = elu(context(scores) @ self.hidden + self.hidden_bias) @ self.out + self.out_bias
        return scores[:, -correction.shape[1] :] + correction

    def rescaled(self, scores: Floats) -> Floats:
        """t', which is t brought to the scale of s_u, quantile to quantile: float32 [N, V]."""
        fair = self.fair(scores)
        pairs = zip(fair.T, self.fair_quantiles.T, self.score_quantiles.T, strict=True)
        return np.stack([np.interp(t, known, wanted) for t, known, wanted in pairs], axis=1).astype(np.float32)

    def arrays(self) -> dict[str, Floats]:
        """The weights by name, for :meth:`from_arrays`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats]) -> FairScore:
        """The network whose weights are in ``arrays``."""
        return cls(*(arrays[field.name] for field in fields(cls)))
