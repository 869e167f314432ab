"""What a filter is fitted on: public latents and the user's own, in three disjoint parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import UnworkablePairError, UsageError
from privsdk.filters import posterior
from privsdk.filters.scores import clipped
from privsdk.fitting.data import FitData
from privsdk.fitting.wish import Label, Wish
from privsdk.names import folded

if TYPE_CHECKING:
    from privsdk.bundle import Bundle
    from privsdk.codec import Latents

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Part:
    """N posteriors with the K scores of their means and the classes of L labels, private ones first.

    ``scores`` is float32 [N, K], ``labels`` int64 [N, L], each class in 0..C-1 of its label; ``own`` says which rows
    are of the user's own samples.
    """

    mean: Floats
    variance: Floats
    scores: Floats
    labels: NDArray[np.int64]
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
        """Train and validation part for the min-max fit.

        Several private labels become one class; of a utility label of many classes each is a label of its own.
        """
        part = self.train.beside(self.validation)
        hidden = len(wish.private)
        counts = [len(label.classes) for label in wish.private_labels]
        kept = [
            # One column says all of a label that is true or not.
            values[:, None] == np.arange(len(label.classes))[-len(label.attributes) :]
            for label, values in zip(wish.utility_labels, part.labels[:, hidden:].T, strict=True)
        ]
        return FitData(
            part.mean,
            part.variance,
            posterior.classes(part.labels[:, :hidden], counts),
            int(np.prod(counts)),
            np.concatenate(kept, axis=1).astype(np.float32),
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
    given = None if data is None else _own_labels(len(data), wish, labels)
    scores = bundle.scores.only(wish.attributes)
    public = bundle.public
    drawn = np.stack([_classes(public.labels, label) for label in wish.labels], axis=1)
    _refuse_one_class(drawn, wish, "public latents")
    mean, variance = public.mean.astype(np.float32), public.variance.astype(np.float32)
    everyone = Part(mean, variance, clipped(scores.scores(mean)), drawn, np.zeros(len(mean), bool))

    order = np.random.default_rng([seed, 0]).permutation(len(everyone))
    check, validation, train = np.split(order, [len(order) // 4, 2 * len(order) // 5])
    parts = Material(everyone[train], everyone[validation], everyone[check], "public latents")
    if data is None or given is None:
        return parts
    own = bundle.encode(data) if isinstance(data, np.ndarray) else data
    mine = Part(own.mean, own.variance, clipped(scores.scores(own.mean)), given, np.ones(len(given), bool))
    order = np.random.default_rng([seed, 1]).permutation(len(mine))
    chosen, fitted = np.split(order, [len(order) // 5])
    return Material(
        parts.train.beside(mine[fitted]),
        parts.validation.beside(mine[chosen]),
        parts.check,
        parts.measured_on,
    )


def _classes(labels: NDArray[np.integer], label: Label) -> NDArray[np.int64]:
    """The class of each row, of labels of all attributes [N, A]: int64 [N]."""
    own = labels[:, list(label.attributes)]
    return own[:, 0].astype(np.int64) if own.shape[1] == 1 else own.argmax(axis=1)


def _own_labels(count: int, wish: Wish, labels: Mapping[str, Any] | None) -> NDArray[np.int64]:
    names = [label.name for label in wish.labels]
    given = {folded(name): np.asarray(values) for name, values in (labels or {}).items()}
    by_name = {name: given[folded(name)] for name in names if folded(name) in given}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise UsageError(f"samples were given to fit on without labels for {', '.join(missing)}: give labels=")
    for label in wish.labels:
        values, classes = by_name[label.name], range(len(label.classes))
        if values.shape != (count,) or not np.isin(values, classes).all():
            allowed = "0 or 1" if len(classes) == 2 else f"0 to {classes[-1]}"
            raise UsageError(f"the labels for {label.name} must be {count} numbers, each {allowed}")
    chosen = np.stack([by_name[name] for name in names], axis=1).astype(np.int64)
    _refuse_one_class(chosen, wish, "samples that were given")
    return chosen


def _refuse_one_class(labels: NDArray[np.int64], wish: Wish, where: str) -> None:
    for label, values in zip(wish.labels, labels.T, strict=True):
        if not len(values) or values.min() == values.max():
            raise UnworkablePairError(
                f"{label.name} has one class only in the {where}: choose another label, or give samples of both classes"
            )
