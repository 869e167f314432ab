"""Rank-resample: the private score replaced by that of somebody of the same rank in a class that is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from privsdk import noise
from privsdk.errors import PrivatizerError
from privsdk.filters import posterior
from privsdk.filters.flow import nearest
from privsdk.filters.newton import onto
from privsdk.filters.scores import ScoreNetwork, clipped, draw_classes, probabilities

Floats = NDArray[np.float32]
Classes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RankResample:
    """Somebody of private class c is given the private score of somebody of class c' at the same rank.

    With s_p and s_u the scores of the posterior mean, z a posterior sample and J the gradients of the scores::

        c'   ~ P(c' given s_u)                       the class of one of the people of a like s_u
        r    = F_c(s_p given s_u)                    the rank of s_p among those of them of class c
        s'_p = F_c'^-1(r given s_u)                  the score of that rank among those of class c'
        z~   = z, moved by z <- z + J^+ ([s'_p, s_u] - s(z)) until its scores are s'_p and s_u

    Given c and s_u the rank is uniform, so s'_p tells nothing of c that s_u does not: what the scores leave is the
    score ceiling.  What else of z goes with the label stays: a step along the gradient moves what the score looks at
    and no more.  The rank is that of the score of a person's own class, from the least typical to the most; of two
    classes this sends the least typical of one to the least typical of the other, next to them.

    The people of a like s_u are the 64 of ``population`` (64 of each class, for F) whose utility scores are nearest.
    ``population`` is float32 [M, K], the scores of people, and ``classes`` int64 [M], their private classes in
    0..``private_classes`` - 1, each of which occurs.  In it as in ``scores`` the columns are those of the private label
    (one for two classes, C for C), then those of the utility labels.  ``used`` is bool [Z]; the other dimensions are
    fresh noise.  Unless ``label_aware``, c is drawn from its probability given s_p.  Our own; related to the
    quantile-to-quantile repair of features of Feldman, Friedler, Moeller, Scheidegger, Venkatasubramanian, "Certifying
    and removing disparate impact", 2015.
    """

    kind: ClassVar[str] = "rank-resample"

    scores: ScoreNetwork
    population: Floats
    classes: Classes
    private_classes: int
    used: NDArray[np.bool_]
    label_aware: bool

    def __post_init__(self) -> None:
        fitting = (
            self.population.ndim == 2
            and self.population.shape[1] > self._private
            and self.scores.fits(len(self.used), self.population.shape[1])
            and self.classes.shape == (len(self.population),)
            and len(there := np.unique(self.classes)) == self.private_classes
            and np.array_equal(there, np.arange(len(there)))
        )
        if not fitting:
            raise PrivatizerError(
                f"the scores of {self.population.shape} people and {len(self.used)} dimensions do not fit each other: "
                "fit the filter again"
            )

    def perturb(
        self,
        mean: Floats,
        variance: Floats,
        seeds: NDArray[np.uint64],
        private: NDArray[np.integer] | None = None,
    ) -> Floats:
        """The perturbed latents z~, float32 [N, Z].

        ``mean`` and ``variance`` are float32 [N, Z], ``seeds`` uint64 [N]; ``private``, int [N] with classes in
        0..C-1, is needed where the filter is label-aware and is not looked at where it is not.  The same seed and
        latent give the same z~, whatever the other rows are.

        :raises UsageError: labels are needed and missing, or shapes or classes do not fit.
        """
        z = posterior.sample(mean, variance, seeds, self.used)
        scores = clipped(self.scores.scores(mean))
        if self.label_aware:
            own = posterior.checked_private(private, len(z), self.private_classes).astype(np.int64)
        else:
            own = draw_classes(probabilities(scores[:, : self._private]), noise.uniform(seeds, "class"))
        return onto(self.scores, z, self.targets(scores, own, seeds))

    def targets(self, scores: Floats, own: Classes, seeds: NDArray[np.uint64]) -> Floats:
        """The scores that the release shall have, float32 [N, K], of people with ``scores`` of classes ``own`` [N]."""
        kept = scores[:, self._private :]
        alike = self.classes[nearest(self.population[:, self._private :], kept)]
        position = (noise.uniform(seeds, "entered class") * alike.shape[1]).astype(np.int64)
        entered = alike[np.arange(len(alike)), position]

        rank = np.empty(len(scores))
        within = noise.uniform(seeds, "rank")
        for one in np.unique(own):
            rows = own == one
            people, mine = self._own(one, self._people(one, kept[rows])), self._own(one, scores[rows])[:, None]
            below, tied = np.sum(people < mine, axis=1), np.sum(people == mine, axis=1)
            # Many scores are the largest there is: without a place among them their ranks would tell the class.
            rank[rows] = (below + within[rows] * (tied + 1)) / (people.shape[1] + 1)
        target = scores.copy()
        for one in np.unique(entered):
            rows = np.flatnonzero(entered == one)
            people = self._people(one, kept[rows])
            order = np.argsort(self._own(one, people), axis=1, kind="stable")
            chosen = order[np.arange(len(rows)), (rank[rows] * people.shape[1]).astype(np.int64)]
            target[rows, : self._private] = people[np.arange(len(rows)), chosen]
        return target

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays by name, for :meth:`from_arrays`."""
        return {
            **{f"scores.{name}": array for name, array in self.scores.arrays().items()},
            "population": self.population,
            "classes": self.classes,
            "used": self.used.astype(np.uint8),
        }

    def settings(self) -> dict[str, Any]:
        """What is not an array, for :meth:`from_arrays`."""
        return {"private_classes": self.private_classes, "label_aware": self.label_aware}

    @classmethod
    def from_arrays(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> RankResample:
        """The filter that gave these."""
        return cls(
            scores=ScoreNetwork.from_arrays(
                {name.removeprefix("scores."): np.asarray(array, np.float32) for name, array in arrays.items()}
            ),
            population=np.asarray(arrays["population"], np.float32),
            classes=np.asarray(arrays["classes"], np.int64),
            private_classes=int(settings["private_classes"]),
            used=np.asarray(arrays["used"]).astype(bool),
            label_aware=bool(settings["label_aware"]),
        )

    @property
    def _private(self) -> int:
        """How many columns tell the private label."""
        return 1 if self.private_classes == 2 else self.private_classes

    def _people(self, one: int, kept: Floats) -> Floats:
        """The private scores of the people of class ``one`` whose utility scores are nearest ``kept``: [N, 64, P]."""
        of_class = self.population[self.classes == one]
        return of_class[nearest(of_class[:, self._private :], kept), : self._private]

    def _own(self, one: int, scores: Floats) -> Floats:
        """The log-odds of class ``one`` in scores [..., K]: [...]."""
        if self.private_classes == 2:
            return scores[..., 0] if one else -scores[..., 0]
        return scores[..., one]
