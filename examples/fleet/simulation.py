"""The fleet in Flower's own simulation engine: so many devices at a time, each in a process of Ray's."""

from __future__ import annotations

import os
from pathlib import Path

import ray
from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation

from examples.fleet.client_app import simulated

LEAST_PRIORITY = 19
OPEN = 4  # calls for each process: none has to wait for the next one


def simulate(devices: Path, count: int, server: ServerApp, processes: int) -> None:
    """Runs the first ``count`` devices in the folder ``devices``, ``processes`` at a time, with this server.

    This process gives way to all others from then on.
    """
    ray.init(num_cpus=processes, include_dashboard=False, log_to_driver=False)
    # Flower looks for calls to each device ten times a second: of a thousand, that would take much of a core from them.
    os.nice(LEAST_PRIORITY)
    backend = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, simulated(devices), count, backend_config=backend)
