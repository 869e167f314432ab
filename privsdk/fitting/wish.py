"""What a person asks of a filter: resolved to columns, and refused before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from privsdk.errors import UnworkablePairError, UsageError
from privsdk.names import match_all


@dataclass(frozen=True)
class Wish:
    """The labels to hide and to keep, by the bundle's own names, and their columns among its attributes."""

    private: tuple[str, ...]
    utility: tuple[str, ...]
    columns: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All labels of the wish in the order of ``columns``: private ones first."""
        return self.private + self.utility


def resolve(
    private: str | Sequence[str],
    utility: str | Sequence[str],
    attributes: Sequence[str],
    keep: str | Sequence[str] = (),
) -> Wish:
    """The wish that these names mean; the labels in ``keep`` join the utility labels.

    :raises UnknownLabelError: a name is none of ``attributes``.
    :raises UnworkablePairError: a label is asked for twice.
    :raises UsageError: nothing is to be hidden, or nothing to be kept.
    """
    hidden = match_all(private, attributes)
    kept = match_all(utility, attributes)
    kept += tuple(name for name in match_all(keep, attributes) if name not in kept)
    if not hidden or not kept:
        raise UsageError("a filter needs at least one private and one utility label: name them")
    names = hidden + kept
    for name in names:
        if name in hidden and name in kept:
            raise UnworkablePairError(
                f"{name} cannot be hidden and kept at once: choose another private or utility label"
            )
        if names.count(name) > 1:
            raise UnworkablePairError(f"{name} is asked for twice: name each label once")
    return Wish(hidden, kept, tuple(list(attributes).index(name) for name in names))
