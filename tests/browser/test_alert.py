"""A real browser watches an export of the demonstration: the alert appears, moves and ends without a reload."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "artifacts"
"""Pictures for people to look at are kept there, where somebody has made that folder."""
PATIENCE = 30_000

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

SEE_EVERY_CHANGE = """
() => {
  const element = document.querySelector("cherga-progress");
  const text = element.querySelector('[data-cherga="percent"]');
  window.seen = [];
  const note = () => window.seen.push(parseInt(text.textContent));
  new MutationObserver(note).observe(text, {childList: true, characterData: true, subtree: true});
}
"""


@pytest.fixture(scope="module")
def demo() -> Iterator[dict[str, str]]:
    """The addresses of a running demonstration."""
    command = [sys.executable, str(ROOT / "examples/microblog/run_demo.py"), "--posts-delay", "0.001"]

    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8")

        try:
            yield dict(_addresses(process))
        finally:
            process.terminate()
            process.communicate(timeout=30)


@pytest.fixture
def page(browser: Any, demo: dict[str, str]) -> Iterator[Any]:
    screen = {"width": 1000, "height": 800}
    context = browser.new_context(base_url=demo["Microblog"], viewport=screen, locale="en", reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()


def test_the_alert_appears_moves_and_ends_without_a_reload(page: Any) -> None:
    _log_in(page, "jane")
    page.get_by_role("button", name="Export your posts").click()
    alert = page.locator("cherga-progress")
    alert.wait_for()
    page.evaluate(SEE_EVERY_CHANGE)
    loads: list[str] = []
    page.on("load", lambda: loads.append(page.url))
    assert not page.get_by_role("button", name="Export your posts").is_visible()

    alert.get_by_text(re.compile(r"^[4-8]\d%$")).wait_for()
    _keep(page, "export-runs")
    _wait_for_state(page, "succeeded")
    assert page.get_by_text("Your posts are on their way to jane@microblog.example.").is_visible()
    assert page.get_by_role("button", name="Export your posts").is_visible()
    _keep(page, "export-ended")

    seen = page.evaluate("window.seen")
    assert seen == sorted(seen)
    assert len(set(seen)) > 5
    assert not loads


def test_the_alert_goes_along_to_other_pages(page: Any) -> None:
    _log_in(page, "jane")
    page.get_by_role("button", name="Export your posts").click()
    page.locator("cherga-progress").wait_for()

    page.goto("/")
    _wait_for_state(page, "running")
    _wait_for_state(page, "succeeded")


def test_the_alert_turns_red_and_the_user_tries_again(page: Any, demo: dict[str, str]) -> None:
    _switch_mail_server(page, demo, "Refuse mail")
    _log_in(page, "ambrose")
    page.get_by_role("button", name="Export your posts").click()

    _wait_for_state(page, "failed")
    assert page.get_by_text("Your posts could not be exported.").is_visible()
    _keep(page, "export-failed")
    assert page.get_by_role("button", name="Export your posts").is_visible()

    address = page.url
    _switch_mail_server(page, demo, "Accept mail")
    page.goto(address)
    page.get_by_role("button", name="Try again").click()
    _wait_for_state(page, "succeeded")
    assert page.get_by_text("Your posts are on their way to ambrose@microblog.example.").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_keep_within_a_narrow_screen(browser: Any, demo: dict[str, str], scheme: str) -> None:
    context = browser.new_context(
        base_url=demo["Microblog"], viewport={"width": 360, "height": 740}, color_scheme=scheme, locale="ru"
    )
    page = context.new_page()

    for path in ("/", "/login", "/signup", "/user/jane"):
        page.goto(path)
        _keep(page, f"narrow-{scheme}{path.replace('/', '-')}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path

    context.close()


def _addresses(process: subprocess.Popen[str]) -> Iterator[tuple[str, str]]:
    """The lines ``Microblog http://…`` and ``Mail http://…`` that the demonstration prints when it is ready."""
    assert process.stdout is not None
    found = 0

    for line in process.stdout:
        if match := re.fullmatch(r"\s+(\w+)\s+(http://\S+)\s*", line):
            found += 1
            yield match[1], match[2]

        if found == 2:
            return


def _log_in(page: Any, username: str) -> None:
    page.goto("/login")
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill("open sesame")
    page.get_by_role("main").get_by_role("button", name="Log in").click()
    page.goto(f"/user/{username}")


def _wait_for_state(page: Any, state: str) -> None:
    page.locator(f'cherga-progress[state="{state}"]').wait_for()


def _switch_mail_server(page: Any, demo: dict[str, str], button: str) -> None:
    page.goto(demo["Mail"])
    page.get_by_role("button", name=button).click()
    page.get_by_role("button", name=button).wait_for(state="detached")


def _keep(page: Any, name: str) -> None:
    if ARTIFACTS.is_dir():
        page.screenshot(path=ARTIFACTS / f"{name}.png")
