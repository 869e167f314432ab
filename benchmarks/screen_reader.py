"""What a screen reader says while the page of examples/browser is used by the keyboard alone.

xvfb-run dbus-run-session -- python -m benchmarks.screen_reader

Needs Debian's chromium, orca, speech-dispatcher, at-spi2-core, dbus-x11, xvfb, xauth, openbox and xdotool, Node, and
`pip install -c constraints.txt '.[browser]'`.  Orca writes down what it says, so no sound is needed.  Photos are
given to the page by a program, since a file chooser is the desktop's; all else is typed.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from benchmarks.page import PATIENCE, REPOSITORY, served

PHOTOS = 3
BUS = "/usr/libexec/at-spi-bus-launcher"
# Without a way to make a sound Orca says nothing at all.
NO_SOUND = {
    ".asoundrc": "pcm.!default { type null }\nctl.!default { type null }\n",
    ".config/speech-dispatcher/speechd.conf": 'AudioOutputMethod "alsa"\n',
}
SAID = re.compile(r"SPEECH OUTPUT: '(.*?)' ?\[?\{'", re.DOTALL)
LONGEST_START = 30.0  # seconds until Orca speaks
PAUSE = 1.5  # seconds for what a key makes Orca say
ROWS = 2  # of a table, that are read line by line


class Reader:
    """Orca, by what it writes down into ``log``."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._heard = 0

    def heard(self) -> list[str]:
        """What it has said since this was asked last."""
        said = SAID.findall(self._log.read_text(errors="replace")) if self._log.exists() else []
        new = said[self._heard :]
        self._heard = len(said)
        return [" ".join(one.split()) for one in new]


def main() -> None:
    if "DISPLAY" not in os.environ or "DBUS_SESSION_BUS_ADDRESS" not in os.environ:
        raise SystemExit(
            "There is no display or no session bus: xvfb-run dbus-run-session -- python -m benchmarks.screen_reader"
        )
    with served() as address, orca_running() as orca, sync_playwright() as running:
        program = os.environ.get("PRIVSDK_CHROMIUM", "/usr/bin/chromium")
        switches = ["--no-sandbox", "--disable-gpu", "--force-renderer-accessibility"]
        browser = running.chromium.launch(executable_path=program, args=switches, headless=False)
        page = browser.new_page()
        page.goto(address)
        expect(page.locator("#status")).to_have_text("Ready.", timeout=PATIENCE)
        use(page, orca)
        browser.close()


def use(page: Page, orca: Reader) -> None:
    """A visit, step by step, printed with what is said in each."""

    def step(what: str, *keys: str, text: str = "") -> None:
        for key in keys:
            _press("key", key)
        if text:
            _press("type", "--delay", "150", text)
            _press("key", "Return")
        print(f"{what}: {' | '.join(orca.heard())}", flush=True)

    page.mouse.click(5, 5)  # at first the address bar has the keyboard
    time.sleep(PAUSE)
    step("the page is open")
    step("heading after heading", "h", "h", "h")
    step("to the photos", "ctrl+Home", "Tab")
    page.set_input_files("#photos", sorted((REPOSITORY / "examples" / "photos").glob("*.jpg"))[:PHOTOS])
    expect(page.locator("#status")).to_contain_text(" found.", timeout=PATIENCE)
    time.sleep(PAUSE)
    step("photos are chosen")
    step("to what is hidden", "Tab")
    step("a label that there is none of", text="Shoe size")
    step("a label", "ctrl+a", text="Male")
    step("to what is kept", "Tab", "Tab")
    step("a label", text="Smiling")
    step("to the button", "Tab", "Tab")
    step("Enter", "Return")
    expect(page.locator("#result")).to_be_visible(timeout=PATIENCE)
    time.sleep(PAUSE)
    step("the filter is fitted")
    step("line by line", *["Down"] * 5)
    step("to the button", "Tab", "Tab", "Tab")
    step("Enter", "Return")
    expect(page.locator("#status")).to_contain_text(" released.", timeout=PATIENCE)
    time.sleep(PAUSE)
    step("all are released")
    step("line by line", *["Down"] * (2 + 2 * ROWS))


@contextmanager
def orca_running() -> Iterator[Reader]:
    """Orca, as it runs on a desktop of its own; its settings lie in a folder that is deleted."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        log = Path(folder) / "said"
        for name, content in NO_SOUND.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        environment = {**os.environ, "HOME": folder, "XDG_RUNTIME_DIR": folder}
        switches = ["--replace", f"--debug-file={log}", "--enable", "speech"]
        bus = [BUS, "--launch-immediately", "--a11y=1", "--screen-reader=1"]
        speech = ["speech-dispatcher", "--run-single", "--communication-method", "unix_socket"]
        for command in (["openbox"], bus, speech, ["orca", *switches]):
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            running.callback(process.wait)
            running.callback(process.kill)
            time.sleep(PAUSE)  # each looks for the one before it
        orca, latest = Reader(log), time.monotonic() + LONGEST_START
        while not orca.heard():
            if time.monotonic() > latest:
                raise SystemExit(f"Orca said nothing in {LONGEST_START:.0f} seconds: are all packages installed?")
            time.sleep(PAUSE)
        yield orca


def _press(*words: str) -> None:
    subprocess.run(["xdotool", *words], check=True)
    time.sleep(PAUSE)


if __name__ == "__main__":
    main()
