"""A fleet of devices with wishes of their own, on Flower: simulated by its engine, or as real processes.

PRIVSDK_DATA=... python -m examples.fleet --devices 1000 [--seed 0] [--deployment]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from examples.fleet import averaging
from examples.fleet.averaging import inputs
from examples.fleet.deployment import Deployment
from examples.fleet.device import open_bundle
from examples.fleet.improvement import shared
from examples.fleet.pool import Pool
from examples.fleet.population import fleet
from examples.fleet.server_app import Calling, server_app
from examples.fleet.simulation import OPEN, simulate
from examples.fleet.table import LEAST_DEVICES, improvement, messages, table


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.fleet", description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--deployment", action="store_true", help="real processes over gRPC with TLS, on loopback")
    parser.add_argument("--seed", type=int, default=0, help="of people, wishes, keys, faults and attackers")
    parser.add_argument("--processes", type=int, default=2, help="devices at a time, and then attackers")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where devices lie, with what they released")
    asked = parser.parse_args(arguments)
    data = os.environ.get("PRIVSDK_DATA")
    bundle = open_bundle("faces")
    runs = asked.runs / f"fleet-{bundle.digest[:12]}-seed-{asked.seed}"
    server = runs / f"server-{asked.devices}"
    server.mkdir(parents=True, exist_ok=True)
    owned = fleet(bundle, Path(data) if data else None, asked.devices, asked.seed, runs / "devices")
    if asked.deployment:
        folders = [runs / "devices" / one.name for one in owned]
        with tempfile.TemporaryDirectory() as folder, Deployment(Path(folder), folders) as deployment:
            deployment.run(bundle.name, server)
    else:
        collecting = server_app(len(owned), bundle.name, server, Calling(OPEN * asked.processes))
        simulate(runs / "devices", len(owned), collecting, asked.processes)
    pool = Pool.read(bundle, server, owned)
    print("\n".join(messages(owned, pool, server)))
    if len(pool.owned) < LEAST_DEVICES:
        print(f"Attackers are split by device: for figures at least {LEAST_DEVICES} are needed.")
        return
    print(table(pool, asked.seed, asked.processes))
    x = inputs(bundle, pool.releases)
    classifiers = shared(pool, x)
    improving = averaging.server_app(classifiers, len(owned), server)
    simulate(runs / "devices", len(owned), improving, asked.processes)
    print(improvement(pool, x, classifiers, server, asked.seed))


if __name__ == "__main__":
    main()
