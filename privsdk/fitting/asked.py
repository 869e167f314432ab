"""What a caller asks of a fit, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

from privsdk.errors import UsageError
from privsdk.filters.divergences import DIVERGENCES, Divergence
from privsdk.fitting.engines import Choice, resolved
from privsdk.fitting.material import FitOn

# Of fewer own samples only a handful show how fifty dimensions of code lie where a score is high, or low.
LEAST_OWN_ALONE = 1000


def require_samples(fit_on: FitOn, count: int) -> None:
    """UsageError where there is no such thing to fit on, or ``count`` own samples are too few to be fitted on alone."""
    if fit_on not in get_args(FitOn):
        raise UsageError(f"there is nothing to fit on called {fit_on!r}: choose one of {', '.join(get_args(FitOn))}")
    if fit_on == "own" and count < LEAST_OWN_ALONE:
        raise UsageError(
            f"{count} own samples are too few to fit on these alone, {LEAST_OWN_ALONE} are needed: give more, or fit "
            "on public latents too"
        )


@dataclass(frozen=True)
class Asked:
    """The settings of a fit, each in its range and of the method that it is for."""

    method: str
    fairness: float | None
    a: float
    rho: float
    budget: float | Literal["auto"] | None
    max_leakage: float | None
    label_aware: bool
    form: Literal["linear", "nonlinear"]
    divergence: Divergence
    scheme: Literal["dependable", "paper"]
    seed: int
    engine: Choice = "auto"

    def __post_init__(self) -> None:
        if self.method not in ("flow", "minmax"):
            raise UsageError(f"there is no method {self.method!r}: choose 'flow' or 'minmax'")
        if self.method == "flow":
            others = {
                "label_aware": self.label_aware,
                "form": self.form != "nonlinear",
                "divergence": self.divergence != "l2",
                "scheme": self.scheme != "dependable",
            }
        else:
            others = {"fairness": self.fairness is not None, "a": self.a != 1, "rho": self.rho != 1}
        if given := [name for name, was_given in others.items() if was_given]:
            other = "minmax" if self.method == "flow" else "flow"
            raise UsageError(f"{' and '.join(given)} is for method {other}: leave it out, or choose that method")
        if self.form not in ("linear", "nonlinear"):
            raise UsageError(f"there is no min-max filter {self.form!r}: choose 'linear' or 'nonlinear'")
        if self.form == "linear" and not self.label_aware:
            raise UsageError("the linear filter (23) takes the private label: add label_aware, or choose 'nonlinear'")
        if self.divergence not in DIVERGENCES:
            raise UsageError(f"there is no divergence {self.divergence!r}: choose one of {', '.join(DIVERGENCES)}")
        if self.scheme not in ("dependable", "paper"):
            raise UsageError(f"there is no scheme {self.scheme!r}: choose 'dependable' or 'paper'")
        resolved(self.engine, self.method)
        if self.fairness is not None and not 0 <= self.fairness < float("inf"):
            raise UsageError(f"fairness is {self.fairness}: it is 0 or more")
        if not 0 <= self.a <= 1:
            raise UsageError(f"a is {self.a}: it lies between 0 (the mean score) and 1 (a drawn one)")
        if not 0 < self.rho <= 1:
            raise UsageError(f"rho is {self.rho}: it is above 0 and at most 1 (the whole code is kept)")
        budget: object = self.budget
        if budget == "auto":
            self._check_auto()
        elif budget is not None and not (isinstance(budget, Real) and 0 < float(budget) < float("inf")):
            raise UsageError(f"the budget is {self.budget!r}: it is a number above 0, or 'auto'")
        if self.max_leakage is not None and not 0.5 <= self.max_leakage <= 1:
            raise UsageError(f"max_leakage is {self.max_leakage}: leakage lies between 0.5 (chance) and 1")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"the seed is {self.seed}: it is a whole number from 0 to 2**63 - 1")

    @property
    def bound(self) -> float | None:
        """The distortion budget, where it is a number."""
        return None if self.budget is None or self.budget == "auto" else float(self.budget)

    def _check_auto(self) -> None:
        if self.method != "flow":
            raise UsageError("budget='auto' is for method flow: give a number, or choose that method")
        if self.max_leakage is None:
            raise UsageError(
                "budget='auto' stays under max_leakage: give that too, or leave the budget out, which keeps the "
                "utility to about .005 and says what that leaves"
            )
        if self.fairness is not None or self.a != 1 or self.rho != 1:
            raise UsageError("budget='auto' chooses fairness, a and rho: leave these out, or the budget")
