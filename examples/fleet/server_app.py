"""The server's side on Flower: it calls all devices, and keeps releases."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from examples.fleet.collection import Collection, write_arrays
from examples.fleet.device import open_bundle
from privsdk.store.folder import write_atomically

CALLS = 2
BETWEEN_LOOKS = 0.1  # seconds
LONGEST_START = 120.0  # seconds until all devices are there

POOL, RECEIVED = "pool.npz", "received.json"


@dataclass(frozen=True)
class Calling:
    """``at_once`` devices are called at a time, and each call waits ``longest`` seconds for its last answer.

    For each device Flower's simulation engine looks through all open calls: with a thousand of them that takes longer
    than what the devices do.
    """

    at_once: int
    longest: float = 43_200.0  # as long as a message of Flower lives


def collected(grid: Grid, nodes: Sequence[int], shape: tuple[int, ...], calling: Calling) -> Collection:
    """What all devices answer to all calls; whoever does not answer in time is asked again by the next one."""
    collection = Collection(shape)
    for call in range(1, CALLS + 1):
        content = RecordDict({"call": ConfigRecord({"number": call})})
        for answer in answers(grid, [Message(content, node, "query.release") for node in nodes], calling):
            collection.receive(answer, call)
    return collection


def answers(grid: Grid, calls: Sequence[Message], calling: Calling) -> Iterator[Message]:
    """The answers that come in time, as they come."""
    latest = time.monotonic() + calling.longest
    left, waited_for = iter(calls), set[str]()
    while time.monotonic() < latest:
        if next_ones := list(islice(left, calling.at_once - len(waited_for))):
            waited_for.update(grid.push_messages(next_ones))
        if not waited_for:
            return
        for answer in grid.pull_messages(waited_for):
            waited_for.discard(answer.metadata.reply_to_message_id)
            yield answer
        time.sleep(BETWEEN_LOOKS)


def server_app(devices: int, bundle: str, output: Path, calling: Calling) -> ServerApp:
    """Collects from so many devices, and writes what it holds into the folder ``output``."""
    made = ServerApp()

    @made.main()
    def main(grid: Grid, context: Context) -> None:
        run(grid, devices, bundle, output, calling)

    return made


def run(grid: Grid, devices: int, bundle: str, output: Path, calling: Calling) -> None:
    """As :func:`server_app`."""
    collection = collected(grid, present(grid, devices), open_bundle(bundle).sample_shape, calling)
    write_arrays(output / POOL, collection.releases)
    received = {
        "late": sorted(collection.late),
        "sent": dict(sorted(collection.sent.items())),
        "refused": [asdict(one) for one in collection.refused],
    }
    write_atomically(output / RECEIVED, json.dumps(received, indent=1).encode())


def present(grid: Grid, devices: int) -> list[int]:
    """Flower's numbers of the devices, once all are there or have had their time."""
    latest = time.monotonic() + LONGEST_START
    while len(nodes := list(grid.get_node_ids())) < devices and time.monotonic() < latest:
        time.sleep(0.2)
    return nodes


app = ServerApp()


@app.main()
def _main(grid: Grid, context: Context) -> None:
    settings = context.run_config
    devices = int(settings["devices"])
    calling = Calling(devices, float(settings["longest-call"]))
    run(grid, devices, str(settings["bundle"]), Path(str(settings["output"])), calling)
