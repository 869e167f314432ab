"""A fit that is made once: the same wish on the same bundle gets the privatizer that was fitted before."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from privsdk import __version__
from privsdk.bundle import Bundle
from privsdk.codec import Latents
from privsdk.errors import PrivatizerError
from privsdk.filters.divergences import Divergence
from privsdk.fitting import fit
from privsdk.fitting.asked import Asked, require_samples
from privsdk.fitting.engines import Choice, resolved
from privsdk.fitting.material import FitOn
from privsdk.fitting.own_labels import names_of_own
from privsdk.fitting.wish import resolve
from privsdk.privatizer import Privatizer
from privsdk.progress import Progress
from privsdk.store.cache import Cache


@dataclass(frozen=True)
class FitSettings:
    """How a filter is fitted, apart from the labels: the arguments of :func:`privsdk.fit` by those names."""

    method: Literal["flow", "minmax"] = "flow"
    fairness: float | None = None
    a: float = 1.0
    rho: float = 1.0
    budget: float | Literal["auto"] | None = None
    max_leakage: float | None = None
    label_aware: bool = False
    form: Literal["linear", "nonlinear"] = "nonlinear"
    divergence: Divergence = "l2"
    scheme: Literal["dependable", "paper"] = "dependable"
    seed: int = 0
    engine: Choice = "auto"


def check_wish(
    bundle: Bundle,
    private: str | Sequence[str],
    utility: str | Sequence[str],
    settings: FitSettings = FitSettings(),
    keep: str | Sequence[str] = (),
    own: Collection[str] = (),
    fit_on: FitOn = "both",
    samples: int = 0,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The labels to hide and those to keep (``utility`` and ``keep``), by the bundle's own names.

    ``own`` are the labels that the user gives: those that the bundle does not know may be asked for too; ``samples`` is
    how many samples of one's own there will be at most.
    Raises what :func:`fitted` refuses before any work: UnknownLabelError, UnworkablePairError and UsageError.
    """
    Asked(**asdict(settings))
    require_samples(fit_on, samples)
    names = names_of_own(bundle, (private, utility, keep), own)
    wish = resolve(private, utility, (*bundle.attributes, *names), bundle.groups, keep)
    return wish.private, wish.utility


def fitted(
    bundle: Bundle,
    private: str | Sequence[str],
    utility: str | Sequence[str],
    settings: FitSettings = FitSettings(),
    folder: Path | None = None,
    on_progress: Progress | None = None,
    keep: str | Sequence[str] = (),
    data: NDArray[np.uint8] | Latents | None = None,
    labels: Mapping[str, Any] | None = None,
    fit_on: FitOn = "both",
) -> Privatizer:
    """The privatizer that :func:`privsdk.fit` gives, from the cache where it was fitted before.

    A filter that leaks more than ``max_leakage`` is not kept.  ``folder`` is the data folder with the cache and the
    device key, the user's own without it.  What is fitted to own samples, ``data``, ``labels`` and ``fit_on`` as in
    :func:`privsdk.fit`, is not kept: whoever has them has a file of the filter.  Raises what :func:`privsdk.fit`
    raises, and StoreError where the cache cannot be used.
    """
    hidden, kept = check_wish(
        bundle, private, utility, settings, keep, labels or (), fit_on, 0 if data is None else len(data)
    )
    how = asdict(settings)
    if data is not None or labels or fit_on != "both":
        return fit(bundle, hidden, kept, data=data, labels=labels, fit_on=fit_on, on_progress=on_progress, **how)
    if settings.budget != "auto":
        del how["max_leakage"]  # asked of the filter and no part of it: such a fit does not depend on it
    cache = Cache(folder)
    wish = {
        "private": hidden,
        "utility": kept,
        # Without torch another filter is fitted: it must not stay once torch is there.
        "settings": {**how, "engine": resolved(settings.engine, settings.method)},
        "version": __version__,
    }
    kept_before = _loaded(cache.get(bundle.digest, wish), bundle)
    privatizer = kept_before or fit(bundle, hidden, kept, on_progress=on_progress, **how)
    if settings.max_leakage is not None:
        # First: whoever is told that it leaks too much finds no privatizer on the disk.
        privatizer.require(settings.max_leakage)
    if kept_before is None:
        cache.put(bundle.digest, wish, privatizer.to_bytes())
    return privatizer


def _loaded(content: bytes | None, bundle: Bundle) -> Privatizer | None:
    """The privatizer that the cache gave; None where it gave none, or a damaged one, which is fitted again."""
    try:
        return None if content is None else Privatizer.from_bytes(content, bundle)
    except PrivatizerError:
        return None
