"""What a person asks of a filter: resolved to labels, and refused before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from privsdk.errors import UnworkablePairError, UsageError
from privsdk.names import match_all

MOST_PRIVATE = 8


@dataclass(frozen=True)
class Label:
    """A label by the bundle's own name, and the attributes whose scores tell it, by their numbers in the bundle.

    One attribute is true or not; of the several that make a label of many classes exactly one is.  ``classes`` are
    their names.
    """

    name: str
    attributes: tuple[int, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Wish:
    """The labels to hide and to keep."""

    private_labels: tuple[Label, ...]
    utility_labels: tuple[Label, ...]

    @property
    def labels(self) -> tuple[Label, ...]:
        """All of them, private ones first."""
        return self.private_labels + self.utility_labels

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in the same order."""
        return tuple(label.name for label in self.labels)

    @property
    def private(self) -> tuple[str, ...]:
        """The names of the labels to hide."""
        return tuple(label.name for label in self.private_labels)

    @property
    def utility(self) -> tuple[str, ...]:
        """The names of the labels to keep."""
        return tuple(label.name for label in self.utility_labels)

    @property
    def attributes(self) -> tuple[int, ...]:
        """The K attributes whose scores a filter reads, in the order in which it has them."""
        return tuple(attribute for label in self.labels for attribute in label.attributes)

    @property
    def columns(self) -> tuple[tuple[int, ...], ...]:
        """Where among those K scores each label's own are."""
        found, end = [], 0
        for label in self.labels:
            found.append(tuple(range(end, end + len(label.attributes))))
            end += len(label.attributes)
        return tuple(found)


def resolve(
    private: str | Sequence[str],
    utility: str | Sequence[str],
    attributes: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    keep: str | Sequence[str] = (),
) -> Wish:
    """The wish that these names mean, of attributes or of groups of them; the labels in ``keep`` join the utility.

    :raises UnknownLabelError: a name is none of ``attributes`` and none of ``groups``.
    :raises UnworkablePairError: a label is asked for twice, or a group and an attribute of it.
    :raises UsageError: nothing is to be hidden, or nothing to be kept, or more is to be hidden than a filter can.
    """
    numbers = {name: number for number, name in enumerate(attributes)}
    known = {name: Label(name, (number,), (f"not {name}", name)) for name, number in numbers.items()}
    for group, members in groups.items():
        known[group] = Label(group, tuple(numbers[name] for name in members), tuple(members))
    hidden = match_all(private, list(known))
    kept = match_all(utility, list(known))
    kept += tuple(name for name in match_all(keep, list(known)) if name not in kept)
    if not hidden or not kept:
        raise UsageError("a filter needs at least one private and one utility label: name them")
    if len(hidden) > MOST_PRIVATE:
        raise UsageError(f"{len(hidden)} private labels are too many for one filter: name at most {MOST_PRIVATE}")
    names = hidden + kept
    for name in names:
        if name in hidden and name in kept:
            raise UnworkablePairError(
                f"{name} cannot be hidden and kept at once: choose another private or utility label"
            )
        if names.count(name) > 1:
            raise UnworkablePairError(f"{name} is asked for twice: name each label once")
        for other in names:
            if other != name and {*known[name].attributes} <= {*known[other].attributes}:
                raise UnworkablePairError(f"{name} is a class of {other}: ask for one of the two")
    return Wish(tuple(known[name] for name in hidden), tuple(known[name] for name in kept))
