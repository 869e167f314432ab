"""Both sides, under the names that Flower looks for."""

from __future__ import annotations

from examples.fleet.client_app import app as client
from examples.fleet.server_app import app as server

__all__ = ["client", "server"]
