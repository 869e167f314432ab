"""What the server holds: releases, and who sent them.  Whatever else arrives is refused by the device's name."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message
from numpy.typing import NDArray

from examples.fleet.device import ENVELOPE, RELEASES
from examples.fleet.faults import MOST_SENT
from privsdk.store.folder import write_atomically

NAME = re.compile(r"device-\d{4}")
UNNAMED = "a device without a name"

Reason = Literal[
    "no-answer",  # the device is off, or its own privatizer let nothing out
    "no-envelope",  # it does not say who sends what
    "another's-name",  # a device of this name has sent from elsewhere
    "repeated",  # its releases are here already
    "too-large",  # more bytes than a server takes from one device
    "undecodable",  # no array, or not as many bytes as it says
    "wrong-dtype",  # numbers that are no pixels, NaN among them
    "wrong-shape",  # pixels, and no samples
]


@dataclass(frozen=True)
class Refused:
    """A message that was not taken, and why; ``device`` is its name, or what a server calls one that never gave it."""

    device: str
    call: int
    reason: Reason
    detail: str

    def __str__(self) -> str:
        return f"{self.device}, call {self.call}: {self.reason}: {self.detail}"


class RefusedError(Exception):
    """What a device sent is not taken."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass
class Collection:
    """Releases by the name of the device, each device's once, of samples of this shape.

    ``late`` are the names of devices whose releases came a call after they were made; ``sent`` the bytes of each
    device's messages, those that were refused too.
    """

    shape: tuple[int, ...]
    releases: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    _refused: list[tuple[int, Refused]] = field(default_factory=list)
    _nodes: dict[str, int] = field(default_factory=dict)

    @property
    def refused(self) -> list[Refused]:
        """All that was not taken, by device and call; a device that gave its name later is called by it."""
        names = {node: name for name, node in self._nodes.items()}
        found = [replace(one, device=names.get(node, one.device)) for node, one in self._refused]
        return sorted(found, key=lambda one: (one.device, one.call, one.reason))

    def receive(self, message: Message, call: int) -> None:
        """Takes what a device answered to ``call``, or notes why not.  Never raises for what a device sent."""
        node = message.metadata.src_node_id
        name = UNNAMED
        try:
            if message.has_error():
                # What Flower passes on of a device's error is its own words, and may say what it hides.
                raise RefusedError("no-answer", "it is off, or lets nothing out")
            if not message.content:
                return  # it has sent all, or has nothing yet
            name, made_at = _envelope(message, call)
            if self._nodes.setdefault(name, node) != node:
                raise RefusedError("another's-name", "another device has sent under this name")
            self.sent[name] = self.sent.get(name, 0) + sum(one.count_bytes() for one in message.content.values())
            if name in self.releases:
                raise RefusedError("repeated", "its releases are here already, and were counted")
            self.releases[name] = decoded(_only_array(message), np.uint8, self.shape)
            if made_at < call:
                self.late.append(name)
        except RefusedError as error:
            self._refused.append((node, Refused(name, call, error.reason, error.detail)))


def _envelope(message: Message, call: int) -> tuple[str, int]:
    """Who sends, and at which call it was made."""
    record = message.content.get(ENVELOPE)
    name, made_at = (record.get("device"), record.get("call")) if isinstance(record, ConfigRecord) else (None, None)
    if not isinstance(name, str) or not NAME.fullmatch(name) or type(made_at) is not int or not 1 <= made_at <= call:
        raise RefusedError("no-envelope", "it does not say which device sent it, and when")
    return name, made_at


def _only_array(message: Message) -> Array:
    """The releases, which are all that a message may hold beside its envelope."""
    record = message.content.get(RELEASES)
    if set(message.content) != {RELEASES, ENVELOPE} or not isinstance(record, ArrayRecord) or set(record) != {RELEASES}:
        raise RefusedError("undecodable", "it holds something else than releases")
    return record[RELEASES]


def decoded(array: Array, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """[N, *shape] of this dtype.  What the bytes claim is compared with how many they are before memory is asked for.

    Raises RefusedError.
    """
    if len(array.data) > MOST_SENT:
        raise RefusedError("too-large", f"{len(array.data)} bytes, and {MOST_SENT} are taken")
    stream = io.BytesIO(array.data)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("not of version 1.0")
        claimed, by_columns, found = np.lib.format.read_array_header_1_0(stream)
    except ValueError as error:
        raise RefusedError("undecodable", f"no array: {str(error).splitlines()[0]}") from error
    wanted = np.dtype(dtype)
    if found != wanted:
        raise RefusedError("wrong-dtype", f"{found}, and {wanted} is taken")
    if claimed[1:] != shape or claimed[0] < 1 or by_columns:
        raise RefusedError("wrong-shape", f"{list(claimed)}, and [N, {', '.join(map(str, shape))}] is taken")
    there = len(array.data) - stream.tell()
    if there != math.prod(claimed) * wanted.itemsize:
        raise RefusedError("undecodable", f"{there} bytes for {list(claimed)} of {wanted}")
    return np.frombuffer(array.data, wanted, offset=stream.tell()).reshape(claimed)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Into one file for ``np.load``, in the order of their names."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
    write_atomically(path, stream.getvalue())
