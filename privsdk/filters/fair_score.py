"""The fair utility score t: the utility score, less what it tells of the private label, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# The share of a population below zero is held off 0 and 1, where a side of the threshold would be empty.
LEAST_SHARE = 0.02


@dataclass(frozen=True)
class FairScore:
    """The utility score s_u, moved within the people of a like private score s_p.

    With F(u | s_p) the distribution of the utility score among those, and F(u) that over all::

        edge = (1 - strength) F(0 | s_p) + strength F(0)
        rank = F(0) F(s_u | s_p) / edge                          where F(s_u | s_p) < edge
               1 - (1 - F(0)) (1 - F(s_u | s_p)) / (1 - edge)    elsewhere
        t    = F^-1(rank)

    On either side of zero t is independent of s_p, so nothing but its sign tells of s_p; the share with t < 0
    is ``edge``, so at strength 1 nothing does.  Whoever changes sign is among those nearest to zero.  t has
    the distribution of s_u over all.  With several private scores this is done for one after the other, over
    and over, since a later step stirs up a little of an earlier one's.

    For V utility scores and S steps, ``centres`` [V, S, B] are the private scores and ``members`` [V, S, B, Q]
    the quantiles (from the least to the greatest) that F(. | s_p) is read from, between the two nearest of B
    groups of people; ``everyone`` [V, S, Q] those of F.  ``strength`` is float32 [1].
    """

    strength: Floats
    centres: Floats
    members: Floats
    everyone: Floats

    def fair(self, scores: Floats) -> Floats:
        """t for scores float32 [N, P + V], private ones first: float32 [N, V]."""
        kept, steps = self.centres.shape[:2]
        private = scores.shape[1] - kept
        fair = scores[:, private:].astype(np.float64)
        for utility in range(kept):
            for step in range(steps):
                table = self.centres[utility, step], self.members[utility, step], self.everyone[utility, step]
                fair[:, utility] = moved(fair[:, utility], scores[:, step % private], *table, float(self.strength[0]))
        return fair.astype(np.float32)

    def arrays(self) -> dict[str, Floats]:
        """The tables by name, for :meth:`from_arrays`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats]) -> FairScore:
        """The fair score whose tables are in ``arrays``."""
        return cls(*(np.asarray(arrays[field.name], np.float32) for field in fields(cls)))


def moved(
    values: NDArray[np.float64], about: Floats, centres: Floats, members: Floats, everyone: Floats, strength: float
) -> NDArray[np.float64]:
    """t for utility scores ``values`` [N] of people with private scores ``about`` [N], by one table."""
    groups, levels = members.shape
    ranks = np.linspace(0, 1, levels)
    position = np.interp(about, centres, np.arange(groups))
    lower = np.minimum(position.astype(np.int64), groups - 2)
    share = position - lower
    rows = np.arange(len(values))

    def rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
        within = np.stack([np.interp(values, member, ranks) for member in members])
        return (1 - share) * within[lower, rows] + share * within[lower + 1, rows]

    overall = np.interp(0.0, everyone, ranks)
    edge = (1 - strength) * rank(np.zeros(len(values))) + strength * overall
    edge = np.clip(edge, LEAST_SHARE, 1 - LEAST_SHARE)
    own = rank(values)
    fair = np.where(own < edge, overall * own / edge, 1 - (1 - overall) * (1 - own) / (1 - edge))
    return np.interp(fair, ranks, everyone)
