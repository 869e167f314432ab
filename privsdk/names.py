"""Names of labels as people write them: ``high cheekbones`` is ``High_Cheekbones``."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from privsdk.errors import UnknownLabelError


def folded(name: str) -> str:
    """``name`` without what is ignored when names are compared: case, spaces, underscores, hyphens."""
    return "".join(name.split()).replace("_", "").replace("-", "").casefold()


def match(name: str, known: Sequence[str]) -> str:
    """The one of ``known`` that ``name`` means, without regard to case, spaces, underscores and hyphens.

    Raises UnknownLabelError, with the nearest names.
    """
    by_folded = {folded(label): label for label in known}
    found = by_folded.get(folded(name))
    if found is not None:
        return found
    nearest = difflib.get_close_matches(folded(name), by_folded, n=3, cutoff=0.5)
    if nearest:
        advice = f"did you mean {' or '.join(by_folded[label] for label in nearest)}?"
    else:
        advice = f"it has {', '.join(known)}"
    raise UnknownLabelError(f"the bundle has no label {name!r}: {advice}")


def match_all(names: str | Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The labels that ``names`` (one, or several) mean, each as in :func:`match`, in the order given."""
    return tuple(match(name, known) for name in ([names] if isinstance(names, str) else names))
