"""A fleet of devices with wishes of their own, on Flower: simulated by its engine, or as real processes.

PRIVSDK_DATA=... python -m examples.fleet --devices 1000 [--seed 0] [--deployment]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from examples.fleet.device import open_bundle
from examples.fleet.population import fleet
from examples.fleet.simulation import simulate


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.fleet", description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of people, wishes, keys, faults and attackers")
    parser.add_argument("--processes", type=int, default=2, help="devices at a time, and then attackers")
    asked = parser.parse_args(arguments)
    data = os.environ.get("PRIVSDK_DATA")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        owned = fleet(open_bundle("faces"), Path(data) if data else None, asked.devices, asked.seed, folder / "devices")
        print(f"{len(owned)} devices")
        (folder / "server").mkdir()
        simulate(folder / "devices", "faces", folder / "server", asked.processes)
        print((folder / "server" / "received.json").read_text())


if __name__ == "__main__":
    main()
