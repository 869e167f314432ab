"""A fit that is made once: the same wish on the same bundle gets the privatizer that was fitted before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from privsdk import __version__
from privsdk.bundle import Bundle
from privsdk.errors import PrivatizerError
from privsdk.filters.divergences import Divergence
from privsdk.fitting import fit
from privsdk.fitting.asked import Asked
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
    budget: float | None = None
    max_leakage: float | None = None
    label_aware: bool = False
    form: Literal["linear", "nonlinear"] = "nonlinear"
    divergence: Divergence = "l2"
    scheme: Literal["dependable", "paper"] = "dependable"
    seed: int = 0


def check_wish(
    bundle: Bundle,
    private: str | Sequence[str],
    utility: str | Sequence[str],
    settings: FitSettings = FitSettings(),
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The labels to hide and those to keep, by the bundle's own names.

    Raises what :func:`fitted` refuses before any work: UnknownLabelError, UnworkablePairError and UsageError.
    """
    Asked(**asdict(settings))
    wish = resolve(private, utility, bundle.attributes, bundle.groups)
    return wish.private, wish.utility


def fitted(
    bundle: Bundle,
    private: str | Sequence[str],
    utility: str | Sequence[str],
    settings: FitSettings = FitSettings(),
    folder: Path | None = None,
    on_progress: Progress | None = None,
) -> Privatizer:
    """The privatizer that :func:`privsdk.fit` gives, from the cache where it was fitted before.

    A filter that leaks more than ``max_leakage`` is not kept.  ``folder`` is the data folder with the cache and the
    device key, the user's own without it.  Raises what :func:`privsdk.fit`
    raises, and StoreError where the cache cannot be used.
    """
    hidden, kept = check_wish(bundle, private, utility, settings)
    how = asdict(settings)
    max_leakage = how.pop("max_leakage")  # asked of the filter and no part of it: the fit does not depend on it
    cache = Cache(folder)
    wish = {
        "private": hidden,
        "utility": kept,
        "settings": how,
        "version": __version__,
        # Without torch another filter is fitted: it must not stay once torch is there.
        "torch": find_spec("torch") is not None,
    }
    kept_before = _loaded(cache.get(bundle.digest, wish), bundle)
    privatizer = kept_before or fit(bundle, hidden, kept, on_progress=on_progress, **how)
    if max_leakage is not None:
        privatizer.require(max_leakage)  # first: whoever is told that it leaks too much finds no privatizer on the disk
    if kept_before is None:
        cache.put(bundle.digest, wish, privatizer.to_bytes())
    return privatizer


def _loaded(content: bytes | None, bundle: Bundle) -> Privatizer | None:
    """The privatizer that the cache gave; None where it gave none, or a damaged one, which is fitted again."""
    try:
        return None if content is None else Privatizer.from_bytes(content, bundle)
    except PrivatizerError:
        return None
