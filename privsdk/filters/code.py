"""The code e = f(g(z); s): what is left of a latent when its scores have been taken out, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.couplings import Couplings
from privsdk.filters.scores import clipped

Floats = NDArray[np.float32]

CONTEXT_SCALE = 4.0
QUANTILES = (0.005, 0.05, 0.25, 0.5, 0.75, 0.95, 0.995)
SMALL = 1e-3


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
class Moments:
    """Averages over people: what the code's conditional mean is estimated from, for any combination of labels.

    The public flow's own draws are not quite where people are, the less so the rarer a label is.  For the mean
    of x = g(z) given the scores, two averages over training people h of hat functions of the A scores tell all
    that a regression needs: ``hats`` E[h h'], float32 [Q * A, Q * A], and ``codes`` E[h x'], [Q * A, U].
    ``knots`` [Q, A] are quantiles of each score, so that nobody stands alone at one of them.
    """

    knots: Floats
    hats: Floats
    codes: Floats

    @classmethod
    def of(cls, x: Floats, scores: Floats) -> Moments:
        """Of people with x = g(z), float32 [N, U], and scores [N, A]."""
        knots = np.quantile(scores, QUANTILES, axis=0).astype(np.float32)
        knots += SMALL * np.arange(len(knots), dtype=np.float32)[:, None]
        basis = hats(scores, knots)
        return cls(knots, basis.T @ basis / np.float32(len(x)), basis.T @ x / np.float32(len(x)))

    def mean(self, columns: Sequence[int]) -> Floats:
        """M of :class:`ConditionalAffine` for the scores in ``columns``, nothing for their products: [F, U]."""
        count = self.knots.shape[1]
        rows = (np.arange(len(self.knots))[:, None] * count + np.array(columns)).ravel()
        gram = self.hats[np.ix_(rows, rows)].astype(np.float64)
        gram += SMALL / len(gram) * np.eye(len(gram))
        products = len(columns) * (len(columns) - 1) // 2
        mean = np.linalg.solve(gram, self.codes[rows])
        return np.concatenate([mean, np.zeros((products, mean.shape[1]))]).astype(np.float32)

    def arrays(self) -> dict[str, Floats]:
        """The averages by name, for :meth:`from_arrays`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats]) -> Moments:
        """The averages in ``arrays``."""
        return cls(*(np.asarray(arrays[field.name], np.float32) for field in fields(cls)))


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
    first, second = np.triu_indices(scores.shape[1], 1)
    position = np.clip(scores, knots[0], knots[-1])
    products = context(position[:, first]) * context(position[:, second])
    return np.concatenate([hats(scores, knots), products], axis=1, dtype=np.float32)


def hats(scores: Floats, knots: Floats) -> Floats:
    """Piecewise linear in each score, one at its own knot and zero at the others: float32 [N, Q * K]."""
    position = np.clip(scores, knots[0], knots[-1])
    rising = np.clip((position[:, None, :] - knots[:-1]) / np.diff(knots, axis=0), 0, 1)
    edges = np.ones((len(scores), 1, scores.shape[1]), np.float32)
    steps = np.concatenate([edges, rising, 0 * edges], axis=1)
    return (steps[:, :-1] - steps[:, 1:]).reshape(len(scores), -1).astype(np.float32)
