"""What a filter is fitted on: public latents and the user's own, in three disjoint parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import UnworkablePairError, UsageError
from privsdk.filters import posterior
from privsdk.filters.code import Moments
from privsdk.filters.couplings import PublicFlow
from privsdk.filters.joint_scores import JointScores
from privsdk.filters.scores import ScoreNetwork, clipped, draw_classes, probabilities
from privsdk.fitting.data import FitData
from privsdk.fitting.wish import Label, Wish
from privsdk.names import folded

if TYPE_CHECKING:
    from privsdk.bundle import Bundle, PublicLatents
    from privsdk.codec import Latents

Floats = NDArray[np.float32]

FitOn = Literal["both", "public", "own"]

# Own samples of a class, where there are no others: a quarter of them check the filter.
LEAST_OF_A_CLASS = 60
LARGEST_LATENT = 1000.0  # ten times beyond what any encoder gives


class FitBundle(Protocol):
    """What a fit asks of a bundle: all that is known of A attributes, without a codec."""

    @property
    def attributes(self) -> tuple[str, ...]: ...
    @property
    def groups(self) -> dict[str, tuple[str, ...]]: ...
    @property
    def gaps(self) -> dict[str, float]: ...
    @property
    def used(self) -> NDArray[np.bool_]: ...
    @property
    def scores(self) -> ScoreNetwork: ...
    @property
    def flow(self) -> PublicFlow: ...
    @property
    def moments(self) -> Moments: ...
    @property
    def joint_scores(self) -> JointScores: ...
    @property
    def public(self) -> PublicLatents: ...


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
class OwnSamples:
    """Posteriors of N samples of the user's, and what the user says of them.

    ``labels`` is float64 [N, L], for each label of the wish the class, NaN where it was not given.
    """

    mean: Floats
    variance: Floats
    labels: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, rows: NDArray[Any]) -> OwnSamples:
        return OwnSamples(self.mean[rows], self.variance[rows], self.labels[rows])

    def part(self, scores: ScoreNetwork, wish: Wish, seed: int) -> Part:
        """With the K ``scores`` of the wish; what the user does not say is drawn from them, as for public latents."""
        found = clipped(scores.scores(self.mean))
        uniform = np.random.default_rng([seed, 5]).random(self.labels.shape)
        drawn = np.stack(
            [
                draw_classes(probabilities(found[:, list(columns)]), own)
                for columns, own in zip(wish.columns, uniform.T, strict=True)
            ],
            axis=1,
        )
        labels = np.where(np.isnan(self.labels), drawn, self.labels).astype(np.int64)
        return Part(self.mean, self.variance, found, labels, np.ones(len(self), bool))


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


def own_samples(
    bundle: Bundle, wish: Wish, data: NDArray[np.uint8] | Latents | None, labels: Mapping[str, Any] | None
) -> OwnSamples | None:
    """The user's samples or latents, with those of their ``labels`` that the wish is about; None where none are given.

    :raises UnworkablePairError: a label that is given has one class only.
    :raises UsageError: labels without samples, labels that do not fit them, or latents of another bundle.
    """
    if data is None:
        if labels:
            raise UsageError("labels were given without the samples that they are of: give data=")
        return None
    given = _given(len(data), wish, labels or {})
    own = bundle.encode(data) if isinstance(data, np.ndarray) else data
    if own.mean.shape[1] != len(bundle.used):
        raise UsageError(f"the latents have {own.mean.shape[1]} numbers, the bundle's {len(bundle.used)}")
    if not (np.isfinite(own.mean).all() and np.isfinite(own.variance).all()):
        raise UsageError("the latents hold numbers that are not finite: leave those rows out")
    if (own.variance <= 0).any() or np.abs(own.mean).max(initial=0) > LARGEST_LATENT:
        raise UsageError(
            f"the latents hold a variance that is not above 0, or a mean beyond {LARGEST_LATENT:g}: encode them again"
        )
    return OwnSamples(own.mean, own.variance, given)


def gather(bundle: FitBundle, wish: Wish, own: OwnSamples | None, seed: int, fit_on: FitOn = "both") -> Material:
    """Public latents split 60 : 15 : 25, the user's own 80 : 20 beside the first two.

    The check part is of public latents alone, so that its figures mean the same with and without the user's
    own.  Where ``fit_on`` is "own" they take the place of the public ones in all three parts; where it is "public" they
    take no part.

    :raises UnworkablePairError: a label has one class only, or of own samples alone too few of one.
    """
    scores = bundle.scores.only(wish.attributes)
    if own is not None and fit_on == "own":
        mine = own.part(scores, wish, seed)
        for label, values in zip(wish.labels, mine.labels.T, strict=True):
            _refuse_few(label, values)
        return Material(*_split(mine, seed), "own samples")
    public = bundle.public
    drawn = np.stack([classes_of(public.labels, label) for label in wish.labels], axis=1)
    for label, values in zip(wish.labels, drawn.T, strict=True):
        _refuse_one_class(label, values, "public latents")
    mean, variance = public.mean.astype(np.float32), public.variance.astype(np.float32)
    everyone = Part(mean, variance, clipped(scores.scores(mean)), drawn, np.zeros(len(mean), bool))
    train, validation, check = _split(everyone, seed)
    if own is not None and fit_on == "both":
        mine = own.part(scores, wish, seed)
        order = np.random.default_rng([seed, 1]).permutation(len(mine))
        chosen, fitted = np.split(order, [len(order) // 5])
        train, validation = train.beside(mine[fitted]), validation.beside(mine[chosen])
    return Material(train, validation, check, "public latents")


def split_rows(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The rows of ``count`` that a fit with this seed learns from, chooses by and checks with: 60 : 15 : 25."""
    order = np.random.default_rng([seed, 0]).permutation(count)
    check, validation, train = np.split(order, [count // 4, 2 * count // 5])
    return train, validation, check


def _split(part: Part, seed: int) -> tuple[Part, Part, Part]:
    train, validation, check = split_rows(len(part), seed)
    return part[train], part[validation], part[check]


def classes_of(labels: NDArray[np.integer], label: Label) -> NDArray[np.int64]:
    """The class of each row, of labels of all attributes [N, A]: int64 [N]."""
    own = labels[:, list(label.attributes)]
    return own[:, 0].astype(np.int64) if own.shape[1] == 1 else own.argmax(axis=1)


def _given(count: int, wish: Wish, labels: Mapping[str, Any]) -> NDArray[np.float64]:
    """The classes that the user gives, [N, L]; NaN where there is none."""
    by_folded = {folded(name): values for name, values in labels.items()}
    given = np.full((count, len(wish.labels)), np.nan)
    for label, column in zip(wish.labels, given.T, strict=True):
        if folded(label.name) not in by_folded:
            continue
        classes = range(len(label.classes))
        allowed = "0 or 1" if len(classes) == 2 else f"0 to {classes[-1]}"
        wrong = UsageError(
            f"the labels for {label.name} must be {count} numbers, each {allowed}, or NaN where it is not known"
        )
        try:
            values = np.asarray(by_folded[folded(label.name)], np.float64)
        except (TypeError, ValueError) as error:
            raise wrong from error
        if values.shape != (count,) or not (np.isin(values, classes) | np.isnan(values)).all():
            raise wrong
        if len(known := values[~np.isnan(values)]):
            _refuse_one_class(label, known, "samples that were given")
        column[:] = values
    return given


def _refuse_few(label: Label, values: NDArray[Any]) -> None:
    for one, name in enumerate(label.classes):
        if (count := int((values == one).sum())) < LEAST_OF_A_CLASS:
            raise UnworkablePairError(
                f"{count} own samples are {name!r} of {label.name}, and {LEAST_OF_A_CLASS} are needed to fit on own "
                "ones alone: give more, or fit on public latents too"
            )


def _refuse_one_class(label: Label, values: NDArray[Any], where: str) -> None:
    if not len(values) or values.min() == values.max():
        raise UnworkablePairError(
            f"{label.name} has one class only in the {where}: choose another label, or give samples of both classes"
        )
