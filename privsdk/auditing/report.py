"""What an audit found, with its numbers as attributes, in words, as JSON and as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import NotReachedError, UsageError

SCHEMA = 2
# An end of the interval that is farther from the leakage says nothing: of so few an attacker may tell all, or nothing.
WIDEST = 0.1

NOT_IN_JSON = ("pictures", "map")  # they are for the page

Interval = tuple[float, float]


@dataclass(frozen=True)
class Attacked:
    """What one attacker found in one form of the releases under one protocol; means over the seeds.

    ``form`` is what it was trained on ("latents", "pixels", "pixels encoded again", "code", "columns"), ``samples``
    how many releases of it.  ``interval`` is that of ``leakage`` with 95%, for all attackers at once.
    ``balanced_accuracy`` is at the attacker's own threshold, ``best_balanced_accuracy`` at the one that was best on
    other releases.
    """

    attacker: str
    form: str
    protocol: str
    samples: int
    leakage: float
    interval: Interval
    accuracy: float
    balanced_accuracy: float
    best_balanced_accuracy: float


@dataclass(frozen=True)
class Subgroup:
    """What the strongest attacker tells among some of the releases; ``interval`` holds for all that were looked at."""

    name: str
    samples: int
    leakage: float
    interval: Interval


@dataclass(frozen=True)
class Information:
    """How much releases tell of a label, in nats; of ``entropy`` that there is to tell.

    ``cross_entropy`` is H(y) - the strongest attacker's cross-entropy, a lower bound, (18)-(22) of Chen et al. (2019);
    ``ksg`` and ``local`` are the estimates of Kraskov et al. (2004), in the form for classes of Ross (2014), and of
    Gao et al. (2015), from what several attackers say.  ``least_error`` is Fano's bound: with the largest of the three
    nobody errs less often than that.  ``at_least`` is his bound the other way: what must have been told, as often as
    the most accurate attacker is right.
    """

    entropy: float
    cross_entropy: float
    ksg: float
    local: float
    least_error: float
    at_least: float


@dataclass(frozen=True)
class Told:
    """What is told of a private label, or of the combination of several, by the strongest attacker.

    ``leakage`` is its mean over the seeds of max(AUROC, 1 - AUROC), of more than two classes that of the one told
    best.  Its ``interval`` (95%) is corrected for having looked for the strongest of many: where nothing is told, it
    holds .5 in 95 of 100 audits.  ``on_real_samples`` is what it may be there.  ``ceiling`` is what the true utility
    labels alone tell.

    ``accuracy`` is that of the most accurate attacker, ``either_way`` max(accuracy, 1 - accuracy) over all,
    ``accuracy_interval`` corrected as the leakage's; ``base_rate`` the share of the commonest class.
    ``true_positive_rates`` has for each false-positive rate what the strongest attacker detects, None where fewer than
    10 false positives are expected.  ``confusion`` counts releases, a row for each true class of ``classes`` and a
    column for each that the strongest attacker says.  ``surest`` is how often it is right in the 2% of releases of
    which it is surest, with ``surest_interval``.  ``subgroups`` are sorted, the worst first.  ``attacks`` are all, the
    strongest first.
    """

    classes: tuple[str, ...]
    leakage: float
    interval: Interval
    on_real_samples: float
    ceiling: float
    accuracy: float
    accuracy_interval: Interval
    either_way: float
    balanced_accuracy: float
    best_balanced_accuracy: float
    base_rate: float
    true_positive_rates: Mapping[str, float | None]
    confusion: tuple[tuple[int, ...], ...]
    surest: float
    surest_interval: Interval
    subgroups: tuple[Subgroup, ...]
    information: Information
    attacks: tuple[Attacked, ...]


@dataclass(frozen=True)
class Kept:
    """How well a utility label is read by a classifier trained afresh, means over the seeds.

    ``lost`` is the accuracy before less that after, with its 95% ``interval``; before are samples as a server would
    see them without a filter.  Both are None where the originals are not there.
    """

    accuracy: float
    base_rate: float
    accuracy_unfiltered: float | None
    lost: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Attribute:
    """AUROC with which attackers trained afresh infer an attribute ``before`` and ``after`` (None: no originals)."""

    name: str
    before: float | None
    after: float


@dataclass(frozen=True)
class Several:
    """What many releases tell together of a private label.

    ``kind`` is "one sample, choices keyed", "one sample, choices redrawn", "burst" (samples nearly equal) or "album"
    (different samples of one person); ``form`` what is averaged; ``count`` how many; ``groups`` how many such groups
    attackers were scored on.  ``leakage`` is that of the strongest attacker, with its 95% ``interval``; ``ceiling``
    what the true utility labels of so many tell, None but for albums.
    """

    label: str
    kind: str
    form: str
    count: int
    groups: int
    leakage: float
    interval: Interval
    ceiling: float | None


@dataclass(frozen=True)
class WrongLabel:
    """How well attackers tell the true label of samples that were released with a wrong one."""

    label: str
    leakage: float
    accuracy: float


@dataclass(frozen=True)
class Linked:
    """How well a person is recognised among ``crowd`` originals by a distance.

    ``by`` names the distance, ``to`` what is sought: "the original", or "another photo of the person".  ``first`` is
    the share of releases whose own comes first (chance: ``chance``), ``median_rank`` the median of its place, from 1.
    """

    by: str
    to: str
    crowd: int
    first: float
    chance: float
    median_rank: float


@dataclass(frozen=True)
class Fidelity:
    """What releases look like beside their originals: means over ``samples``.

    ``similarity`` is SSIM (Wang et al. 2004), 1 for the same image; ``signal_to_noise`` PSNR in decibels; ``faces``
    and ``faces_before`` the share of releases and of originals in which a face is found, None where samples are no
    faces.
    """

    samples: int
    similarity: float
    signal_to_noise: float
    faces: float | None
    faces_before: float | None


@dataclass(frozen=True)
class Frontier:
    """The best accuracy of the utility label for each leakage of the private one, by true labels alone.

    ``leakage`` rises to the label ceiling, where all of the utility label is kept.  ``beyond`` is how much less could
    have leaked at the accuracy that was kept, ``short`` how much more could have been kept at what leaks.
    """

    private: str
    utility: str
    leakage: tuple[float, ...]
    accuracy: tuple[float, ...]
    beyond: float
    short: float


@dataclass(frozen=True, eq=False)
class Pictures:
    """Samples before and after, uint8 ``[N, H, W, 3]``; ``before`` is None where originals are left out."""

    before: NDArray[np.uint8] | None
    after: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Map:
    """Latents before and after in the plane, by UMAP (McInnes et al. 2018), fitted to both together.

    ``before`` (None without originals) and ``after`` are float32 ``[N, 2]``, ``classes`` int64 ``[N]`` those of
    ``label``, whose names are ``names``.
    """

    label: str
    names: tuple[str, ...]
    classes: NDArray[np.int64]
    before: NDArray[np.float32] | None
    after: NDArray[np.float32]


@dataclass(frozen=True)
class Report:
    """An audit's result.

    ``subject`` says in words what was audited, ``measured_on`` on what ("public latents", "the samples given", "the
    releases given"), ``samples`` and ``people`` how many releases, and of how many people, attackers were scored on.
    ``bundle``, ``digest`` and ``method`` are None for what another tool released.  ``doubt`` is why nothing can be
    said, None where it can.  ``private`` and ``utility`` are what was found of each label.  ``notes`` say how it was
    measured, ``limits`` what could not be measured or known, and why.  ``pictures`` and ``map`` are for the page and
    not in the JSON.
    """

    subject: str
    bundle: str | None
    digest: str | None
    method: str | None
    measured_on: str
    samples: int
    people: int
    seeds: tuple[int, ...]
    quick: bool
    seconds: float = field(compare=False)  # the same audit takes now more, now less
    doubt: str | None
    private: Mapping[str, Told]
    utility: Mapping[str, Kept]
    attributes: tuple[Attribute, ...]
    several: tuple[Several, ...]
    wrong_labels: tuple[WrongLabel, ...]
    linked: tuple[Linked, ...]
    fidelity: Fidelity | None
    frontier: Frontier | None
    notes: tuple[str, ...]
    limits: tuple[str, ...]
    pictures: Pictures | None = None
    map: Map | None = None

    @property
    def worst(self) -> tuple[str, Told]:
        """The private label of which most is told, and what."""
        return max(self.private.items(), key=lambda one: (one[1].on_real_samples, one[1].leakage))

    @property
    def conclusive(self) -> bool:
        """Whether anything can be said: nothing is in doubt, and no interval reaches farther than .1."""
        return self.doubt is None and all(
            max(told.interval[1] - told.leakage, told.leakage - told.interval[0]) <= WIDEST
            for told in self.private.values()
        )

    @property
    def verdict(self) -> str:
        """One sentence."""
        label, worst = self.worst
        low, high = worst.interval
        scale = "(0.5 is a coin, 1 is certainty)"
        found = f"an AUROC of {worst.leakage:.3f} ({low:.3f} to {high:.3f})"
        if self.doubt is not None:
            return f"It cannot be told how well {label} is hidden: {self.doubt}."
        if not self.conclusive:
            return (
                f"Too few releases to say how well {label} can be told: the strongest attacker has {found} on "
                f"{self.samples} samples of {self.measured_on} {scale}."
            )
        if worst.on_real_samples >= 1 > worst.leakage:
            return (
                f"The strongest attacker tells {label} from {self.measured_on} with {found} {scale}, and nobody knows "
                "how much better from real samples."
            )
        if worst.on_real_samples > worst.leakage:
            return (
                f"The strongest attacker tells {label} with {found} on {self.measured_on}, and of up to "
                f"{worst.on_real_samples:.3f} on real samples {scale}."
            )
        return f"The strongest attacker tells {label} with {found} on {self.measured_on} {scale}."

    def require(self, max_leakage: float | None = None, min_utility: float | None = None) -> None:
        """Raises NotReachedError where a private label may leak more on real samples, where too few releases were there
        to say so, or where a utility label is read with a smaller accuracy; UsageError for a bound that is none.
        """
        check_bounds(max_leakage, min_utility)
        if (max_leakage, min_utility) != (None, None) and not self.conclusive:
            raise NotReachedError(f"{self.verdict} Whether what was asked for is met is not known: give other samples")
        for label, told in self.private.items():
            if max_leakage is not None and told.on_real_samples > max_leakage:
                raise NotReachedError(
                    f"{label} may leak {told.on_real_samples:.3f} on real samples ({told.leakage:.3f} on "
                    f"{self.measured_on}), more than the {max_leakage:.3f} asked for: allow more, or fit with a larger "
                    "fairness or a smaller rho"
                )
        for label, kept in self.utility.items():
            if min_utility is not None and kept.accuracy < min_utility:
                raise NotReachedError(
                    f"{label} is named rightly in {kept.accuracy:.3f} of the releases, less than the {min_utility:.3f} "
                    "asked for: ask for less, or fit with a smaller fairness"
                )

    def without_originals(self) -> Report:
        """The same, without the pictures of originals."""
        if self.pictures is None:
            return self
        return replace(self, pictures=Pictures(None, self.pictures.after))

    def to_json(self) -> dict[str, Any]:
        """All numbers, as JSON has them; ``schema`` is the version of this form (docs/audit.schema.json)."""
        plain = asdict(replace(self, pictures=None, map=None))
        for name in NOT_IN_JSON:
            del plain[name]
        return {"schema": SCHEMA, "verdict": self.verdict, "conclusive": self.conclusive, **plain}

    def in_words(self) -> str:
        """Plain text for a terminal, of the main figures."""
        from privsdk.auditing.words import in_words

        return in_words(self)

    def to_html(self) -> str:
        """One page that needs no network and no other file.

        :raises MissingExtraError: Jinja is not there.
        """
        from privsdk.auditing.page import page

        return page(self)


def check_bounds(max_leakage: float | None = None, min_utility: float | None = None) -> None:
    """Raises UsageError for a bound that is none."""
    if max_leakage is not None and not 0.5 <= max_leakage <= 1:
        raise UsageError(f"max_leakage is {max_leakage}: leakage lies between 0.5 (chance) and 1")
    if min_utility is not None and not 0 <= min_utility <= 1:
        raise UsageError(f"min_utility is {min_utility}: an accuracy lies between 0 and 1")
