"""A fit that is made once: the same wish on the same bundle gets the privatizer that was fitted before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from privsdk import __version__
from privsdk.bundle import Bundle
from privsdk.errors import PrivatizerError
from privsdk.fitting import fit
from privsdk.names import match_all
from privsdk.privatizer import Privatizer
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
    divergence: Literal["l2", "kl"] = "l2"
    seed: int = 0


def fitted(
    bundle: Bundle,
    private: str | Sequence[str],
    utility: str | Sequence[str],
    settings: FitSettings = FitSettings(),
    folder: Path | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Privatizer:
    """The privatizer that :func:`privsdk.fit` gives, from the cache where it was fitted before.

    ``folder`` is the data folder with the cache and the device key, the user's own without it.  Raises what
    :func:`privsdk.fit` raises, and StoreError where the cache cannot be used.
    """
    cache = Cache(folder)
    wish = {
        "private": match_all(private, bundle.attributes),
        "utility": match_all(utility, bundle.attributes),
        "settings": asdict(settings),
        "version": __version__,
        # Without torch another filter is fitted: it must not stay once torch is there.
        "torch": find_spec("torch") is not None,
    }
    kept = cache.get(bundle.digest, wish)
    if kept is not None:
        try:
            return Privatizer.from_bytes(kept, bundle)
        except PrivatizerError:
            pass  # Damaged in the cache: fitted again, and put in its place.
    privatizer = fit(bundle, private, utility, on_progress=on_progress, **asdict(settings))
    cache.put(bundle.digest, wish, privatizer.to_bytes())
    return privatizer
