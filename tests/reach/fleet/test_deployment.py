"""Five devices as real processes over gRPC with TLS on loopback, one of which is killed."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr.app", reason="needs Flower: pip install -c constraints-fleet.txt '.[fleet]'")

from examples.fleet.certificates import make
from examples.fleet.deployment import Deployment, kill
from examples.fleet.device import FAULT, RELEASED, SENT, Device
from examples.fleet.faults import DROPS_OUT
from tests.reach.fleet.running import Fleet

pytestmark = pytest.mark.timeout(900)  # the fleet that it starts from included

DEVICES = 5
LONGEST_START = 120.0  # seconds
LONGEST_CALL = 25.0  # seconds, after which a server gives up a device that was killed


def talked(address: str, trusted: ssl.SSLContext) -> str | None:
    """The protocol that a server speaks behind TLS, to whoever trusts these authorities."""
    trusted.set_alpn_protocols(["h2"])
    host, port = address.split(":")
    with (
        socket.create_connection((host, int(port)), 10) as plain,
        trusted.wrap_socket(plain, server_hostname=host) as tls,
    ):
        return tls.selected_alpn_protocol()


def wait_for(log: Path, words: str) -> None:
    """Until a process has said so."""
    latest = time.monotonic() + LONGEST_START
    while words not in log.read_text():
        assert time.monotonic() < latest
        time.sleep(0.2)


def test_five_processes_send_over_tls_what_they_send_in_a_simulation(fleet: Fleet, tmp_path: Path) -> None:
    chosen = [one for one in fleet.devices if Device(one).fault != DROPS_OUT][:DEVICES]
    for folder in chosen:
        copied = tmp_path / "devices" / folder.name
        shutil.copytree(folder, copied)
        for name in (SENT, FAULT):
            (copied / name).unlink(missing_ok=True)
    folders = sorted((tmp_path / "devices").iterdir())
    (folders[0] / RELEASED).unlink()  # this one fits in its own process
    server, logs = tmp_path / "server", tmp_path / "logs"
    server.mkdir()
    logs.mkdir()
    with Deployment(logs, folders, LONGEST_CALL) as deployment:
        assert talked(deployment.fleet, ssl.create_default_context(cafile=logs / "authority.pem")) == "h2"
        (tmp_path / "other").mkdir()
        another = make(tmp_path / "other").authority
        for stranger in (ssl.create_default_context(), ssl.create_default_context(cafile=another)):
            with pytest.raises(ssl.SSLCertVerificationError):
                talked(deployment.fleet, stranger)
        wait_for(logs / f"{folders[-1].name}.log", "SuperNode ID")  # else the server waits for it to come, two minutes
        kill(deployment.nodes[folders[-1].name])
        deployment.run("faces", server)
        processes = list(deployment.nodes.values())
    assert all(process.poll() is not None for process in processes)
    with np.load(server / "pool.npz") as pool:
        assert sorted(pool.files) == [folder.name for folder in folders[:-1]]
        for name in pool.files:
            assert np.array_equal(pool[name], np.load(fleet.folder / "devices" / name / RELEASED))
    received = json.loads((server / "received.json").read_text())
    assert {one["reason"] for one in received["refused"]} <= {"no-answer"}


def test_the_servers_key_is_for_its_owner_alone_and_no_two_runs_share_one(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first, second = make(tmp_path / "first"), make(tmp_path / "second")
    assert first.key.stat().st_mode & 0o077 == 0
    assert first.key.read_bytes() != second.key.read_bytes()
    assert first.authority.read_bytes() != second.authority.read_bytes()
