"""Objects that threads share: once made, none of their attributes can be set."""

from __future__ import annotations

from typing import Any


class Immutable:
    """A subclass sets its attributes in ``__init__`` and ends it with :meth:`_seal`."""

    def _seal(self) -> None:
        self.__dict__["_sealed"] = True

    def __setattr__(self, name: str, value: Any) -> None:
        if "_sealed" in self.__dict__:
            raise AttributeError(f"a {type(self).__name__} does not change: {name} cannot be set")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a {type(self).__name__} does not change: {name} cannot be deleted")
