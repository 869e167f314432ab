"""The server takes releases, each device's once, and refuses whatever else arrives by the device's name."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

flwr_app = pytest.importorskip("flwr.app", reason="needs Flower: pip install -c constraints-fleet.txt '.[fleet]'")

from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict  # noqa: E402

from examples.fleet.collection import Collection  # noqa: E402
from examples.fleet.device import ENVELOPE, RELEASES  # noqa: E402
from examples.fleet.faults import MOST_SENT, RUBBISH  # noqa: E402

SHAPE = (64, 64, 3)
Pixels = NDArray[np.uint8]


def pixels(seed: int = 0, count: int = 3) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), np.uint8)


def call(node: int) -> Message:
    return Message(RecordDict({"call": ConfigRecord({"number": 1})}), node, "query.release")


def sent(node: int, array: Array, device: str | None = None, made_at: int = 1) -> Message:
    """What the device behind this node answers."""
    envelope = ConfigRecord({"device": device or f"device-{node:04}", "call": made_at})
    content = RecordDict({RELEASES: ArrayRecord({RELEASES: array}), ENVELOPE: envelope})
    return Message(content, reply_to=call(node))


def claimed(shape: tuple[int, ...], dtype: str = "|u1") -> Array:
    """An array whose bytes say that it has this shape, and which has three."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return Array("uint8", (1, *SHAPE), "numpy.ndarray", stream.getvalue() + b"abc")


def pickled() -> Array:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], object), allow_pickle=True)
    return Array("object", (1,), "numpy.ndarray", stream.getvalue())


@pytest.fixture
def collection() -> Collection:
    """With two devices' releases in it."""
    made = Collection(SHAPE)
    for node in (1, 2):
        made.receive(sent(node, Array(pixels(node))), 1)
    return made


def unharmed(collection: Collection) -> bool:
    return all(np.array_equal(collection.releases[f"device-{node:04}"], pixels(node)) for node in (1, 2))


REFUSED: list[tuple[str, Callable[[], Array]]] = [
    ("wrong-shape", lambda: RUBBISH["sends-another-shape"](pixels())),
    ("wrong-dtype", lambda: RUBBISH["sends-another-dtype"](pixels())),
    ("wrong-dtype", lambda: RUBBISH["sends-no-numbers"](pixels())),
    ("too-large", lambda: RUBBISH["sends-too-much"](pixels())),
    ("undecodable", lambda: RUBBISH["sends-what-is-no-array"](pixels())),
    ("undecodable", lambda: RUBBISH["sends-half"](pixels())),
    ("undecodable", lambda: claimed((10**15, *SHAPE))),
    ("undecodable", lambda: claimed((2**62, *SHAPE))),
    ("wrong-shape", lambda: claimed((0, *SHAPE))),
    ("wrong-shape", lambda: claimed(())),
    ("wrong-dtype", pickled),
    ("undecodable", lambda: Array("uint8", (1, *SHAPE), "numpy.ndarray", b"")),
    ("undecodable", lambda: Array("uint8", (1, *SHAPE), "numpy.ndarray", b"\x93NUMPY\x01\x00\xff\xff" + b"{" * 65535)),
]


@pytest.mark.parametrize(("reason", "array"), REFUSED)
def test_rubbish_is_refused_by_name_and_the_others_are_unharmed(
    collection: Collection, reason: str, array: Callable[[], Array]
) -> None:
    collection.receive(sent(3, array()), 1)
    assert [(one.device, one.reason) for one in collection.refused] == [("device-0003", reason)]
    assert set(collection.releases) == {"device-0001", "device-0002"}
    assert unharmed(collection)


def test_a_device_that_sent_rubbish_may_send_its_releases_later(collection: Collection) -> None:
    collection.receive(sent(3, claimed((5, *SHAPE))), 1)
    collection.receive(sent(3, Array(pixels(3)), made_at=2), 2)
    assert np.array_equal(collection.releases["device-0003"], pixels(3))


def test_nothing_is_counted_twice(collection: Collection) -> None:
    collection.receive(sent(1, Array(pixels(1))), 2)
    collection.receive(sent(1, Array(pixels(7))), 2)  # other ones neither replace nor join them
    assert [(one.device, one.reason) for one in collection.refused] == [("device-0001", "repeated")] * 2
    assert len(collection.releases) == 2
    assert unharmed(collection)


def test_nobody_sends_under_anothers_name(collection: Collection) -> None:
    collection.receive(sent(3, Array(pixels(3)), device="device-0001"), 1)
    assert [one.reason for one in collection.refused] == ["another's-name"]
    assert unharmed(collection)


def test_a_late_device_is_taken_and_noted(collection: Collection) -> None:
    collection.receive(sent(3, Array(pixels(3)), made_at=1), 2)
    assert collection.late == ["device-0003"]
    assert "device-0003" in collection.releases


def test_what_a_devices_error_says_is_not_kept(collection: Collection) -> None:
    collection.receive(Message(Error(0, "UnworkablePairError: Male"), reply_to=call(3)), 1)
    assert [one.reason for one in collection.refused] == ["no-answer"]
    assert "Male" not in str(collection.refused)


@pytest.mark.parametrize(
    "envelope",
    [
        {},
        {"device": "device-0003"},
        {"device": "../device-0003", "call": 1},
        {"device": "device-0003\n", "call": 1},
        {"device": 3, "call": 1},
        {"device": "device-0003", "call": 0},
        {"device": "device-0003", "call": 2},
        {"device": "device-0003", "call": True},
    ],
)
def test_who_does_not_say_who_it_is_is_refused(collection: Collection, envelope: dict) -> None:
    content = RecordDict({RELEASES: ArrayRecord({RELEASES: Array(pixels(3))}), ENVELOPE: ConfigRecord(envelope)})
    collection.receive(Message(content, reply_to=call(3)), 1)
    assert [one.reason for one in collection.refused] == ["no-envelope"]
    assert len(collection.releases) == 2


@pytest.mark.parametrize(
    "more",
    [
        {"latents": ArrayRecord({"z": Array(np.zeros((3, 50), np.float32))})},
        {"labels": ConfigRecord({"Male": [1, 0, 1]})},
        {RELEASES: ArrayRecord({RELEASES: Array(pixels(3)), "labels": Array(np.ones(3))})},
        {RELEASES: ConfigRecord({RELEASES: b"abc"})},
    ],
)
def test_a_message_that_holds_more_than_releases_is_refused_whole(collection: Collection, more: dict) -> None:
    message = sent(3, Array(pixels(3)))
    for name, record in more.items():
        message.content[name] = record
    collection.receive(message, 1)
    assert [(one.device, one.reason) for one in collection.refused] == [("device-0003", "undecodable")]
    assert len(collection.releases) == 2


def test_the_limit_is_more_than_any_album() -> None:
    assert 1000 * np.prod(SHAPE) < MOST_SENT
