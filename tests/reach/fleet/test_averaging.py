"""Averages of classifiers: each label's over the devices that changed it, whatever the others send."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("flwr.app", reason="needs Flower: pip install -c constraints-fleet.txt '.[fleet]'")

from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict

from examples.fleet.averaging import ARRAYS, WEIGHTS, ByLabel
from examples.fleet.device import ENVELOPE

Floats = NDArray[np.float64]

LABELS, SIZE = 3, 5
SHARED = np.arange(LABELS * SIZE, dtype=np.float64).reshape(LABELS, SIZE)


def reply(device: object, content: RecordDict | Error) -> Message:
    call = Message(RecordDict(), int(str(device)[-4:]), "train")
    return Message(content, reply_to=call)


def update(device: str, array: Array) -> Message:
    envelope = ConfigRecord({"device": device})
    return reply(device, RecordDict({ARRAYS: ArrayRecord({WEIGHTS: array}), ENVELOPE: envelope}))


def changed(*rows: int, by: float) -> Floats:
    weights = SHARED.copy()
    weights[list(rows)] += by
    return weights


HONEST = (
    update("device-0001", Array(changed(0, by=2.0))),
    update("device-0002", Array(changed(0, 1, by=4.0))),
)

RUBBISH: dict[str, Callable[[], Message]] = {
    "another shape": lambda: update("device-0003", Array(np.zeros((LABELS, SIZE + 1)))),
    "too many rows": lambda: update("device-0003", Array(np.zeros((LABELS + 1, SIZE)))),
    "no rows": lambda: update("device-0003", Array(np.zeros((0, SIZE)))),
    "one number": lambda: update("device-0003", Array(np.array(1.0))),
    "another dtype": lambda: update("device-0003", Array(SHARED.astype(np.float32))),
    "not finite": lambda: update("device-0003", Array(changed(0, by=np.nan))),
    "more than steps can bring": lambda: update("device-0003", Array(changed(0, by=100.0))),
    "nearly infinite": lambda: update("device-0003", Array(changed(0, by=1e300))),
    "infinite": lambda: update("device-0003", Array(changed(0, by=np.inf))),
    "no array": lambda: update("device-0003", Array("float64", SHARED.shape, "numpy.ndarray", b"rubbish")),
    "cut off": lambda: update("device-0003", Array("float64", SHARED.shape, "numpy.ndarray", Array(SHARED).data[:-8])),
    "nothing": lambda: reply("device-0003", RecordDict()),
    "no name": lambda: reply("device-0003", RecordDict({ARRAYS: ArrayRecord({WEIGHTS: Array(changed(0, by=9.0))})})),
    "no answer": lambda: reply("device-0003", Error(0, "no answer")),
}


def averaged(*replies: Message) -> ByLabel:
    strategy = ByLabel(SHARED, devices=len(replies))
    strategy.aggregate_train(1, replies)
    return strategy


def test_each_label_is_averaged_over_the_devices_that_changed_it() -> None:
    strategy = averaged(*HONEST)
    expected = SHARED + np.array([3.0, 4.0, 0.0])[:, None]
    np.testing.assert_array_equal(strategy.weights, expected)
    assert set(strategy.updates) == {"device-0001", "device-0002"}


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_changes_nothing_of_what_the_others_bring(name: str) -> None:
    strategy = averaged(HONEST[0], RUBBISH[name](), HONEST[1])
    np.testing.assert_array_equal(strategy.weights, averaged(*HONEST).weights)
    assert set(strategy.updates) == {"device-0001", "device-0002"}


def test_a_round_of_rubbish_alone_leaves_the_classifiers_as_they_were() -> None:
    strategy = averaged(*(make() for make in RUBBISH.values()))
    np.testing.assert_array_equal(strategy.weights, SHARED)


def test_who_answers_first_makes_no_difference() -> None:
    np.testing.assert_array_equal(averaged(*HONEST).weights, averaged(*HONEST[::-1]).weights)
