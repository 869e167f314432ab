"""The code e = f(g(z); s): what is left of a latent when its scores have been taken out, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.couplings import Couplings
from privsdk.filters.scores import clipped

Floats = NDArray[np.float32]

CONTEXT_SCALE = 4.0


@dataclass(frozen=True)
class ConditionalAffine:
    """A mean and a scale that depend on the scores, then one linear map.

        e = ((x - phi(s) M) * exp(-phi(s) L)) W

    phi(s) are F features of the K scores: piecewise linear between ``knots`` [Q, K] in each score on its own
    (constant beyond the outermost), and the products of each two.  ``mean`` M and ``log_scale`` L are float32
    [F, U], ``whiten`` W and its inverse ``colour`` [U, U].
    """

    knots: Floats
    mean: Floats
    log_scale: Floats
    whiten: Floats
    colour: Floats

    def forward(self, x: Floats, scores: Floats) -> Floats:
        """float32 [N, U] and scores [N, K] to float32 [N, U]."""
        basis = features(scores, self.knots)
        return ((x - basis @ self.mean) * np.exp(-(basis @ self.log_scale))) @ self.whiten

    def inverse(self, code: Floats, scores: Floats) -> Floats:
        """What :meth:`forward` makes ``code`` of."""
        basis = features(scores, self.knots)
        return (code @ self.colour) * np.exp(basis @ self.log_scale) + basis @ self.mean


@dataclass(frozen=True)
class CodeFlow:
    """f: the conditional affine map, then couplings that see the scores too (none in the closed form)."""

    affine: ConditionalAffine
    couplings: Couplings | None

    def forward(self, x: Floats, scores: Floats) -> Floats:
        """The code of x = g(z), float32 [N, U], given the scores [N, K]: float32 [N, U]."""
        code = self.affine.forward(x, scores)
        return code if self.couplings is None else self.couplings.forward(code, context(scores))

    def inverse(self, code: Floats, scores: Floats) -> Floats:
        """The x whose code, given the scores, is ``code``."""
        if self.couplings is not None:
            code = self.couplings.inverse(code, context(scores))
        return self.affine.inverse(code, scores)

    def arrays(self) -> dict[str, Floats]:
        """The weights by name, for :meth:`from_arrays`."""
        affine = {f"affine.{field.name}": getattr(self.affine, field.name) for field in fields(self.affine)}
        return affine | ({} if self.couplings is None else self.couplings.arrays())

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats]) -> CodeFlow:
        """The flow whose weights are in ``arrays``."""
        affine = ConditionalAffine(*(arrays[f"affine.{field.name}"] for field in fields(ConditionalAffine)))
        return cls(affine, Couplings.from_arrays(arrays) if "rotation" in arrays else None)


def context(scores: Floats) -> Floats:
    """The scores as couplings see them: clipped at 12 and divided by 4."""
    return clipped(scores) / np.float32(CONTEXT_SCALE)


def features(scores: Floats, knots: Floats) -> Floats:
    """phi(s): for scores [N, K] and knots [Q, K] the K * Q hat functions and the K (K - 1) / 2 products."""
    position = np.clip(scores, knots[0], knots[-1])
    rising = np.clip((position[:, None, :] - knots[:-1]) / np.diff(knots, axis=0), 0, 1)
    edges = np.ones((len(scores), 1, scores.shape[1]), np.float32)
    steps = np.concatenate([edges, rising, 0 * edges], axis=1)
    hats = steps[:, :-1] - steps[:, 1:]
    first, second = np.triu_indices(scores.shape[1], 1)
    products = context(position[:, first]) * context(position[:, second])
    return np.concatenate([hats.reshape(len(scores), -1), products], axis=1, dtype=np.float32)
