"""What a filter is fitted on: public latents and the user's own, in three disjoint parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import UnworkablePairError, UsageError
from privsdk.filters import posterior
from privsdk.filters.scores import clipped
from privsdk.fitting.data import FitData
from privsdk.fitting.wish import Wish
from privsdk.names import match

if TYPE_CHECKING:
    from privsdk.bundle import Bundle
    from privsdk.codec import Latents

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Part:
    """N posteriors with the K scores of their means and K labels, private ones first.

    ``belief`` is how likely each label is to be 1: the score's own probability for a public latent, whose
    label was drawn from it, and the label itself where somebody has given it.  ``own`` says which rows are of
    the user's own samples.
    """

    mean: Floats
    variance: Floats
    scores: Floats
    labels: Floats
    belief: Floats
    own: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> Part:
        return Part(**{name: values[rows] for name, values in vars(self).items()})

    def draw(self, rng: np.random.Generator) -> Floats:
        """One posterior sample of each row: float32 [N, Z]."""
        noise = rng.standard_normal(self.mean.shape, np.float32)
        return (self.mean + np.sqrt(self.variance) * noise).astype(np.float32)

    def beside(self, other: Part) -> Part:
        """Both parts in one."""
        mine, theirs = vars(self), vars(other)
        return Part(**{name: np.concatenate([mine[name], theirs[name]]) for name in mine})


@dataclass(frozen=True, eq=False)
class Material:
    """Disjoint parts to fit on, to choose by and to check with; ``measured_on`` says what the last one is."""

    train: Part
    validation: Part
    check: Part
    measured_on: str

    def for_minmax(self, wish: Wish, used: NDArray[np.bool_]) -> FitData:
        """Train and validation part for the min-max fit; several private labels become one class."""
        part = self.train.beside(self.validation)
        hidden = len(wish.private)
        return FitData(
            part.mean,
            part.variance,
            posterior.classes(part.labels[:, :hidden]),
            2**hidden,
            part.labels[:, hidden:],
            used,
        )


def gather(
    bundle: Bundle,
    wish: Wish,
    data: NDArray[np.uint8] | Latents | None,
    labels: Mapping[str, Any] | None,
    seed: int,
) -> Material:
    """Public latents split 60 : 15 : 25, the user's own (samples or latents) 80 : 20 beside the first two.

    The check part is of public latents alone, so that its figures mean the same with and without the user's
    own.

    :raises UnworkablePairError: a label has one class only.
    :raises UsageError: own latents without labels, or labels that do not fit them.
    """
    given = None if data is None else _own_labels(len(data), wish, labels, bundle.attributes)
    scores = bundle.scores.only(wish.columns)
    public = bundle.public
    columns = list(wish.columns)
    drawn = public.labels[:, columns].astype(np.float32)
    _refuse_one_class(drawn, wish, "public latents")
    mean, variance = public.mean.astype(np.float32), public.variance.astype(np.float32)
    public_scores = clipped(scores.scores(mean))
    belief = (1 / (1 + np.exp(-public_scores))).astype(np.float32)
    everyone = Part(mean, variance, public_scores, drawn, belief, np.zeros(len(mean), bool))

    order = np.random.default_rng([seed, 0]).permutation(len(everyone))
    check, validation, train = np.split(order, [len(order) // 4, 2 * len(order) // 5])
    parts = Material(everyone[train], everyone[validation], everyone[check], "public latents")
    if data is None or given is None:
        return parts
    own = bundle.encode(data) if isinstance(data, np.ndarray) else data
    mine = Part(own.mean, own.variance, clipped(scores.scores(own.mean)), given, given, np.ones(len(given), bool))
    order = np.random.default_rng([seed, 1]).permutation(len(mine))
    chosen, fitted = np.split(order, [len(order) // 5])
    return Material(
        parts.train.beside(mine[fitted]),
        parts.validation.beside(mine[chosen]),
        parts.check,
        parts.measured_on,
    )


def _own_labels(count: int, wish: Wish, labels: Mapping[str, Any] | None, attributes: Sequence[str]) -> Floats:
    by_name = {match(name, attributes): np.asarray(values) for name, values in (labels or {}).items()}
    missing = [name for name in wish.names if name not in by_name]
    if missing:
        raise UsageError(f"samples were given to fit on without labels for {', '.join(missing)}: give labels=")
    for name in wish.names:
        if by_name[name].shape != (count,) or not np.isin(by_name[name], (0, 1)).all():
            raise UsageError(f"the labels for {name} must be {count} numbers, each 0 or 1")
    given = np.stack([by_name[name] for name in wish.names], axis=1).astype(np.float32)
    _refuse_one_class(given, wish, "samples that were given")
    return given


def _refuse_one_class(labels: Floats, wish: Wish, where: str) -> None:
    for name, values in zip(wish.names, labels.T, strict=True):
        if values.min(initial=1) == values.max(initial=0):
            raise UnworkablePairError(
                f"{name} has one class only in the {where}: choose another label, or give samples of both classes"
            )
