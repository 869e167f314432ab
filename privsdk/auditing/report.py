"""What an audit found, with its numbers as attributes, and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from privsdk.errors import NotReachedError, UsageError

SCHEMA = 1


@dataclass(frozen=True)
class Attacked:
    """What one attacker found under one protocol; means over the seeds."""

    attacker: str
    protocol: str
    leakage: float
    accuracy: float
    balanced_accuracy: float


@dataclass(frozen=True)
class Told:
    """What is told of a private label, or of the combination of several, by the strongest attacker.

    ``leakage`` is its mean over the seeds of max(AUROC, 1 - AUROC), of more than two classes that of the one told
    best, with its 95% ``interval``; ``on_real_samples`` is what it may be there: what the fit's own check found and the
    bundle's gap beyond that, or the leakage here where that is more.  ``ceiling`` is what the true utility labels alone
    tell.  ``accuracy`` and ``balanced_accuracy`` are the largest of any attacker at its own threshold;
    ``base_rate`` is the share of the commonest class.  ``attacks`` are all of them, the strongest first.
    """

    leakage: float
    interval: tuple[float, float]
    on_real_samples: float
    ceiling: float
    accuracy: float
    balanced_accuracy: float
    base_rate: float
    attacks: tuple[Attacked, ...]


@dataclass(frozen=True)
class Kept:
    """How well a utility label is read by a classifier trained afresh, means over the seeds.

    ``lost`` is the accuracy before less that after, with its 95% ``interval``; before are posterior samples, as a
    server would see them.
    """

    accuracy: float
    accuracy_unfiltered: float
    lost: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Report:
    """An audit's result.

    ``measured_on`` says what was released and attacked, ``samples`` how many releases attackers were scored on, and
    ``private`` and ``utility`` what was found of each label.
    """

    bundle: str
    digest: str
    method: str
    measured_on: str
    samples: int
    seeds: tuple[int, ...]
    private: Mapping[str, Told]
    utility: Mapping[str, Kept]

    @property
    def verdict(self) -> str:
        """One sentence."""
        label, worst = max(self.private.items(), key=lambda one: one[1].on_real_samples)
        scale = "(.5 is a coin, 1 is certainty)"
        if worst.on_real_samples >= 1:
            return (
                f"The strongest attacker tells {label} from {self.measured_on} with an AUROC of {worst.leakage:.3f} "
                f"{scale}, and nobody knows how much better from real samples."
            )
        low, high = worst.interval
        return (
            f"The strongest attacker tells {label} with an AUROC of {worst.leakage:.3f} ({low:.3f} to {high:.3f}) on "
            f"{self.measured_on}, and of up to {worst.on_real_samples:.3f} on real samples {scale}."
        )

    def require(self, max_leakage: float | None = None, min_utility: float | None = None) -> None:
        """Raises NotReachedError where a private label may leak more on real samples, or a utility label is read with a
        smaller accuracy; UsageError for a bound that is none.
        """
        if max_leakage is not None and not 0.5 <= max_leakage <= 1:
            raise UsageError(f"max_leakage is {max_leakage}: leakage lies between 0.5 (chance) and 1")
        if min_utility is not None and not 0 <= min_utility <= 1:
            raise UsageError(f"min_utility is {min_utility}: an accuracy lies between 0 and 1")
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

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON has it; ``schema`` is the version of this form."""
        return {"schema": SCHEMA, "verdict": self.verdict, **asdict(self)}
