"""Learning a filter on the device, for one person's wishes, in seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from privsdk.filters import Filter, rows
from privsdk.fitting import check as checking
from privsdk.fitting.asked import Asked, require_samples
from privsdk.fitting.default import fit_flow
from privsdk.fitting.engines import Choice, Engine, engine_for
from privsdk.fitting.engines.closed_form import ClosedForm
from privsdk.fitting.material import FitBundle, FitOn, Material, gather, own_samples
from privsdk.fitting.own_check import calibration, findings, releases_of_unseen, warnings, widen_gaps
from privsdk.fitting.own_labels import Extended, learn, names_of_own
from privsdk.fitting.wish import Wish, resolve
from privsdk.progress import Progress

if TYPE_CHECKING:
    from privsdk.bundle import Bundle
    from privsdk.codec import Latents
    from privsdk.filters.divergences import Divergence
    from privsdk.privatizer import Privatizer

__all__ = ["fit"]


def fit(
    bundle: Bundle,
    private: str | Sequence[str],
    utility: str | Sequence[str],
    method: Literal["flow", "minmax"] = "flow",
    fairness: float | None = None,
    a: float = 1.0,
    rho: float = 1.0,
    budget: float | Literal["auto"] | None = None,
    max_leakage: float | None = None,
    keep: str | Sequence[str] = (),
    data: NDArray[np.uint8] | Latents | None = None,
    labels: Mapping[str, Any] | None = None,
    fit_on: FitOn = "both",
    seed: int = 0,
    on_progress: Progress | None = None,
    label_aware: bool = False,
    form: Literal["linear", "nonlinear"] = "nonlinear",
    divergence: Divergence = "l2",
    scheme: Literal["dependable", "paper"] = "dependable",
    engine: Choice = "auto",
) -> Privatizer:
    """Fits a filter that hides ``private`` and keeps ``utility``, one or several of ``bundle.attributes`` or of the
    user's own ``labels``.

    ``method="flow"`` takes the scores out of the latent's code and puts a borrowed and a fair one in.
    ``method="minmax"`` is the paper's filter, trained against adversaries; ``label_aware``, ``form``, ``divergence``
    and ``scheme`` (how it is trained: dependably, or as published) are for it alone.

    - ``fairness`` is lambda, how strongly the fair utility score is kept from telling of the private label;
      where it is not given the largest at which the fair score costs a utility label at most .0055 expected accuracy
      on validation latents; a release loses about .005.
    - ``a`` in [0, 1] is the share of the draw in the borrowed score, ``rho`` in (0, 1] the share of the code
      kept.
    - ``budget`` bounds the distortion, mean ||z~ - z||^2 on validation latents (for "minmax" the
      divergence, of "chi-square" ln(1 + chi-square)).  ``"auto"`` chooses ``fairness``, ``rho`` and ``a`` by fresh
      attackers on validation latents: the most utility, then the least distortion, under ``max_leakage``.
    - ``max_leakage``: the largest leakage allowed, by the built-in check plus the bundle's gap for that label, which
      nobody has measured with "minmax" or with ``fit_on="own"``: no leakage below 1 is believed of those.
    - ``keep`` names further labels to keep.
    - ``data``, uint8 [N, H, W, 3] samples or their latents, joins the bundle's public latents.  ``labels`` says what is
      known of it: a name to N numbers, 0 or 1, NaN where it is not known (for a label of C classes 0..C-1).
      What is not given of a label that the bundle knows is drawn from its score.  A label that it does not know is
      learned from these samples, of which each class needs ten; take them as they come, and one of each person.
      ``record["check"]`` then has ``own_samples``, what was found on these by filters that had not seen them, and in
      any case ``calibration``, and ``warnings``, sentences.
    - ``fit_on``: where there are own samples, whether the filter is fitted on these and public latents ("both"), on
      "own" ones alone (a thousand at least, sixty of each class; the check is then of own ones too, also of those that
      taught a label), or on "public" ones alone, so that own samples only teach labels and say how well scores
      are calibrated.
    - ``engine`` trains what has no closed form, and the attackers of the check: "torch", "onnx" (by ONNX Runtime, which
      is always there) or, as "auto", the first of them that is installed.  They draw other random numbers, and their
      filters differ as two seeds' do.  "closed-form" leaves the couplings out, and the privatizer says that method.
    - the same ``seed`` and engine give the same filter.

    :raises UnknownLabelError: a name is none of the bundle's attributes, and no labels of it are given.
    :raises UnworkablePairError: a label is both private and utility, or has one class only, or fewer than ten samples
        of a class that the bundle does not know.
    :raises UsageError: an argument is out of its range, or belongs to the other method.
    :raises MissingExtraError: "minmax" or the engine "torch" without torch.
    :raises NotReachedError: ``budget`` or ``max_leakage`` was not reached, or fresh attackers read a private label
        in the code, or own samples tell nothing of a label of their own.
    """
    from privsdk.bundle import UNKNOWN_GAP
    from privsdk.privatizer import Privatizer

    begun = time.perf_counter()
    require_samples(fit_on, 0 if data is None else len(data))
    names = names_of_own(bundle, (private, utility, keep), labels or ())
    wish = resolve(private, utility, (*bundle.attributes, *names), bundle.groups, keep)
    asked = Asked(method, fairness, a, rho, budget, max_leakage, label_aware, form, divergence, scheme, seed, engine)
    report: Progress = on_progress or (lambda stage, done, total: None)
    trainer = engine_for(engine, method)
    own = own_samples(bundle, wish, data, labels)
    learned = learn(bundle, wish, names, own, seed)
    known: FitBundle = Extended.of(bundle, learned, seed) if learned else bundle
    material = gather(known, wish, own, seed, fit_on)
    with trainer.ready(), rows.in_blocks():
        fitted, recorded = _fitted(known, wish, material, asked, trainer, report)
        attackers = trainer.attackers(seed)
        # The bundle's gaps are of the default filter, fitted with public latents.
        measured = method == "flow" and fit_on != "own"
        gaps = known.gaps if measured else dict.fromkeys(known.gaps, UNKNOWN_GAP)
        found = checking.check(fitted, material.check, wish, seed, attackers, material.measured_on, gaps, report)
        if "code" in found:
            checking.require_clean_code(found, wish)
        if own is not None and learned:
            # The same settings, without the couplings: the small difference they make is not seen on few samples.
            again = asked
            if method == "flow":
                chosen = {name: recorded[name] for name in ("fairness", "a", "rho")}
                again = replace(asked, budget=None, **chosen)
            released = releases_of_unseen(
                bundle,
                wish,
                learned,
                own,
                seed,
                fit_on,
                lambda part, rest: _fitted(part, wish, rest, again, ClosedForm(), lambda stage, done, total: None)[0],
                report,
            )
            found["own_samples"] = findings(bundle, wish, learned, own, released, attackers, seed)
            widen_gaps(found, wish)
    found["calibration"] = calibration(bundle, wish, learned, own)
    found["warnings"] = warnings(found)
    if not measured:
        found["warnings"].append(
            f"How much more others' samples leak than {found['measured_on']} is known of the default filter alone, "
            "fitted with public latents. Of min-max filters and of own samples alone it was a lot for faces "
            "(docs/frontier.md)."
        )
    record = {
        "method": "closed-form" if trainer.name == "closed-form" else method,
        "private": list(wish.private),
        "utility": list(wish.utility),
        "own_labels": list(names),
        "label_aware": fitted.label_aware,
        "settings": {**recorded, "engine": trainer.name, "max_leakage": max_leakage, "fit_on": fit_on, "seed": seed},
        "check": found,
        "seconds": time.perf_counter() - begun,
    }
    privatizer = Privatizer(bundle, fitted, record)
    if max_leakage is not None:
        privatizer.require(max_leakage)
    return privatizer


def _fitted(
    bundle: FitBundle, wish: Wish, material: Material, asked: Asked, trainer: Engine, report: Progress
) -> tuple[Filter, dict[str, Any]]:
    """The filter, and how it was made for the record."""
    if asked.method == "flow":
        return fit_flow(bundle, wish, material, asked, trainer, report)
    from privsdk.fitting.minmax import fit_minmax

    data = material.for_minmax(wish, bundle.used)
    settings = asked.form, asked.label_aware, asked.bound, asked.divergence, asked.scheme, asked.seed
    return fit_minmax(data, *settings, report), {
        "form": asked.form,
        "label_aware": asked.label_aware,
        "divergence": asked.divergence,
        "scheme": asked.scheme,
        "budget": asked.budget,
    }
