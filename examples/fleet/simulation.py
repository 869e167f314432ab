"""The fleet in Flower's own simulation engine: so many devices at a time, each in a process of Ray's."""

from __future__ import annotations

from pathlib import Path

from flwr.simulation import run_simulation

from examples.fleet import client_app, server_app


def simulate(devices: Path, count: int, bundle: str, output: Path, processes: int) -> None:
    """Runs the first ``count`` devices in the folder ``devices``, ``processes`` at a time.

    The server writes into ``output``.
    """
    run_simulation(
        server_app.server_app(count, bundle, output),
        client_app.simulated(devices),
        count,
        backend_config={
            "init_args": {"num_cpus": processes, "include_dashboard": False, "log_to_driver": False},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
