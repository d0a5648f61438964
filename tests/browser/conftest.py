"""The real browser of these tests. Where there is none they are skipped, and say why."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for the tests of one module: while it runs, nothing else in this thread can run a loop of its own."""
    if os.environ.get("CI"):
        pytest.skip("browser tests are not run in CI")

    if CHROMIUM is None:
        pytest.skip("there is no chromium (Debian: apt install chromium)")

    playwright = pytest.importorskip("playwright.sync_api", reason="there is no playwright (pip install playwright)")

    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()
