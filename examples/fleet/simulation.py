"""The fleet in Flower's own simulation engine: so many devices at a time, each in a process of Ray's."""

from __future__ import annotations

from pathlib import Path

from flwr.simulation import run_simulation

from examples.fleet import client_app, server_app


def simulate(devices: Path, bundle: str, output: Path, processes: int) -> None:
    """Runs every device in the folder ``devices``, ``processes`` at a time; the server writes into ``output``."""
    count = len(list(devices.iterdir()))
    run_simulation(
        server_app.server_app(count, bundle, output),
        client_app.simulated(devices),
        count,
        backend_config={
            "init_args": {"num_cpus": processes, "include_dashboard": False, "log_to_driver": False},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
