"""The page of examples/browser, put together and served."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

REPOSITORY = Path(__file__).resolve().parents[1]
KEY = bytes(range(32))
GIVE_A_KEY = """async () => {
  const bytes = Uint8Array.from({length: 32}, (_, byte) => byte);
  const key = await crypto.subtle.importKey('raw', bytes, {name: 'HMAC', hash: 'SHA-256'}, false, ['sign']);
  const request = indexedDB.open('privsdk', 1);
  request.onupgradeneeded = () => ['keys', 'ledger'].forEach(name => request.result.createObjectStore(name));
  await new Promise(done => (request.onsuccess = done));
  const kept = request.result.transaction('keys', 'readwrite').objectStore('keys').put(key, 'device');
  await new Promise(done => (kept.onsuccess = done));
  request.result.close();
}"""
"""The device's key is drawn by the browser and cannot be read; to compare releases it has to be known."""


def built(folder: Path) -> Path:
    """The page, in a folder that is made."""
    command = [sys.executable, str(REPOSITORY / "examples" / "browser" / "build.py"), str(folder)]
    subprocess.run(command, check=True)
    return folder


class Server:
    """Serves a folder on this machine and notes what it was asked for: ``with Server(folder) as server``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.missing: list[str] = []
        self.methods: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self, directory=str(folder)))
        self.address = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Server:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript", ".wasm": "application/wasm"}

    def __init__(self, noted: Server, *arguments: object, directory: str) -> None:
        self._noted = noted
        super().__init__(*arguments, directory=directory)  # type: ignore[arg-type]

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        self._noted.asked.append(self.path)
        self._noted.methods.add(self.command)
        if int(code) >= 400:
            self._noted.missing.append(self.path)
