"""The fleet as real processes: a SuperLink, a SuperNode for each device, and a run, over gRPC with TLS on loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from examples.fleet.certificates import LOOPBACK, make

APP = Path(__file__).parent / "app"
ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
CONNECTION = "fleet"
LONGEST_START = 60.0  # seconds until a SuperLink listens
LONGEST_END = 10.0  # seconds that a process has to end by itself


class DeploymentError(Exception):
    """A process of the fleet ended, or did not begin; the message says which, and where its words are."""


class Deployment:
    """Processes for these devices; ``with`` starts them and ends them.

    ``folder`` is empty, and takes certificates, Flower's own files and what each process says.
    """

    def __init__(self, folder: Path, devices: Sequence[Path], longest_call: float = 3600.0) -> None:
        self.folder, self.devices, self.longest_call = folder, devices, longest_call
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        certificates = make(self.folder)
        self.fleet, self.control, server = (f"{LOOPBACK}:{port}" for port in free_ports(3))
        home = self.folder / "flower"
        home.mkdir()
        (home / "config.toml").write_text(
            f'[superlink.{CONNECTION}]\naddress = "{self.control}"\nroot-certificates = "{certificates.authority}"\n'
        )
        # Flower's programs start each other by their names alone.
        path = os.pathsep.join([str(PROGRAMS), os.environ.get("PATH", os.defpath)])
        self._environment = {**os.environ, "PATH": path, "FLWR_HOME": str(home), "PYTHONPATH": str(ROOT)}
        try:
            link = self._start(
                "superlink",
                *("flower-superlink", "--fleet-api-type", "grpc-rere"),
                *("--fleet-api-address", self.fleet, "--control-api-address", self.control),
                *("--serverappio-api-address", server, "--ssl-ca-certfile", str(certificates.authority)),
                *("--ssl-certfile", str(certificates.server), "--ssl-keyfile", str(certificates.key)),
            )
            self._wait_for(link)
            for device, port in zip(self.devices, free_ports(len(self.devices)), strict=True):
                self.nodes[device.name] = self._start(
                    device.name,
                    *("flower-supernode", "--grpc-rere", "--superlink", self.fleet),
                    *("--root-certificates", str(certificates.authority)),
                    *("--clientappio-api-address", f"{LOOPBACK}:{port}"),
                    *("--node-config", f"device={json.dumps(str(device.resolve()))}"),
                )
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def run(self, bundle: str, output: Path) -> None:
        """Collects once from all devices; the server writes into ``output``.  Raises DeploymentError."""
        settings = {
            "devices": len(self.devices),
            "bundle": bundle,
            "output": str(output.resolve()),
            "longest-call": self.longest_call,
        }
        config = " ".join(f"{name}={json.dumps(value)}" for name, value in settings.items())
        run = self._start("run", "flwr", "run", str(APP), CONNECTION, "--run-config", config, "--stream")
        if run.wait() or not (output / "received.json").exists():
            raise DeploymentError(f"the run did not end well: see {self.folder / 'run.log'}")

    def _start(self, name: str, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(PROGRAMS / program), *arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # it ends with all that it started
            )
        self._started.append(process)
        return process

    def _wait_for(self, link: subprocess.Popen[bytes]) -> None:
        latest = time.monotonic() + LONGEST_START
        for address in (self.fleet, self.control):
            while not listens(address):
                if link.poll() is not None or time.monotonic() > latest:
                    raise DeploymentError(f"the SuperLink does not listen: see {self.folder / 'superlink.log'}")
                time.sleep(0.2)

    def _end(self) -> None:
        """The last that was started ends first: a node whose server is gone would look for it."""
        for process in reversed(self._started):
            process.terminate()
        for process in reversed(self._started):
            with suppress(subprocess.TimeoutExpired):
                process.wait(LONGEST_END)
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """The process, and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on now."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def listens(address: str) -> bool:
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), 1.0).close()
    except OSError:
        return False
    return True
