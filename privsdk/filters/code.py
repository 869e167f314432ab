"""The code e = f(g(z); s): what is left of a latent when its scores have been taken out, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.basis import SMALL, Basis
from privsdk.filters.couplings import Couplings
from privsdk.filters.rows import slices, times
from privsdk.filters.scores import clipped, probabilities

Floats = NDArray[np.float32]

CONTEXT_SCALE = 4.0
QUANTILES = (0.02, 0.2, 0.5, 0.8, 0.98)
# Of the balanced people, where a label is believed true without doubt.
BELIEVED = QUANTILES.index(0.8)
# A covariance is drawn to that of all as if so many rows for each dimension showed the latter.  (A fit draws four rows
# of each latent: one latent for each dimension.)
PRIOR = 4
LEAST_VARIANCE = 0.05
# Whose class is so rare is given half of the covariance that all people share: too few have shown their own.
RARE = 0.05
ROWS_AT_ONCE = 512  # whose maps take megabytes, and who stay in the cache


@dataclass(frozen=True)
class ConditionalAffine:
    """A mean and a linear map that depend on the scores of one label, and noise where a single score itself was.

        c = (x - h(s) M) W(s),    W(s) = sum_q h_q(s) W_q
        e = c + (xi - <c, d>) d,    xi ~ N(0, 1)

    h(s) are the functions of ``basis``.  ``mean`` M is float32 [Q, U]; ``whiten`` W_q, symmetric, [Q, U, U], the
    inverse square root of x's covariance about its mean where the score is at that knot, or the class is that one.
    ``along`` d, [U], of length 1, is where a single score lies in c.  Given the score x hardly varies there; what it
    does, brought to spread 1, has a shape that tells the score.  A release gets its score from elsewhere, so noise in
    its place costs nothing.  The probabilities of many classes leave no direction without variance, and d is zero.
    """

    basis: Basis
    mean: Floats
    whiten: Floats
    along: Floats

    @classmethod
    def of(cls, basis: Basis, mean: Floats, spread: NDArray[Any], shown: NDArray[Any]) -> ConditionalAffine:
        """The map after which x has mean 0 and covariance I, where it has this mean [Q, U] and covariance [Q, U, U].

        The covariances are ``shown`` [Q] by so many rows each; of few, they are drawn to their mean.  d is where the
        means at the outermost knots lie apart, seen through W: Fisher's discriminant.
        """
        spread = spread.astype(np.float64)
        prior = PRIOR * mean.shape[1]
        shared = (prior / (prior + shown))[:, None, None]
        shrunk = (1 - shared) * spread + shared * spread.mean(axis=0)
        whiten = power(shrunk, -0.5).astype(np.float32)
        along = np.zeros(mean.shape[1], np.float32)
        if len(basis.columns) == 1:
            apart = (mean[-1] - mean[0]) @ whiten.mean(axis=0)
            along = apart / max(float(np.linalg.norm(apart)), SMALL)
        return cls(basis, mean, whiten, along)

    @classmethod
    def learned(cls, x: Floats, columns: Sequence[int], scores: Floats) -> ConditionalAffine:
        """The map for the label in ``columns`` of ``scores`` [N, K], of people with x, float32 [N, U]."""
        basis = Basis.about(columns, scores, QUANTILES)
        weights = basis.weights(scores)
        return cls.of(basis, *moments(x, weights), weights.sum(axis=0))

    def forward(self, x: Floats, scores: Floats, xi: Floats) -> Floats:
        """x, float32 [N, U], all scores [N, K] and a normal number of each row [N] to e, float32 [N, U]."""
        about = self.basis.weights(scores)
        centred = x - times(about, self.mean)
        code = np.zeros_like(centred)
        for weight, map_ in zip(about.T, self.whiten, strict=True):
            code += weight[:, None] * times(centred, map_)
        return code + np.outer(xi - times(code, self.along[:, None])[:, 0], self.along)

    def inverse(self, code: Floats, scores: Floats) -> Floats:
        """An x with this ``code`` and, nearly, these scores [N, K]."""
        about = self.basis.weights(scores)
        x = times(about, self.mean)
        if not len(self.basis.knots):
            for rows in slices(len(code), ROWS_AT_ONCE):
                maps = times(about[rows], self.whiten.reshape(len(self.whiten), -1)).reshape(-1, *self.whiten.shape[1:])
                x[rows] += np.linalg.solve(maps, code[rows, :, None])[:, :, 0]  # the maps are symmetric
            return x
        knot = (about > 0).argmax(axis=1)  # the score lies between this one and the next
        for here, (into, stretch) in enumerate(zip(*self.between_knots, strict=True)):
            own = np.flatnonzero(np.minimum(knot, len(self.whiten) - 2) == here)
            x[own] += times(times(code[own], into.T) / (1 + about[own, here + 1, None] * stretch), into)
        return x

    @cached_property
    def between_knots(self) -> tuple[Floats, Floats]:
        """What inverts W(s) of a single score without solving a system for each row, since it mixes two neighbours.

        With T = W_q^(-1/2) and T W_(q+1) T = V diag(v) V', and P = V' T,

            ((1 - t) W_q + t W_(q+1))^-1 = P' diag(1 / (1 + t (v - 1))) P.

        P, float32 [Q - 1, U, U], and v - 1, [Q - 1, U].
        """
        maps = self.whiten.astype(np.float64)
        variance, directions = np.linalg.eigh(maps[:-1])
        root = (directions / np.sqrt(variance)[:, None, :]) @ directions.swapaxes(1, 2)
        v, turned = np.linalg.eigh(root @ maps[1:] @ root)
        return (turned.swapaxes(1, 2) @ root).astype(np.float32), (v - 1).astype(np.float32)

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """What :meth:`from_arrays` needs, under this name."""
        own = {f"{name}.mean": self.mean, f"{name}.whiten": self.whiten, f"{name}.along": self.along}
        return {**self.basis.arrays(name), **own}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], name: str) -> ConditionalAffine:
        """The map that was stored under this name."""
        own = (np.asarray(arrays[f"{name}.{part}"], np.float32) for part in ("mean", "whiten", "along"))
        return cls(Basis.from_arrays(arrays, name), *own)


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
        bases = [Basis.about([column], scores, QUANTILES) for column in range(scores.shape[1])]
        knots = np.stack([basis.knots for basis in bases])
        means, spreads = zip(*(moments(x, basis.weights(scores)) for basis in bases), strict=True)
        # A regression of products can give what is no covariance, where few people are.
        spread = power(np.stack(spreads), 1.0)
        return cls(knots, np.stack(means), spread.astype(np.float32))

    def matched(self, x: Floats, scores: Floats, attributes: Sequence[int], columns: Sequence[int]) -> Floats:
        """x of strangers, float32 [N, U], with the mean and the covariance of people given a label's scores.

        The label is that of ``attributes``; its scores stand in ``columns`` of ``scores`` [N, K].
        """
        if len(attributes) == 1:
            (one,) = attributes
            basis, theirs, spreads = Basis(tuple(columns), self.knots[one]), self.mean[one], self.spread[one]
        else:
            classes = list(attributes)
            basis = Basis(tuple(columns), np.empty(0, np.float32))
            theirs, spreads = self.mean[classes, BELIEVED], self.spread[classes, BELIEVED]
        rarest = float(probabilities(scores[:, list(columns)]).mean(axis=0).min())
        shared = RARE**2 / (RARE**2 + rarest**2)
        spreads = (1 - shared) * spreads + shared * spreads.mean(axis=0)
        weights = basis.weights(scores)
        mean, spread = moments(x, weights)
        maps = (power(spread, -0.5) @ power(spreads, 0.5)).astype(np.float32)
        found = np.empty_like(x)
        for rows in slices(len(x), ROWS_AT_ONCE):
            about = weights[rows]
            centred = x[rows] - about @ mean
            found[rows] = about @ theirs
            for weight, map_ in zip(about.T, maps, strict=True):
                found[rows] += weight[:, None] * (centred @ map_)
        return found

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
    """f: a conditional affine map for each label in turn, the private ones first, then couplings that see all scores.

    The utility scores are taken out as well: who reads in the code how much somebody smiled, and finds another t in
    the release, knows which way the fair score was moved, and so the private label.

    There are no couplings in the closed form.
    """

    affine: tuple[ConditionalAffine, ...]
    couplings: Couplings | None

    @property
    def columns(self) -> tuple[tuple[int, ...], ...]:
        """The columns of each label's scores."""
        return tuple(affine.basis.columns for affine in self.affine)

    def forward(self, x: Floats, scores: Floats, xi: Floats) -> Floats:
        """The code of x = g(z), float32 [N, U], given all scores [N, K] and a normal number for each label [N, L]."""
        for affine, fresh in zip(self.affine, xi.T, strict=True):
            x = affine.forward(x, scores, fresh)
        return x if self.couplings is None else self.couplings.forward(x, context(scores, self.columns))

    def inverse(self, code: Floats, scores: Floats) -> Floats:
        """An x with this ``code`` and, nearly, these scores [N, K]."""
        x = code if self.couplings is None else self.couplings.inverse(code, context(scores, self.columns))
        for affine in reversed(self.affine):
            x = affine.inverse(x, scores)
        return x

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights by name, for :meth:`from_arrays`."""
        named: dict[str, NDArray[Any]] = {"labels": np.array([len(self.affine)], np.int64)}
        for number, affine in enumerate(self.affine):
            named |= affine.arrays(f"affine.{number}")
        return named | ({} if self.couplings is None else self.couplings.arrays())

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> CodeFlow:
        """The flow whose weights are in ``arrays``."""
        labels = range(int(arrays["labels"][0]))
        affine = tuple(ConditionalAffine.from_arrays(arrays, f"affine.{number}") for number in labels)
        return cls(affine, Couplings.from_arrays(arrays) if "rotation" in arrays else None)


def power(covariance: NDArray[Any], exponent: float) -> NDArray[np.float64]:
    """A power of symmetric matrices [..., U, U], each of whose variances is taken for .05 at least."""
    variance, directions = np.linalg.eigh(covariance.astype(np.float64))
    raised = np.maximum(variance, LEAST_VARIANCE)[..., None, :] ** exponent
    return (directions * raised) @ directions.swapaxes(-1, -2)


def context(scores: Floats, columns: Sequence[Sequence[int]]) -> Floats:
    """The scores as couplings see them, float32 [N, C].

    A single score is clipped at 12 and divided by 4.  Of many classes the probabilities are seen: their log-odds
    would leave nothing of a small latent to be told beside them.
    """
    parts = [scores[:, list(own)] for own in columns]
    seen = [clipped(own) / np.float32(CONTEXT_SCALE) if own.shape[1] == 1 else probabilities(own) for own in parts]
    return np.concatenate(seen, axis=1)


def moments(x: Floats, weights: Floats) -> tuple[Floats, NDArray[Any]]:
    """The mean [Q, U] and the covariance [Q, U, U] of ``x`` [N, U] given what ``weights`` [N, Q] are of.

    The regression of x on them, and that of the products of what it leaves.
    """
    basis = weights.astype(np.float64)
    gram = basis.T @ basis + SMALL * np.eye(basis.shape[1])
    mean = np.linalg.solve(gram, basis.T @ x)
    left = (x - basis @ mean).astype(np.float32)
    products = np.stack([(left * one[:, None]).T @ left for one in weights.T]).astype(np.float64)
    spread = np.linalg.solve(gram, products.reshape(len(products), -1)).reshape(products.shape)
    return mean.astype(np.float32), spread
