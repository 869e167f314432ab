"""What leaves a device: releases under its name, and not a word of what it hides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr.app", reason="needs Flower: pip install -c constraints-fleet.txt '.[fleet]'")

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.common.serde import recorddict_to_proto

import privsdk
from examples.fleet.client_app import app, client_app
from examples.fleet.device import ENVELOPE, RELEASES, Device, Wish, open_bundle

KEY = bytes(range(32))
WISH = Wish("faces", ("Male",), ("Smiling",))


def album() -> np.ndarray:
    bundle = open_bundle("faces")
    return bundle.decode(bundle.public.mean[:4])


def made(folder: Path, wish: Wish = WISH) -> Device:
    return Device.made(folder / "device-0003", album(), wish, KEY, np.array([[1], [0], [1], [1]], np.uint8))


def asked(device: Device, number: int = 1) -> Message:
    """What comes back of Flower's client for a call."""
    message = Message(RecordDict({"call": ConfigRecord({"number": number})}), 1, "query.release")
    context = Context(1, 1, {"device": str(device.folder)}, RecordDict(), {})
    return app(message, context)


def test_a_device_sends_what_privsdk_releases_once_and_nothing_else(tmp_path: Path) -> None:
    other = Wish("faces", ("Young",), ("Eyeglasses",))
    assert asked(made(tmp_path / "other", other)).has_content()  # in the same process, before
    device = made(tmp_path)
    content = asked(device).content
    assert set(content) == {RELEASES, ENVELOPE}
    assert dict(content[ENVELOPE]) == {"device": "device-0003", "call": 1}
    releases = content[RELEASES][RELEASES].numpy()
    privatizer = privsdk.fit(privsdk.Bundle.open("faces"), "Male", "Smiling", engine="onnx")
    assert np.array_equal(releases, privatizer.privatize(album(), key=KEY))
    wire = recorddict_to_proto(content).SerializeToString()
    for secret in (b"Male", b"Smiling", KEY, album().tobytes(), album()[0].tobytes(), str(tmp_path).encode()):
        assert secret not in wire
    for latents in (open_bundle("faces").encode(album()), open_bundle("faces").encode(releases)):
        assert latents.mean[0].tobytes() not in wire
    assert not asked(device, 2).content  # it has sent all


@pytest.mark.parametrize("wish", [Wish("faces", ("Male",), ("Male",)), Wish("faces", ("Nose_Ring",), ("Smiling",))])
def test_a_device_that_cannot_fit_says_nothing_of_its_wish(tmp_path: Path, wish: Wish) -> None:
    answer = asked(made(tmp_path, wish))
    assert answer.has_error()
    assert answer.error.reason == "no answer"
    assert not (tmp_path / "device-0003" / "released.npy").exists()


def test_a_device_that_is_not_there_is_no_traceback(tmp_path: Path) -> None:
    message = Message(RecordDict({"call": ConfigRecord({"number": 1})}), 1, "query.release")
    answer = client_app(lambda context: tmp_path / "nothing")(message, Context(1, 1, {}, RecordDict(), {}))
    assert answer.error.reason == "no answer"


def test_weights_that_do_not_fit_are_not_answered(tmp_path: Path) -> None:
    message = Message(RecordDict({"arrays": ArrayRecord()}), 1, "train")
    context = Context(1, 1, {"device": str(made(tmp_path).folder)}, RecordDict(), {})
    assert app(message, context).error.reason == "no answer"
