"""Neither Flower nor Ray reports its use: nothing is asked of a proxy that counts, where each would go through it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("flwr.app", reason="needs Flower: pip install -c constraints-fleet.txt '.[fleet]'")

from tests.reach.fleet.running import run_fleet

pytestmark = pytest.mark.timeout(600)

TELLS = """
{first}
from flwr.common.telemetry import EventType, event
event(EventType.PING).exception()  # once it has been told, or could not be
from ray._common.usage.usage_lib import usage_stats_enabled
print(usage_stats_enabled())
"""


class Proxy:
    """Takes connections, counts them, and lets nothing through."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """Sends whatever goes beyond this machine to it."""
        url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
        return dict.fromkeys(names, url) | {"no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost"}

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.asked.append(connection.recv(1000))
            connection.close()

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.close()


def said(repository: Path, proxy: Proxy, first: str) -> str:
    unset = {name: value for name, value in os.environ.items() if not name.startswith(("FLWR_", "RAY_"))}
    command = [sys.executable, "-c", TELLS.format(first=first)]
    return subprocess.run(
        command, cwd=repository, env=unset | proxy.environment, check=True, capture_output=True, text=True
    ).stdout


def test_the_proxy_hears_flower_where_the_example_is_not_imported(repository: Path, proxy: Proxy) -> None:
    assert said(repository, proxy, "") == "True\n"  # Ray would report too
    assert any(b"telemetry.flower.ai" in one for one in proxy.asked)


def test_importing_the_example_switches_both_off(repository: Path, proxy: Proxy) -> None:
    assert said(repository, proxy, "import examples.fleet") == "False\n"
    assert proxy.asked == []


def test_a_fleet_asks_nobody_but_its_own_machine_anything(repository: Path, proxy: Proxy, tmp_path: Path) -> None:
    run_fleet(repository, tmp_path / "runs", "--devices", "2", PRIVSDK_DATA="", **proxy.environment)
    # Ray looks for the cloud that it may run in, at addresses that no machine passes on.
    own = (b"http://169.254.169.254/", b"http://metadata.google.internal/")
    assert [one for one in proxy.asked if not one.removeprefix(b"GET ").removeprefix(b"PUT ").startswith(own)] == []
