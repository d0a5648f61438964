"""``<cherga-progress>`` in a real browser, on a page with a strict Content-Security-Policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Response, render_template_string

from cherga import JobState
from cherga.testing import wait_until
from tests.flask_site import Site

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

PATIENCE = 15_000
HOSTILE = "<img src=x onerror=alert(1)>"

PAGE = """<!doctype html>
<html lang="en"><title>Work</title>
{{ cherga_script() }}
%s
"""

USUAL = "{{ cherga_progress(job, data_text_failed='It failed.', data_text_succeeded='Done.') }}"

OWN = """{% call cherga_progress(job) %}
  <b data-cherga="description">Server words</b> <i data-cherga="percent" data-format="{} per cent"></i>
  <u data-cherga="note"></u> <progress data-cherga="bar" max="10"></progress>
{% endcall %}"""

BARE = (
    """<cherga-progress src="{{ url_for('cherga.live', job_id=job.id) }}" token="{{ cherga_token(job) }}"></cherga-progress>"""
)

GONE = """{% set id = "01999999-0000-7000-8000-000000000000" %}
<cherga-progress src="{{ url_for('cherga.live', job_id=id) }}" token="{{ cherga_token(id) }}"></cherga-progress>"""

LISTEN = """
window.heard = [];
window.logs = [];
document.addEventListener("cherga-update", (event) => logs.push(...event.detail.logs));
for (const name of ["cherga-update", "cherga-end"]) {
  document.addEventListener(name, (event) => heard.push([name, event.detail.state]));
}
"""


class Visit:
    """One page of a site, open in the browser, and what was asked of the site."""

    def __init__(self, browser: Any, site: Site, body: str) -> None:
        self.site = site
        self.asked: list[str] = []
        self.complaints: list[str] = []
        site.app.add_url_rule("/favicon.ico", "icon", lambda: ("", 204))
        site.app.add_url_rule("/", "page", lambda: _with_policy(self._render(body)))
        self._context = browser.new_context()
        self._context.set_default_timeout(PATIENCE)
        self._context.add_init_script(LISTEN)
        self._context.on("request", self._note)
        self._context.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        self._context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        self._rendered = 0
        self.page = self._context.new_page()
        self.page.clock.install()

    def _render(self, body: str) -> str:
        self._rendered += 1
        jobs = [] if self.site.away else self.site.cherga.jobs()
        values = {"job": self.site.job if self.site.away else self.site.job.refresh(), "is_first": self._rendered == 1}
        return render_template_string(PAGE % body, jobs=jobs, **values)

    def another(self) -> Any:
        """The same address in another tab of this browser."""
        tab = self._context.new_page()
        tab.goto(f"http://127.0.0.1:{self.site.port}/")
        return tab

    def close(self) -> None:
        self._context.close()

    def open(self) -> None:
        self.page.goto(f"http://127.0.0.1:{self.site.port}/")

    def wait(self, **attributes: str) -> None:
        """Until the element has these attributes."""
        self.page.wait_for_selector("cherga-progress" + "".join(f'[{name}="{value}"]' for name, value in attributes.items()))

    def text(self, selector: str = "cherga-progress") -> str:
        return " ".join(self.page.locator(selector).inner_text().split())

    def heard(self) -> list[list[str]]:
        return list(self.page.evaluate("heard"))

    def count(self, kind: str) -> int:
        return self.asked.count(kind)

    def seat_is_free(self) -> bool:
        """Whether the site would give its one seat for a stream to somebody else."""
        return bool(self.site.get_json(self.site.address())["mode"] == "stream")

    def hide(self, hidden: bool) -> None:
        """As if the visitor turned to another tab, or came back."""
        self.page.evaluate(
            """(hidden) => {
              Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
              document.dispatchEvent(new Event("visibilitychange"));
            }""",
            hidden,
        )

    def skip(self, ms: int = 60_000) -> None:
        """Turn the page's clock on, so that what it meant to do by then is done, and await an answer from the site."""
        self.page.clock.fast_forward(ms)
        self.page.evaluate("fetch('/favicon.ico').then((answer) => answer.status)")

    def until(self, condition: Callable[[], Any], description: str) -> None:
        """Wait for the condition, and let the browser tell us meanwhile what it does."""

        def look() -> Any:
            self.page.wait_for_timeout(20)
            return condition()

        wait_until(look, description, PATIENCE / 1000)

    def _note(self, request: Any) -> None:
        if "/live/" in request.url:
            assert "token" not in request.url  # addresses stand in logs
            self.asked.append("stream" if _is_stream(request) else "json")


def _is_stream(request: Any) -> bool:
    return bool(request.headers.get("accept") == "text/event-stream")


def _with_policy(html: str) -> Response:
    return Response(html, headers={"Content-Security-Policy": "default-src 'self'; require-trusted-types-for 'script'"})


@pytest.fixture
def visit(browser: Any, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A visit to a page with the body, and to a site with the settings, that ``staged`` names."""
    body, live = request.param
    site = Site(**{"heartbeat": 0.1} | live)

    with site.served():
        visit = Visit(browser, site, body)
        yield visit
        visit.close()

    assert visit.complaints == []


def staged(body: str = USUAL, **live: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("visit", [(body, live)], indirect=True, ids=[""])


@staged(max_streams=1)
def test_a_stream_moves_the_element_to_its_end_without_a_reload(visit: Visit) -> None:
    visit.open()
    visit.wait(state="ready", mode="stream", role="status")
    visit.site.hand.claim()

    for done in (1, 2, 3):
        visit.site.hand.progress(done, 4)
        visit.wait(state="running", percent=str(25 * done))

    assert visit.text() == "Working… 75% Running 3 / 4"
    assert visit.page.evaluate("document.querySelector('progress').value") == 75

    visit.site.hand.end()
    visit.wait(state="succeeded", percent="100")
    assert visit.text() == "Working… 100% Done."
    visit.skip()
    assert visit.heard()[-2:] == [["cherga-update", "succeeded"], ["cherga-end", "succeeded"]]
    assert [name for name, _ in visit.heard()].count("cherga-end") == 1
    assert (visit.count("json"), visit.count("stream")) == (1, 1)
    visit.until(visit.seat_is_free, "the seat is free again")


@staged(mode="poll")
def test_polling_moves_it_as_well(visit: Visit) -> None:
    visit.open()
    visit.wait(state="ready", mode="poll")
    visit.site.hand.claim()
    visit.site.hand.progress(1, 2)
    visit.wait(state="running", percent="50")
    visit.site.hand.end(JobState.FAILED)
    visit.wait(state="failed")

    assert visit.text() == "Working… 50% It failed."
    assert visit.count("stream") == 0
    asked = visit.count("json")
    visit.skip()
    assert visit.count("json") == asked


@staged(OWN)
def test_content_of_the_page_is_filled_where_it_says_so(visit: Visit) -> None:
    visit.open()
    visit.site.hand.claim()
    visit.site.hand.progress(1, 4, HOSTILE)
    visit.wait(percent="25")

    assert visit.text() == f"Working… 25 per cent {HOSTILE}"
    assert visit.page.evaluate("document.querySelector('progress').value") == 2.5
    assert visit.page.locator("img").count() == 0


@staged(BARE)
def test_an_empty_element_furnishes_itself(visit: Visit) -> None:
    visit.open()
    visit.wait(state="ready")

    assert visit.text() == "Working… Waiting"
    assert visit.page.locator("cherga-progress > progress[value='0']").count() == 1

    visit.site.hand.claim()
    visit.wait(state="running")

    assert visit.text() == "Working… Running"
    assert visit.page.locator("cherga-progress > progress:not([value])").count() == 1


@staged()
def test_it_polls_when_streams_do_not_get_through(visit: Visit) -> None:
    visit.page.route("**/live/**", lambda route: route.abort() if _is_stream(route.request) else route.continue_())
    visit.open()
    visit.until(lambda: visit.count("stream") == 3, "three streams were tried")
    visit.site.hand.claim()
    visit.site.hand.progress(1, 2)
    visit.wait(mode="poll", percent="50")
    visit.site.hand.end()
    visit.wait(state="succeeded")

    assert visit.count("stream") == 3
    visit.complaints[:] = [text for text in visit.complaints if "ERR_FAILED" not in text]


@staged(max_streams=0)
def test_it_polls_when_the_server_has_no_seat(visit: Visit) -> None:
    visit.open()
    visit.wait(mode="poll", state="ready")

    assert visit.count("stream") == 0


@staged(max_streams=1)
def test_it_rests_while_the_tab_is_hidden_and_catches_up_afterwards(visit: Visit) -> None:
    visit.open()
    visit.wait(mode="stream")
    visit.hide(True)
    visit.until(visit.seat_is_free, "the stream was closed")
    asked = len(visit.asked)

    visit.site.hand.claim()
    visit.site.hand.progress(3, 4)
    visit.skip()
    assert len(visit.asked) == asked

    visit.hide(False)
    visit.wait(percent="75", mode="stream")


@staged(mode="poll")
def test_it_stops_asking_when_it_is_not_admitted(visit: Visit) -> None:
    visit.open()
    visit.wait(state="ready")
    visit.site.app.secret_key = "another"
    visit.until(lambda: any("403" in text for text in visit.complaints), "the element was refused")
    asked = len(visit.asked)
    visit.skip()

    assert len(visit.asked) == asked
    visit.complaints.clear()


@staged(mode="poll")
def test_it_comes_back_when_the_site_was_away(visit: Visit) -> None:
    visit.page.route("**/live/**", lambda route: route.abort())
    visit.open()
    visit.until(lambda: len(visit.asked) >= 2, "it tried again")
    visit.page.unroute("**/live/**")
    visit.site.hand.claim()
    visit.site.hand.end()

    visit.wait(state="succeeded")
    visit.complaints[:] = [text for text in visit.complaints if "ERR_FAILED" not in text]


@staged(OWN * 4)
def test_several_elements_about_one_job_share_a_stream(visit: Visit) -> None:
    visit.open()
    visit.until(lambda: visit.page.locator("cherga-progress[mode=shared]").count() == 3, "three of them listen to the fourth")
    visit.site.hand.claim()
    visit.site.hand.progress(1, 4)
    visit.until(lambda: visit.page.locator("cherga-progress[percent='25']").count() == 4, "all show the same")

    assert visit.page.locator("cherga-progress[mode=stream]").count() == 1
    assert visit.count("stream") == 1


@staged("{% for each in jobs %}{{ cherga_progress(each) }}{% endfor %}")
def test_elements_about_several_jobs_leave_connections_for_the_page(visit: Visit) -> None:
    visit.site.enqueue(), visit.site.enqueue(), visit.site.enqueue()
    visit.open()
    visit.until(lambda: visit.page.locator("cherga-progress[mode]").count() == 4, "all four are at work")
    visit.until(lambda: visit.page.locator("cherga-progress[mode=poll]").count() == 2, "two of them have no stream to be had")

    assert visit.page.locator("cherga-progress[mode=stream]").count() == 2


@staged(max_streams=2)
def test_eight_tabs_are_live_on_one_stream_and_another_goes_on_when_its_tab_is_closed(visit: Visit) -> None:
    visit.open()
    visit.wait(mode="stream")
    tabs = [visit.another() for _ in range(7)]

    for tab in tabs:
        tab.wait_for_selector("cherga-progress[mode=shared]")

    visit.site.hand.claim()
    visit.site.hand.progress(1, 4)

    for tab in (visit.page, *tabs):
        tab.wait_for_selector("cherga-progress[percent='25']")

    assert visit.count("stream") == 1

    visit.page.close()
    visit.page = tabs[0]
    visit.until(lambda: visit.count("stream") == 2, "another tab asks from now on")
    visit.site.hand.progress(2, 4)

    for tab in tabs:
        tab.wait_for_selector("cherga-progress[percent='50']")

    visit.site.hand.end()

    for tab in tabs:
        tab.wait_for_selector("cherga-progress[state=succeeded]")

    assert visit.count("stream") == 2


@staged()
def test_each_tab_is_told_every_log_line_once(visit: Visit) -> None:
    visit.site.hand.claim()
    visit.open()
    visit.wait(mode="stream")
    tabs = [visit.page]

    for number in range(4):
        tabs.append(visit.another())
        visit.site.hand.log(f"{number}a")
        visit.site.hand.log(f"{number}b", f"{number}c")

    visit.site.hand.end()
    lines = [f"{number}{letter}" for number in range(4) for letter in "abc"]

    for tab in tabs:
        tab.wait_for_selector("cherga-progress[state=succeeded]")
        assert tab.evaluate("logs") == lines


@staged("{{ cherga_progress(job, cancel=is_first) }}")
def test_a_tab_that_shares_the_stream_of_one_that_may_cancel_may_not_do_so_itself(visit: Visit) -> None:
    visit.open()
    visit.wait(mode="stream")
    other = visit.another()
    other.wait_for_selector("cherga-progress[mode=shared]")
    visit.site.hand.claim()
    visit.wait(state="running")
    other.wait_for_selector("cherga-progress[state=running]")

    assert visit.page.locator("button").is_visible()
    assert not other.locator("button").is_visible()


@staged()
def test_without_locks_it_polls(visit: Visit) -> None:
    visit.page.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    visit.open()
    visit.wait(mode="poll")
    visit.site.hand.claim()
    visit.site.hand.progress(1, 2)
    visit.wait(percent="50")

    assert visit.count("stream") == 0


@staged("{{ cherga_progress(job.id) }}")
def test_an_element_made_while_the_broker_was_away_finds_its_job_when_it_is_back(visit: Visit) -> None:
    visit.site.away = True
    visit.open()
    visit.wait(state="unknown")
    assert visit.text() == "Cannot be shown just now"

    visit.site.away = False
    visit.wait(state="ready")
    assert visit.text() == "Working… Waiting"
    visit.complaints[:] = [text for text in visit.complaints if "503" not in text]


@staged("{{ cherga_progress(job, state='held') }}")
def test_a_job_that_leaves_with_a_transaction_is_awaited_for_a_while(visit: Visit) -> None:
    visit.page.route("**/live/**", lambda route: route.fulfill(status=404, body="{}"))
    visit.open()
    visit.until(lambda: visit.count("json") == 2, "it asks again")
    visit.page.unroute("**/live/**")
    visit.wait(state="ready")
    visit.complaints[:] = [text for text in visit.complaints if "404" not in text]


@staged(GONE)
def test_a_job_that_is_kept_no_more_is_not_asked_for_again(visit: Visit) -> None:
    visit.open()
    visit.until(lambda: any("404" in text for text in visit.complaints), "the element was told")
    visit.skip()

    assert visit.count("json") == 1
    visit.complaints.clear()


@staged("{{ cherga_progress(job, live='off') }}")
def test_an_element_that_is_switched_off_asks_nothing(visit: Visit) -> None:
    visit.open()
    visit.skip()

    assert visit.text() == "Working… Waiting"
    assert visit.asked == []


@staged()
def test_a_job_that_has_ended_is_shown_without_asking(visit: Visit) -> None:
    visit.site.hand.claim()
    visit.site.hand.end()
    visit.open()
    visit.skip()

    assert visit.text() == "Working… 100% Done."
    assert (visit.asked, visit.heard()) == ([], [])


@staged(max_streams=1)
def test_an_element_that_is_taken_off_the_page_hangs_up(visit: Visit) -> None:
    visit.open()
    visit.wait(mode="stream")
    visit.page.evaluate("document.querySelector('cherga-progress').remove()")

    visit.until(visit.seat_is_free, "the stream was closed")


@staged("{{ cherga_progress(job, cancel=True) }}")
def test_a_visitor_who_may_cancels_the_job_by_the_keyboard_alone(visit: Visit) -> None:
    visit.open()
    visit.wait(state="ready", mode="stream")
    visit.site.hand.claim()
    visit.wait(state="running")
    visit.page.keyboard.press("Tab")
    visit.page.keyboard.press("Enter")
    visit.until(lambda: "Stopping…" in visit.text(), "the page says that the job is asked to stop")

    assert visit.page.locator("button").is_disabled()
    assert visit.site.job.refresh().row.cancel_requested

    visit.site.hand.end(JobState.CANCELLED)
    visit.wait(state="cancelled")
    assert "Cancelled" in visit.text()
    assert not visit.page.locator("button").is_visible()


@staged(USUAL)
def test_who_may_not_cancel_is_shown_no_button(visit: Visit) -> None:
    visit.open()
    visit.wait(state="ready", mode="stream")

    assert not visit.page.locator("button").is_visible()


LUMINANCE = """
(element) => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const light = (colour) => {
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const bar = element.querySelector("progress"), style = getComputedStyle(bar);
  const page = light(document.documentElement.matches("[data-dark]") ? "#121212" : "#ffffff");
  const ratio = (one, other) => (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  return [ratio(light(style.borderTopColor), page), ratio(light(style.getPropertyValue("color")), page)];
}
"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("end", [None, JobState.SUCCEEDED, JobState.FAILED])
@staged(USUAL)
def test_bar_and_border_stand_out_from_a_light_and_a_dark_page(visit: Visit, dark: bool, end: JobState | None) -> None:
    visit.page.emulate_media(color_scheme="dark" if dark else "light")
    visit.site.hand.claim()
    visit.site.hand.progress(1, 2)

    if end is not None:
        visit.site.hand.end(end)

    visit.open()
    visit.page.evaluate(
        "(dark) => { const root = document.documentElement; root.style.colorScheme = 'light dark'; "
        "root.toggleAttribute('data-dark', dark) }",
        dark,
    )
    border, fill = visit.page.locator("cherga-progress").evaluate(LUMINANCE)

    assert border >= 3
    assert fill >= 3


@staged(USUAL)
def test_forced_colours_keep_bar_and_words(visit: Visit) -> None:
    visit.page.emulate_media(forced_colors="active")
    visit.site.hand.claim()
    visit.site.hand.progress(1, 2)
    visit.open()
    visit.wait(state="running")
    style = "(bar) => [getComputedStyle(bar).borderTopColor, getComputedStyle(bar).backgroundColor]"
    border, background = visit.page.locator("progress").evaluate(style)

    assert border != background
    assert visit.text() == "Working… 50% Running 1 / 2"
