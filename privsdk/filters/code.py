"""The code e = f(g(z); s): what is left of a latent when its scores have been taken out, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.couplings import Couplings
from privsdk.filters.scores import clipped

Floats = NDArray[np.float32]

CONTEXT_SCALE = 4.0
# Of people weighted so that the label is as often believed true as false: a rare label needs its knots where it is.
QUANTILES = (0.02, 0.2, 0.5, 0.8, 0.98)
SMALL = 1e-3
# How far a covariance is drawn to that of all people, as few people show one.
SHRINKAGE = 0.2
LEAST_VARIANCE = 0.05
ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class ConditionalAffine:
    """A mean and a linear map that depend on one score, and noise where the score itself was.

        c = (x - h(s) M) W(s),    W(s) = sum_q h_q(s) W_q
        e = c + (xi - <c, d>) d,    xi ~ N(0, 1)

    h(s) are hat functions: piecewise linear between ``knots`` [Q], constant beyond the outermost.  ``mean`` M is
    float32 [Q, U]; ``whiten`` W_q, symmetric, [Q, U, U], the inverse square root of x's covariance about its mean
    where the score is at that knot.  ``along`` d, [U], of length 1, is where the score lies in c.  Given the score
    x hardly varies there; what it does, brought to spread 1, has a shape that tells the score.  A release gets its
    score from elsewhere, so noise in its place costs nothing.
    """

    knots: Floats
    mean: Floats
    whiten: Floats
    along: Floats

    def forward(self, x: Floats, score: Floats, xi: Floats) -> Floats:
        """x, float32 [N, U], a score and a normal number of each row, both [N], to e, float32 [N, U]."""
        about = hats(score, self.knots)
        centred = x - about @ self.mean
        code = np.zeros_like(centred)
        for weight, map_ in zip(about.T, self.whiten, strict=True):
            code += weight[:, None] * (centred @ map_)
        return code + np.outer(xi - code @ self.along, self.along)

    def inverse(self, code: Floats, score: Floats) -> Floats:
        """An x with this ``code`` and, nearly, this score."""
        about = hats(score, self.knots)
        x = about @ self.mean
        for start in range(0, len(code), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            maps = np.tensordot(about[rows], self.whiten, axes=1)
            x[rows] += np.linalg.solve(maps, code[rows, :, None])[:, :, 0]  # the maps are symmetric
        return x


@dataclass(frozen=True)
class Moments:
    """Averages over people: the mean and the covariance of x = g(z) given any one of A scores.

    The public flow's own draws are not quite where people are, the less so the rarer a label is, and an attacker
    reads the difference.  ``mean``, float32 [A, Q, U], is the regression of x on hat functions of the score about
    ``knots`` [A, Q], ``spread`` [A, Q, U, U] that of the products of what it leaves.
    """

    knots: Floats
    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, x: Floats, scores: Floats) -> Moments:
        """Of people with x = g(z), float32 [N, U], and scores [N, A]."""
        given = [_moments(x, score) for score in scores.T]
        return cls(*(np.stack(parts).astype(np.float32) for parts in zip(*given, strict=True)))

    def affine(self, column: int) -> ConditionalAffine:
        """The map after which x has mean 0 and covariance I whatever the score in ``column`` is.

        d is where the means at the outermost knots lie apart, seen through W: Fisher's discriminant.
        """
        spread = self.spread[column].astype(np.float64)
        shrunk = (1 - SHRINKAGE) * spread + SHRINKAGE * spread.mean(axis=0)
        variance, directions = np.linalg.eigh(shrunk)
        narrowed = directions / np.sqrt(np.maximum(variance, LEAST_VARIANCE))[:, None, :]
        whiten = (narrowed @ directions.transpose(0, 2, 1)).astype(np.float32)
        apart = (self.mean[column][-1] - self.mean[column][0]) @ whiten.mean(axis=0)
        along = apart / max(float(np.linalg.norm(apart)), SMALL)
        return ConditionalAffine(self.knots[column], self.mean[column], whiten, along)

    def fits(self, attributes: int, size: int) -> bool:
        """Whether these are averages given so many attributes' scores, of x with ``size`` numbers."""
        shape = (attributes, len(QUANTILES))
        shapes = (shape, (*shape, size), (*shape, size, size))
        if tuple(part.shape for part in (self.knots, self.mean, self.spread)) != shapes:
            return False
        return bool((np.diff(self.knots, axis=1) > 0).all())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The averages by name, for :meth:`from_arrays`; the covariances, which are most of it, in half precision."""
        return {"knots": self.knots, "mean": self.mean, "spread": self.spread.astype(np.float16)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Moments:
        """The averages in ``arrays``."""
        return cls(*(np.asarray(arrays[field.name], np.float32) for field in fields(cls)))


@dataclass(frozen=True)
class CodeFlow:
    """f: a conditional affine map for each score in turn, the private ones first, then couplings that see all of them.

    The utility scores are taken out as well: who reads in the code how much somebody smiled, and finds another t in
    the release, knows which way the fair score was moved, and so the private label.

    There are no couplings in the closed form.
    """

    affine: tuple[ConditionalAffine, ...]
    couplings: Couplings | None

    def forward(self, x: Floats, scores: Floats, xi: Floats) -> Floats:
        """The code of x = g(z), float32 [N, U], given the scores and normal numbers, both [N, K]."""
        for affine, score, fresh in zip(self.affine, scores.T, xi.T, strict=True):
            x = affine.forward(x, score, fresh)
        return x if self.couplings is None else self.couplings.forward(x, context(scores))

    def inverse(self, code: Floats, scores: Floats) -> Floats:
        """An x with this ``code`` and, nearly, these scores [N, K]."""
        x = code if self.couplings is None else self.couplings.inverse(code, context(scores))
        for affine, score in zip(reversed(self.affine), scores.T[::-1], strict=True):
            x = affine.inverse(x, score)
        return x

    def arrays(self) -> dict[str, Floats]:
        """The weights by name, for :meth:`from_arrays`."""
        names = [field.name for field in fields(ConditionalAffine)]
        affine = {f"affine.{name}": np.stack([getattr(one, name) for one in self.affine]) for name in names}
        return affine | ({} if self.couplings is None else self.couplings.arrays())

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats]) -> CodeFlow:
        """The flow whose weights are in ``arrays``."""
        stacked = [arrays[f"affine.{field.name}"] for field in fields(ConditionalAffine)]
        affine = tuple(ConditionalAffine(*parts) for parts in zip(*stacked, strict=True))
        return cls(affine, Couplings.from_arrays(arrays) if "rotation" in arrays else None)


def context(scores: Floats) -> Floats:
    """The scores as couplings see them: clipped at 12 and divided by 4."""
    return clipped(scores) / np.float32(CONTEXT_SCALE)


def hats(score: Floats, knots: Floats) -> Floats:
    """Piecewise linear in the score [N], one at its own knot of ``knots`` [Q] and zero at the others: [N, Q]."""
    position = np.clip(score, knots[0], knots[-1])
    rising = np.clip((position[:, None] - knots[:-1]) / np.diff(knots), 0, 1)
    edge = np.ones((len(score), 1), np.float32)
    steps = np.concatenate([edge, rising, 0 * edge], axis=1)
    return (steps[:, :-1] - steps[:, 1:]).astype(np.float32)


def _moments(x: Floats, score: Floats) -> tuple[Floats, NDArray[Any], NDArray[Any]]:
    """Knots [Q], mean [Q, U] and spread [Q, U, U] of ``x`` [N, U] given a score [N]."""
    likely = 1 / (1 + np.exp(-score.astype(np.float64)))
    order = np.argsort(score)
    weight = np.cumsum((likely / likely.sum() + (1 - likely) / (1 - likely).sum())[order]) / 2
    knots = score[order][np.searchsorted(weight, QUANTILES)].astype(np.float32)
    knots += SMALL * np.arange(len(knots), dtype=np.float32)  # where scores end, several knots may coincide

    basis = hats(score, knots).astype(np.float64)
    gram = basis.T @ basis + SMALL * np.eye(len(knots))
    mean = np.linalg.solve(gram, basis.T @ x)
    left = (x - basis @ mean).astype(np.float32)
    products = np.stack([(left * one[:, None]).T @ left for one in basis.T.astype(np.float32)]).astype(np.float64)
    spread = np.linalg.solve(gram, products.reshape(len(knots), -1)).reshape(products.shape)
    return knots, mean, spread
