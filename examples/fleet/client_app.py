"""The device's side on Flower, the same in a simulation and in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from examples.fleet import averaging
from examples.fleet.device import Device, named

NO_ANSWER = 0  # Flower's code for what is unknown

FolderOf = Callable[[Context], Path]


def client_app(folder_of: FolderOf) -> ClientApp:
    """Answers for the device in the folder that ``folder_of`` finds."""
    made = ClientApp()

    @made.query("release")
    def release(message: Message, context: Context) -> Message:
        def answer() -> RecordDict:
            return Device(folder_of(context)).answer(int(str(message.content.config_records["call"]["number"])))

        return replied(message, answer)

    @made.train()
    def improve(message: Message, context: Context) -> Message:
        return replied(message, lambda: averaging.answer(Device(folder_of(context)), message))

    return made


def replied(message: Message, made: Callable[[], RecordDict]) -> Message:
    """What was made, or no answer."""
    try:
        return Message(made(), reply_to=message)
    except Exception:  # noqa: BLE001  Flower would send the error's words, which may name what is hidden
        return Message(Error(NO_ANSWER, "no answer"), reply_to=message)


def simulated(devices: Path) -> ClientApp:
    """For Flower's simulation engine: the devices are the folders in ``devices``."""
    return client_app(lambda context: devices / named(int(context.node_config["partition-id"])))


# For a SuperNode, which is told its folder: --node-config 'device="FOLDER"'.
app = client_app(lambda context: Path(str(context.node_config["device"])))
