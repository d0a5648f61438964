"""A real browser orders reports of the FastAPI example, and sees them being made, in one window and in two."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DEMO = Path(__file__).parents[2] / "examples/fastapi_reports/run_demo.py"
PATIENCE = 30_000

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a running demonstration."""
    command = [sys.executable, str(DEMO), "--pause", "0.1"]

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8") as process:
        assert process.stdout is not None
        found = (re.search(r"http://\S+", line) for line in process.stdout)

        try:
            yield next(match[0] for match in found if match)
        finally:
            process.terminate()


@pytest.fixture
def context(browser: Any, url: str) -> Iterator[Any]:
    """A browser of somebody who was never here; nothing may be complained of in its console."""
    complaints: list[str] = []
    context = browser.new_context(base_url=url, viewport={"width": 360, "height": 740}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    context.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context
    context.close()
    assert complaints == []


def test_a_report_is_ordered_followed_and_opened_without_a_reload(context: Any) -> None:
    page = context.new_page()
    page.goto("/")
    loads: list[str] = []
    page.on("load", lambda: loads.append(page.url))
    _order(page, "2024", "book")
    page.wait_for_selector("cherga-progress[state=running][mode=stream]")
    page.wait_for_selector("cherga-progress[state=succeeded]")
    assert not loads

    page.get_by_role("link", name="Open").click()
    page.get_by_role("heading", name="2024 by book").wait_for()
    assert page.locator("tbody tr").count() == 8


def test_who_orders_twice_sees_one_report_and_two_windows_share_its_stream(context: Any) -> None:
    streams: list[str] = []
    context.on(
        "request", lambda asked: streams.append(asked.url) if "event-stream" in asked.headers.get("accept", "") else None
    )
    page = context.new_page()
    page.goto("/")
    _order(page, "2023", "city")
    _order(page, "2023", "city")
    other = context.new_page()
    other.goto("/")

    for each in (page, other):
        each.wait_for_selector("cherga-progress[state=succeeded]")
        assert each.locator("cherga-progress").count() == 1

    assert len(streams) == 1


def test_a_report_is_cancelled_in_the_page(context: Any) -> None:
    page = context.new_page()
    page.goto("/")
    _order(page, "2022", "book")
    page.wait_for_selector("cherga-progress[state=running]")
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_selector("cherga-progress[state=cancelled]")
    assert not page.get_by_role("link", name="Open").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_keep_within_a_narrow_screen(context: Any, scheme: str) -> None:
    page = context.new_page()
    page.emulate_media(color_scheme=scheme)
    page.goto("/")
    _order(page, "2025", "book")
    page.wait_for_selector("cherga-progress[state=succeeded]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360

    page.get_by_role("link", name="Open").click()
    page.wait_for_selector("table")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def _order(page: Any, year: str, column: str) -> None:
    page.get_by_role("combobox", name="Year").select_option(year)
    page.get_by_role("combobox", name="By").select_option(column)

    with page.expect_response(lambda answer: answer.request.method == "POST"):
        page.get_by_role("button", name="Make the report").click()


def _is_stream(request: Any) -> bool:
    return bool(request.headers.get("accept") == "text/event-stream")
