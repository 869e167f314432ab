"""A real Chromium, headless, for the tests of what is looked at in a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, or the one that PRIVSDK_CHROMIUM names; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install '.[browser]'")
    program = shutil.which(os.environ.get("PRIVSDK_CHROMIUM", "/usr/bin/chromium"))
    if program is None:
        pytest.skip("needs Chromium: install it as /usr/bin/chromium, or name it in PRIVSDK_CHROMIUM")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=list(QUIET))
        yield browser
        browser.close()
