"""What is audited: samples with labels in disjoint parts, and how each part is released."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from privsdk import __version__
from privsdk.auditing.forms import CODE, COLUMNS, ENCODED, LATENTS, LIKELIHOODS, PIXELS
from privsdk.auditing.knowing import code, log_likelihoods
from privsdk.bundle import Bundle
from privsdk.codec import Latents
from privsdk.errors import PrivatizerError, UsageError
from privsdk.filters.flow import FlowFilter
from privsdk.fitting.material import classes_of, split_rows
from privsdk.fitting.wish import Wish, resolve
from privsdk.names import folded
from privsdk.privatizer import Privatizer

Classes = NDArray[np.int64]
Forms = Mapping[str, NDArray[Any]]
"""Releases in each of several forms, [N, ...]."""

VALIDATION_SHARE = 4  # of people that attackers are tuned on, one in so many
NEVER_SAID = -1
OTHERS, DRAWS_OF_OTHERS = 4000, 2  # whom an attacker who has the filter tries it on, and how often
TRIED = 1000  # these draws have seeds of their own


@dataclass(frozen=True, eq=False)
class Samples:
    """N originals, or what is known of them.

    ``labels`` are int64 [N] of each label, -1 where it was not said; ``people`` int64 [N] says whose each is.
    ``latents`` and ``pixels`` (uint8 [N, *sample_shape]) are None where the originals are not there in that form.
    ``released`` is what another tool made of them.
    """

    labels: Mapping[str, Classes]
    people: NDArray[np.int64]
    latents: Latents | None = None
    pixels: NDArray[np.uint8] | None = None
    released: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, rows: NDArray[Any] | slice) -> Samples:
        return Samples(
            {name: values[rows] for name, values in self.labels.items()},
            self.people[rows],
            None if self.latents is None else self.latents[rows],
            None if self.pixels is None else self.pixels[rows],
            None if self.released is None else self.released[rows],
        )


class Releasing(Protocol):
    """How samples are released."""

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms in which attackers see them, that which tells most readily first."""
        ...

    def release(self, samples: Samples, seed: int, forms: Sequence[str]) -> Forms:
        """Releases of ``samples`` in these forms, with random choices of their own for each seed."""
        ...

    def unfiltered(self, samples: Samples, seed: int) -> NDArray[Any] | None:
        """The originals in the first form; None where they are not there."""
        ...


@dataclass(frozen=True, eq=False)
class Case:
    """An audit's subject.

    ``private`` and ``utility`` are the labels with the names of their classes.  ``train`` are samples whose releases
    attackers learn from, as from a training partition, None where there are none; they are tuned on ``validation`` and
    scored on ``test``; no sample and no person is in two of them.  ``checked`` is what may leak on real samples of a
    private label by what was measured before, empty where ``test`` are real samples.  ``digest`` tells cases apart.
    """

    subject: str
    measured_on: str
    private: Mapping[str, tuple[str, ...]]
    utility: Mapping[str, tuple[str, ...]]
    train: Samples | None
    validation: Samples
    test: Samples
    releasing: Releasing
    checked: Mapping[str, float]
    digest: str
    bundle: Bundle | None = None
    privatizer: Privatizer | None = None
    notes: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ByPrivatizer:
    """Releases of a privatizer; ``others`` are those on whom an attacker tries it, None where there are none."""

    privatizer: Privatizer
    others: Samples | None

    @property
    def forms(self) -> tuple[str, ...]:
        codes = (CODE,) if isinstance(self.privatizer.filter, FlowFilter) else ()
        likelihoods = (LIKELIHOODS,) if self.others is not None else ()
        return (LATENTS, *codes, *likelihoods, *((ENCODED, PIXELS) if self.pictures else ()))

    @property
    def pictures(self) -> bool:
        """Whether samples are pictures: of a height and a width."""
        return len(self.privatizer.bundle.sample_shape) > 1

    def release(self, samples: Samples, seed: int, forms: Sequence[str]) -> Forms:
        z = self.perturbed(samples, seed)
        found: dict[str, NDArray[Any]] = {LATENTS: z}
        if CODE in forms and isinstance(self.privatizer.filter, FlowFilter):
            found[CODE] = code(self.privatizer.filter, z)
        if LIKELIHOODS in forms and self.others is not None:
            others = self.others[:OTHERS]
            labels = np.stack([others.labels[name] for name in self.privatizer.private], axis=1)
            tried = np.stack([self.perturbed(others, seed + TRIED + draw) for draw in range(DRAWS_OF_OTHERS)])
            combined = np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)
            found[LIKELIHOODS] = log_likelihoods(z, tried, combined)
        if PIXELS in forms or ENCODED in forms:
            found[PIXELS] = self.privatizer.bundle.decode(z)
        if ENCODED in forms:
            found[ENCODED] = self.privatizer.bundle.encode(found[PIXELS]).mean
        return {form: found[form] for form in forms}

    def perturbed(self, samples: Samples, seed: int, private: NDArray[Any] | None = None) -> NDArray[np.float32]:
        """Perturbed latents; a label-aware filter is told ``private``, the true labels without it."""
        latents = there(samples.latents)
        draws = np.random.default_rng([seed, 7]).integers(0, 2**63, len(samples), dtype=np.uint64)
        if self.privatizer.label_aware and private is None:
            private = np.stack([samples.labels[name] for name in self.privatizer.private], axis=1)
        return self.privatizer.perturb(latents, private, draws)

    def unfiltered(self, samples: Samples, seed: int) -> NDArray[np.float32]:
        """Posterior samples, as a server would see them without a filter."""
        latents = there(samples.latents)
        noise = np.random.default_rng([seed, 8]).standard_normal(latents.mean.shape, np.float32)
        return (latents.mean + np.sqrt(latents.variance) * noise).astype(np.float32)


@dataclass(frozen=True, eq=False)
class ByAnotherTool:
    """Releases that are there already: the same for every seed."""

    pictures: bool
    bundle: Bundle | None

    @property
    def forms(self) -> tuple[str, ...]:
        if not self.pictures:
            return (COLUMNS,)
        return (ENCODED, PIXELS) if self.bundle is not None else (PIXELS,)

    def release(self, samples: Samples, seed: int, forms: Sequence[str]) -> Forms:
        released = there(samples.released)
        found = {COLUMNS: released, PIXELS: released}
        if ENCODED in forms and self.bundle is not None:
            found[ENCODED] = self.bundle.encode(released).mean
        return {form: found[form] for form in forms}

    def unfiltered(self, samples: Samples, seed: int) -> NDArray[Any] | None:
        """The originals in the form that attackers are strongest on."""
        if samples.pixels is None:
            return None
        return samples.pixels if self.bundle is None else self.bundle.encode(samples.pixels).mean


def of_public_latents(privatizer: Privatizer) -> Case:
    """A privatizer's releases of public latents: those it was fitted on, chosen by, and the quarter it never saw.

    :raises UsageError: a label is the user's own, which public latents do not show.
    :raises PrivatizerError: its record does not say with which seed it was fitted.
    """
    bundle, record = privatizer.bundle, privatizer.record
    if own := record.get("own_labels"):
        raise UsageError(
            f"{own[0]} is a label of your own, which public latents do not show: audit it on labelled samples of yours"
        )
    fitted_with = record.get("settings", {}).get("seed")
    if not isinstance(fitted_with, int):
        raise PrivatizerError("the record does not say with which seed it was fitted, and on what: fit it again")
    wish = resolve(privatizer.private, privatizer.utility, bundle.attributes, bundle.groups)
    everyone = public_samples(bundle, wish)
    train, validation, test = (everyone[rows] for rows in split_rows(len(everyone), fitted_with))
    checked = {label: found["leakage"] + found["gap"] for label, found in record["check"]["private"].items()}
    return Case(
        f"a privatizer that hides {' and '.join(wish.private)} and keeps {' and '.join(wish.utility)}",
        "public latents",
        {label.name: label.classes for label in wish.private_labels},
        {label.name: label.classes for label in wish.utility_labels},
        train,
        validation,
        test,
        ByPrivatizer(privatizer, train),
        checked,
        _digest("public latents", *_identified(privatizer, everyone)),
        bundle,
        privatizer,
        notes=(
            "Public latents are of nobody: drawn from the bundle's public flow, with labels drawn from its scores. "
            "Attackers learned from releases of those that the filter was fitted on and chosen by, and were scored on "
            "the quarter that no choice has seen.",
        ),
        limits=(
            "On public latents a label is what the bundle's score of it says, so attackers cannot find what the score "
            "misses: on real people more may leak. The gap that was measured for this bundle is added.",
            "Public latents are nobody's, and no two are of one person: albums, and the other photo of a person, were "
            "not measured.",
        ),
    )


def of_samples(
    privatizer: Privatizer,
    data: NDArray[np.uint8] | Latents,
    labels: Mapping[str, Any],
    people: Sequence[Any] | NDArray[Any] | None = None,
) -> Case:
    """A privatizer's releases of samples, uint8 [N, *sample_shape], or of their latents.

    ``labels`` has for each private and utility label, and for whichever others, N classes; a sample without one of the
    former (NaN) is left out.  ``people`` says whose each is; without it each is somebody else's.

    :raises UsageError: labels that do not fit, are missing, or of which too few are of one class.
    """
    bundle = privatizer.bundle
    own = tuple(privatizer.record.get("own_labels") or ())
    wish = resolve(privatizer.private, privatizer.utility, (*bundle.attributes, *own), bundle.groups)
    needed = {label.name: label.classes for label in wish.labels}
    read = _labels(labels, needed, len(data))
    whose = _people(people, len(data))
    pixels = data if isinstance(data, np.ndarray) else None
    latents = bundle.encode(data) if isinstance(data, np.ndarray) else data
    rows = np.flatnonzero(np.all([read[name] != NEVER_SAID for name in needed], axis=0))
    samples = Samples(read, whose, latents, pixels)[rows]
    notes, limits = [], []
    if len(rows) < len(data):
        notes.append(f"{len(data) - len(rows)} samples lack one of the labels and were left out.")
    if own:
        test, validation = _apart(samples, wish.private[0])
        train = None
        notes.append("Attackers were tuned on a quarter of the people, and scored on the others in five folds.")
    else:
        public = public_samples(bundle, wish)
        fit_rows, validation_rows, _ = split_rows(len(public), privatizer.record.get("settings", {}).get("seed", 0))
        train, validation, test = public[fit_rows], public[validation_rows], samples
        notes.append(
            "Attackers learned from releases of public latents, and, in five folds, among the releases of these "
            "samples by other people; they were tuned on releases of public latents."
        )
    limits.append(
        "Whether encoder, scores or filter have learned from these people cannot be told here: of their own training "
        "people they are right by construction, so give samples of people whom they have never seen."
    )
    if people is None:
        limits.append(
            "Nobody said who is on which sample, so each counts as another person's: intervals are too narrow and "
            "attackers too strong where they are not, and albums were not measured."
        )
    return Case(
        f"a privatizer that hides {' and '.join(wish.private)} and keeps {' and '.join(wish.utility)}",
        "the samples given",
        {label.name: label.classes for label in wish.private_labels},
        {label.name: label.classes for label in wish.utility_labels},
        train,
        validation,
        test,
        ByPrivatizer(privatizer, train),
        {},
        _digest("samples", *_identified(privatizer, samples), latents.mean, *samples.labels.values(), whose),
        bundle,
        privatizer,
        tuple(notes),
        tuple(limits),
    )


def of_released(
    released: NDArray[Any],
    labels: Mapping[str, Any],
    private: str | Sequence[str],
    utility: str | Sequence[str],
    originals: NDArray[Any] | None = None,
    people: Sequence[Any] | NDArray[Any] | None = None,
    bundle: Bundle | None = None,
) -> Case:
    """What any tool released: images, uint8 [N, H, W, 3] or [N, H, W], or rows of numbers, [N, K].

    ``originals`` are what they were made of, in the same form and order.  With ``bundle`` the images are also encoded
    again and attacked so.

    :raises UsageError: arrays or labels that do not fit, or of which too few are of one class.
    """
    pictures = released.dtype == np.uint8 and released.ndim in (3, 4)
    if not pictures and (released.ndim != 2 or not np.issubdtype(released.dtype, np.number)):
        raise UsageError(
            f"releases are images, uint8 [N, H, W, 3] or [N, H, W], or rows of numbers [N, K], not {released.dtype} "
            f"{list(released.shape)}"
        )
    if not np.isfinite(released).all():
        raise UsageError("the releases hold numbers that are not finite: leave those rows out")
    if originals is not None and originals.shape != released.shape:
        raise UsageError(
            f"the originals are {list(originals.shape)}, the releases {list(released.shape)}: give one of each, in the "
            "same order"
        )
    hidden, kept = ((names,) if isinstance(names, str) else tuple(names) for names in (private, utility))
    if not hidden or not kept:
        raise UsageError("say which label is private and which is kept: private=, utility=")
    if both := {*map(folded, hidden)} & {*map(folded, kept)}:
        raise UsageError(f"{min(both)} cannot be private and kept at once")
    by_folded = {folded(name): values for name, values in labels.items()}
    needed = {name: _class_names(name, by_folded.get(folded(name))) for name in (*hidden, *kept)}
    read = _labels(labels, needed, len(released))
    whose = _people(people, len(released))
    rows = np.flatnonzero(np.all([read[name] != NEVER_SAID for name in needed], axis=0))
    if bundle is not None and (not pictures or released.shape[1:] != bundle.sample_shape):
        bundle = None
    table = released if pictures else released.astype(np.float64)
    samples = Samples(read, whose, None, originals, table)[rows]
    test, validation = _apart(samples, hidden[0])
    notes = ["Attackers were tuned on a quarter of the people, and scored on the others in five folds by person."]
    if len(rows) < len(released):
        notes.append(f"{len(released) - len(rows)} releases lack one of the labels and were left out.")
    limits = [
        "The tool that made these releases is not known here: attackers who know it, who ask it for many releases of "
        "one sample, or who give it wrong labels were not tried."
    ]
    if originals is None:
        limits.append("The originals are not there: what was lost, and who is recognised, was not measured.")
    if people is None:
        limits.append("Nobody said who is on which release, so each counts as another person's.")
    return Case(
        "what another tool released",
        "the releases given",
        {name: needed[name] for name in hidden},
        {name: needed[name] for name in kept},
        None,
        validation,
        test,
        ByAnotherTool(pictures, bundle),
        {},
        _digest("released", released, *read.values(), whose),
        bundle,
        None,
        tuple(notes),
        tuple(limits),
    )


def public_samples(bundle: Bundle, wish: Wish) -> Samples:
    """Public latents with the labels of the wish and all attributes."""
    public = bundle.public
    labels = {name: public.labels[:, column].astype(np.int64) for column, name in enumerate(bundle.attributes)}
    labels |= {label.name: classes_of(public.labels, label) for label in wish.labels}
    latents = Latents(public.mean.astype(np.float32), public.variance.astype(np.float32))
    return Samples(labels, np.arange(len(public)), latents)


def there(part: Any) -> Any:
    """What a case must have for this kind of release; UsageError where it has not."""
    if part is None:
        raise UsageError("these samples are not there in the form that this release needs: give data= or released=")
    return part


def _apart(samples: Samples, private: str) -> tuple[Samples, Samples]:
    """Three quarters of the people to score on, and a quarter to tune on."""
    labels = samples.labels[private]
    if np.bincount(np.maximum(labels, 0)).min() < VALIDATION_SHARE:
        return samples, samples[:0]  # refused, with its reason, before any attack
    splits = StratifiedGroupKFold(VALIDATION_SHARE, shuffle=True, random_state=0)
    test, validation = next(iter(splits.split(labels, labels, samples.people)))
    return samples[test], samples[validation]


def _labels(labels: Mapping[str, Any], needed: Mapping[str, tuple[str, ...]], count: int) -> dict[str, Classes]:
    """Classes int64 [N] of each label by its name, -1 where none is said; of those needed by the name they have there.

    Others of more than two classes are left out.
    """
    names = {folded(name): name for name in needed}
    found: dict[str, Classes] = {}
    for given, values in labels.items():
        name = names.get(folded(given), given)
        try:
            numbers = np.asarray(values, np.float64)
        except (TypeError, ValueError) as error:
            raise UsageError(f"the labels for {name} are no numbers ({error}): give classes 0, 1, ...") from error
        if numbers.shape != (count,):
            raise UsageError(f"{name} has labels {list(numbers.shape)} for {count} samples: give one for each")
        said = numbers[~np.isnan(numbers)]
        classes = len(needed.get(name, (0, 1)))
        if not np.isin(said, range(classes)).all():
            if name not in needed:
                continue
            raise UsageError(f"the labels for {name} must be 0 to {classes - 1}, or NaN where it is not known")
        found[name] = np.where(np.isnan(numbers), NEVER_SAID, np.nan_to_num(numbers)).astype(np.int64)
    if missing := [name for name in needed if name not in found]:
        raise UsageError(f"there are no labels for {' and '.join(missing)}: give them for every sample")
    return found


def _class_names(name: str, values: Any) -> tuple[str, ...]:
    """Names of the classes of a label that no bundle describes."""
    try:
        largest = int(np.nanmax(np.asarray(values, np.float64))) if values is not None else 1
    except (TypeError, ValueError):
        largest = 1
    return (f"not {name}", name) if largest <= 1 else tuple(f"{name} {one}" for one in range(largest + 1))


def _people(people: Sequence[Any] | NDArray[Any] | None, count: int) -> NDArray[np.int64]:
    if people is None:
        return np.arange(count)
    if len(people) != count:
        raise UsageError(f"{len(people)} people were named for {count} samples: name one for each")
    return np.unique(np.asarray(people), return_inverse=True)[1].reshape(-1).astype(np.int64)


def _identified(privatizer: Privatizer, samples: Samples) -> list[bytes | NDArray[Any]]:
    """What tells a privatizer from another: its record, and how it releases."""
    few = samples[:64]
    record = json.dumps(privatizer.record, sort_keys=True, default=str).encode()
    return [privatizer.bundle.digest.encode(), record, ByPrivatizer(privatizer, None).perturbed(few, 0)]


def _digest(kind: str, *content: bytes | NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{kind} {__version__}".encode())
    for one in content:
        digest.update(one if isinstance(one, bytes) else f"{one.dtype.str} {one.shape}".encode())
        digest.update(b"" if isinstance(one, bytes) else np.ascontiguousarray(one).tobytes())
    return digest.hexdigest()
