"""The server's side on Flower: it calls all devices, and keeps releases."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from examples.fleet.collection import Collection, write_arrays
from examples.fleet.device import open_bundle
from privsdk.store.folder import write_atomically

CALLS = 2
LONGEST_CALL = 3600.0  # seconds that a call of a simulated fleet waits for its last answer
LONGEST_START = 120.0  # seconds until all devices are there

POOL, RECEIVED = "pool.npz", "received.json"


def collected(grid: Grid, nodes: Sequence[int], shape: tuple[int, ...], longest_call: float) -> Collection:
    """What all devices answer to all calls, each waited for so many seconds.

    Whoever does not answer in time is asked again by the next call.
    """
    collection = Collection(shape)
    for call in range(1, CALLS + 1):
        content = RecordDict({"call": ConfigRecord({"number": call})})
        calls = [Message(content, node, "query.release") for node in nodes]
        for answer in grid.send_and_receive(calls, timeout=longest_call):
            collection.receive(answer, call)
    return collection


def server_app(devices: int, bundle: str, output: Path) -> ServerApp:
    """Collects from so many devices, and writes what it holds into the folder ``output``."""
    made = ServerApp()

    @made.main()
    def main(grid: Grid, context: Context) -> None:
        run(grid, devices, bundle, output, LONGEST_CALL)

    return made


def run(grid: Grid, devices: int, bundle: str, output: Path, longest_call: float) -> None:
    """As :func:`server_app`; a call waits for its last answer so many seconds."""
    collection = collected(grid, present(grid, devices), open_bundle(bundle).sample_shape, longest_call)
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
    output, longest_call = Path(str(settings["output"])), float(settings["longest-call"])
    run(grid, int(settings["devices"]), str(settings["bundle"]), output, longest_call)
