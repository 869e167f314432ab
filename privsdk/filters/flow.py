"""The default filter: Gaussianise, take the scores out, put others in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from privsdk import noise
from privsdk.errors import PrivatizerError
from privsdk.filters.code import CodeFlow
from privsdk.filters.couplings import PublicFlow
from privsdk.filters.fair_score import FairScore
from privsdk.filters.newton import onto
from privsdk.filters.scores import ScoreNetwork, clipped

Floats = NDArray[np.float32]
Seeds = NDArray[np.uint64]

NEIGHBOURS = 64


@dataclass(frozen=True)
class FlowFilter:
    """Replaces the private score by a borrowed one, and the utility score by the fair one; keeps the rest.

    With s the scores of the posterior mean, z a posterior sample and t the fair score::

        e   = f(g(z); s_p, s_u)                      the code, with noise where the scores lie
        s'_p = (1 - a) m(t) + a draw                 the borrowed score
        e'  = rho e + sqrt(1 - rho^2) xi              xi ~ N(0, I)
        z~  = g^-1(f^-1(e'; s'_p, t))                then Newton steps until its scores are s'_p and t

    The draw is the private scores of one of the 64 entries of ``population`` whose utility scores are nearest
    t, the first of them behind a random place, and m(t) the mean of those; neither knows s_p but by t.  ``population``
    is float32 [M, K], scores that go together as people's do; in it, as in ``scores``, the first ``private`` columns
    are the scores of private labels.  Newton steps hold the labels of one score; of a label of many classes the inverse
    alone decides, since a small latent has not room for all of them.  Latent dimensions that the encoder leaves unused
    are released as fresh N(0, 1) noise.  No private label is needed at a release.
    """

    kind: ClassVar[str] = "flow"
    label_aware: ClassVar[bool] = False

    scores: ScoreNetwork
    flow: PublicFlow
    code: CodeFlow
    fair_score: FairScore
    population: Floats
    private: int
    a: float = 1.0
    rho: float = 1.0

    def __post_init__(self) -> None:
        known = self.population.shape[-1]
        columns = [column for own in self.code.columns for column in own]
        hidden = [column for own in self.fair_score.private for column in own]
        if (
            sorted(columns) != list(range(known))
            or hidden != list(range(len(hidden)))
            or len(hidden) != self.private
            or len(hidden) + len(self.fair_score.tables) != known
            or not (0 <= self.a <= 1 and 0 < self.rho <= 1)
        ):
            raise PrivatizerError("the flow filter's parts do not belong together: fit it again")

    def perturb(self, mean: Floats, variance: Floats, seeds: Seeds, private: NDArray[Any] | None = None) -> Floats:
        """Perturbed latents z~, float32 [N, Z], of posteriors with ``mean`` and ``variance``, float32 [N, Z].

        ``seeds`` is uint64 [N]: every random choice of a row is a function of its seed.  ``private`` is not
        looked at.
        """
        scores = clipped(self.scores.scores(mean))
        code = self.codes(mean, variance, seeds, scores)
        if self.rho < 1:
            fresh = noise.normal(seeds, code.shape[1], "code")
            code = np.float32(self.rho) * code + np.float32(np.sqrt(1 - self.rho**2)) * fresh
        target = self.targets(scores, seeds)
        z = self.flow.inverse(self.code.inverse(code, target))
        unused = ~self.flow.used
        if unused.any():
            z[:, unused] = noise.normal(seeds, int(unused.sum()), "unused")
        return self.onto(z, target)

    def codes(self, mean: Floats, variance: Floats, seeds: Seeds, scores: Floats) -> Floats:
        """The codes e of a posterior sample of each row, given its scores: float32 [N, U]."""
        z = mean + np.sqrt(variance) * noise.normal(seeds, mean.shape[1], "posterior")
        x = self.flow.forward(z.astype(np.float32))
        return self.code.forward(x, scores, noise.normal(seeds, len(self.code.affine), "score"))

    def targets(self, scores: Floats, seeds: Seeds) -> Floats:
        """The scores that the release shall have, borrowed private ones first: float32 [N, K]."""
        blur = (2 * noise.uniforms(seeds, len(self.fair_score.tables), "fair score") - 1).astype(np.float32)
        fair = self.fair_score.fair(scores, blur)
        places = nearest(self.population[:, self.private :], fair)
        # The first of them from a random place in the population on, which is a circle.  Which of 64 in order it is
        # would say the same, but with one of them exchanged for another, as the last bit of t decides, all would move.
        start = noise.uniform(seeds, "draw") * len(self.population)
        first = np.mod(places - start[:, None], len(self.population)).argmin(axis=1)
        borrowed = self.population[places, : self.private]
        mixed = (1 - self.a) * borrowed.mean(axis=1) + self.a * borrowed[np.arange(len(first)), first]
        return np.concatenate([mixed, fair], axis=1, dtype=np.float32)

    def onto(self, z: Floats, target: Floats) -> Floats:
        """``z`` moved as little as possible, by Newton steps, until its scores are ``target`` [N, K].

        Those of labels of many classes are let go.
        """
        held = [own[0] for own in self.code.columns if len(own) == 1]
        if not held:
            return z
        return onto(self.scores.only(held), z, target[:, held])

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Every array of the filter, by name."""
        parts: dict[str, Mapping[str, NDArray[Any]]] = {
            "scores": self.scores.arrays(),
            "flow": self.flow.arrays(),
            "code": self.code.arrays(),
            "fair_score": self.fair_score.arrays(),
        }
        named = {f"{part}.{name}": array for part, holder in parts.items() for name, array in holder.items()}
        return {"population": self.population, **named}

    def settings(self) -> dict[str, Any]:
        """What is not an array, as JSON takes it."""
        return {"private": self.private, "a": self.a, "rho": self.rho}

    @classmethod
    def from_arrays(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> FlowFilter:
        """The filter that had these ``settings()`` and ``arrays()``."""

        def part(name: str) -> dict[str, NDArray[Any]]:
            return {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}

        population = np.asarray(arrays["population"], np.float32)
        return cls(
            scores=ScoreNetwork.from_arrays(part("scores")),
            flow=PublicFlow.from_arrays(part("flow")),
            code=CodeFlow.from_arrays(part("code")),
            fair_score=FairScore.from_arrays(part("fair_score"), population.shape[-1]),
            population=population,
            private=int(settings["private"]),
            a=float(settings["a"]),
            rho=float(settings["rho"]),
        )


def nearest(known: Floats, wanted: Floats) -> NDArray[np.int64]:
    """The 64 rows of ``known`` [M, V] nearest to each of ``wanted`` [N, V]: [N, 64], in their order.

    Of rows that are as near, the first are taken, so that every implementation takes the same.
    """
    neighbours = min(NEIGHBOURS, len(known))
    chosen = np.empty((len(wanted), neighbours), np.int64)
    for start in range(0, len(wanted), 256):
        block = wanted[start : start + 256]
        distance = np.zeros((len(block), len(known)), np.result_type(block, known))
        for column in range(known.shape[1]):
            distance += (block[:, None, column] - known[:, column]) ** 2
        farthest = np.partition(distance, neighbours - 1, axis=1)[:, neighbours - 1 : neighbours]
        within, at = distance < farthest, distance == farthest
        room = neighbours - within.sum(axis=1)
        # Ties are rare, and to count along a row is slow.
        crowded = np.flatnonzero(at.sum(axis=1) > room)
        at[crowded] &= np.cumsum(at[crowded], axis=1) <= room[crowded, None]
        chosen[start : start + 256] = np.nonzero(within | at)[1].reshape(len(block), neighbours)
    return chosen
