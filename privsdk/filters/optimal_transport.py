"""Optimal transport of the private classes, each a Gaussian, to their barycentre."""

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
from privsdk.filters.scores import ScoreNetwork, clipped, draw_classes, probabilities

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class OptimalTransport:
    """z~ = m_u + T_pu (z + tau xi - m_pu), xi ~ N(0, I), for private class p and utility class u.

    The people of classes p and u are taken for N(m_pu, S_pu), with the noise N(m_pu, S_pu + tau^2 I), which no
    direction is too narrow for.  N(m_u, S_u) is the Wasserstein barycentre over p of these, weighted by P(p given u),
    and T_pu the optimal map to it (Agueh and Carlier, "Barycenters in the Wasserstein space", 2011; for fair
    representations Gordaliza, del Barrio, Gamboa, Loubes, "Obtaining fairness using optimal transport theory", 2019):

        T = A^(-1/2) (A^(1/2) S_u A^(1/2))^(1/2) A^(-1/2),    A = S_pu + tau^2 I

    So z~ is independent of p given u, at the least distance that Gaussians allow.  Transport is within a utility
    class: across them it would also make all private classes equally often smiling, which costs the utility label
    more than hiding the private one takes.  What is left to learn is how often each p has each u: nothing, where there
    is a single utility class (U = 0).  Classes that are no Gaussians are alike in mean and covariance alone: clusters
    of different sizes stay so.

    No release needs the utility label, nor, unless ``label_aware``, the private one.  What is not given is drawn from
    its probability given the posterior mean: then (z, p, u) are distributed as they are with the true labels, all the
    above holds of the classes drawn, and what u leaves is the label ceiling.  Unless ``draw_utility``, u is the
    likeliest instead: that keeps the utility label better, and leaves what the sign of its score tells of p, somewhat
    more.  (The mean of the maps weighted by p's probabilities would need no draw, and hides less: where classes overlap
    it is an invertible function of z.)  Of a true private label that is not given there is left what its probability
    varies by among the latents that end in one place: little where the scores are sure, most of it where they are not.

    ``scores`` tells, in this order, the private label (one column for two classes, C for C) and the U utility labels.
    ``utility`` is uint8 [V, U], the V utility classes by their labels; ``there`` bool [C, V], the pairs of classes that
    occur.  ``means`` m_pu is float32 [C, V, Z], ``maps`` T_pu [C, V, Z, Z], ``centres`` m_u [V, Z]; ``used`` is
    bool [Z], the other dimensions are fresh noise; z is a posterior sample and ``tau`` a float.
    """

    kind: ClassVar[str] = "optimal-transport"

    scores: ScoreNetwork
    utility: NDArray[np.uint8]
    there: NDArray[np.bool_]
    means: Floats
    maps: Floats
    centres: Floats
    used: NDArray[np.bool_]
    tau: float
    draw_utility: bool
    label_aware: bool

    def __post_init__(self) -> None:
        size, (classes, kinds) = len(self.used), self.there.shape
        columns = (1 if classes == 2 else classes) + self.utility.shape[1]
        fitting = (
            self.scores.fits(size, columns)
            and len(self.utility) == kinds
            and self.means.shape == (classes, kinds, size)
            and self.maps.shape == (classes, kinds, size, size)
            and self.centres.shape == (kinds, size)
            and self.there.any(axis=1).all()
        )
        if not fitting:
            raise PrivatizerError(
                f"the optimal transport's arrays do not fit latents of {size} dimensions: fit the filter again"
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
        classes, kinds = self.there.shape
        possible = np.broadcast_to(self.there, (len(z), classes, kinds))
        if self.label_aware:
            known = posterior.checked_private(private, len(z), classes)
            possible = possible & (np.arange(classes) == known[:, None])[:, :, None]
        likely = self._likely(clipped(self.scores.scores(mean)), possible)
        pair = draw_classes(likely.reshape(len(z), classes * kinds), noise.uniform(seeds, "class"))
        z[:, self.used] += np.float32(self.tau) * noise.normal(seeds, int(self.used.sum()), "filter noise")
        for one in np.unique(pair):
            rows, (p, u) = pair == one, divmod(one, kinds)
            moved = self.centres[u] + times(z[rows] - self.means[p, u], self.maps[p, u])
            z[rows] = np.where(self.used, moved, z[rows])
        return z

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays by name, for :meth:`from_arrays`."""
        return {
            **{f"scores.{name}": array for name, array in self.scores.arrays().items()},
            "utility": self.utility,
            "there": self.there.astype(np.uint8),
            "means": self.means,
            "maps": self.maps,
            "centres": self.centres,
            "used": self.used.astype(np.uint8),
        }

    def settings(self) -> dict[str, Any]:
        """What is not an array, for :meth:`from_arrays`."""
        return {"tau": self.tau, "draw_utility": self.draw_utility, "label_aware": self.label_aware}

    @classmethod
    def from_arrays(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> OptimalTransport:
        """The filter that gave these."""
        return cls(
            scores=ScoreNetwork.from_arrays(
                {name.removeprefix("scores."): np.asarray(array, np.float32) for name, array in arrays.items()}
            ),
            utility=np.asarray(arrays["utility"], np.uint8),
            there=np.asarray(arrays["there"]).astype(bool),
            means=np.asarray(arrays["means"], np.float32),
            maps=np.asarray(arrays["maps"], np.float32),
            centres=np.asarray(arrays["centres"], np.float32),
            used=np.asarray(arrays["used"]).astype(bool),
            tau=float(settings["tau"]),
            draw_utility=bool(settings["draw_utility"]),
            label_aware=bool(settings["label_aware"]),
        )

    def _likely(self, scores: Floats, possible: NDArray[np.bool_]) -> NDArray[np.float64]:
        """How likely each pair of classes is, float64 [N, C, V], up to a factor of the row and 0 unless ``possible``.

        Given the latent the labels are taken to be independent.
        """
        private, kept = np.split(scores, [scores.shape[1] - self.utility.shape[1]], axis=1)
        of_utility = utility_likelihood(kept, self.utility)
        if not self.draw_utility:
            best = np.where(possible.any(axis=1), of_utility, 0).argmax(axis=1)
            of_utility = np.eye(len(self.utility))[best]
        return probabilities(private)[:, :, None] * of_utility[:, None, :] * possible


def utility_likelihood(scores: Floats, classes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How likely each of V combinations of U utility labels is, float64 [N, V], up to a factor of the row.

    ``scores`` are the labels' log-odds, float32 [N, U], ``classes`` uint8 [V, U].
    """
    signs = 2.0 * classes - 1
    return np.exp(-np.logaddexp(0, -signs * scores[:, None, :]).sum(axis=2))
