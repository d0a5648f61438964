"""A page does not fall with the queue, and no poll runs the application's own hooks."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, abort, session

import cherga
from cherga import BrokerUnusable, Job
from cherga.contrib.flask import Cherga
from cherga.testing.clock import FakeClock
from cherga.web.outage import PAUSE
from tests.flask_site import STREAM, Site

LIST = "{% for job in cherga_jobs(owner='user:7') %}{{ cherga_progress(job) }}{% endfor %}"


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_list_of_an_owners_jobs_is_empty_while_the_broker_is_away(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.cherga.clock = clock = FakeClock()
    site.enqueue(owner="user:7")
    assert "<cherga-progress" in site.render(LIST)

    site.away = True
    assert [site.render(LIST) for _ in range(5)] == [""] * 5
    assert site.render("{{ cherga_jobs(owner='user:7').unavailable }}") == "True"

    site.away = False
    clock.advance(PAUSE)
    assert "<cherga-progress" in site.render(LIST)
    assert [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "cherga.web"] == [
        ("ERROR", "pages are shown without their jobs: nobody answers"),
        ("WARNING", "pages show their jobs again"),
    ]


def test_an_element_of_a_handle_says_nothing_about_the_broker(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.away = True

    for _ in range(2):
        assert site.render(LIST) == ""
        assert 'state="ready"' in site.render("{{ cherga_progress(job) }}")

    assert [record.levelname for record in caplog.records if record.name == "cherga.web"] == ["ERROR"]


def test_code_asks_for_the_jobs_of_a_page_in_the_same_way(site: Site) -> None:
    job = site.enqueue(owner="user:7")
    found = site.cherga.page_jobs(owner="user:7")
    assert (found, found.unavailable) == ([job], False)

    site.away = True
    found = site.cherga.page_jobs(owner="user:7")
    assert (found, found.unavailable) == ([], True)


def test_an_element_of_a_job_that_cannot_be_looked_up_says_so_and_asks_again_later(site: Site) -> None:
    assert 'state="ready"' in site.render("{{ cherga_progress(job.id) }}")
    assert site.render("({{ cherga_progress('01999999-0000-7000-8000-000000000000') }})") == "()"

    site.away = True
    html = site.render("{{ cherga_progress(job.id|string, data_text_unknown='Later.') }}")
    assert 'state="unknown"' in html
    assert ">Later.</span>" in html
    assert f'src="/cherga/live/{site.job.id}"' in html


def test_an_element_with_content_of_its_own_keeps_it(site: Site) -> None:
    site.away = True

    assert site.render("{% call cherga_progress(job.id) %}<b>…</b>{% endcall %}").endswith("><b>…</b></cherga-progress>")


def test_a_group_whose_members_cannot_be_counted_does_not_break_the_page(site: Site) -> None:
    group: Job[Any] = cherga.group(site.cherga.tasks["work"].s()).enqueue()
    assert 'state="blocked"' in site.render("{{ cherga_progress(it) }}", it=group)

    site.away = True
    assert 'state="unknown"' in site.render("{{ cherga_progress(it) }}", it=group)


def test_what_is_no_id_is_refused_with_what_was_expected(site: Site) -> None:
    with pytest.raises(ValueError, match="expected a job's id to be a UUID or its text, got 'seven'"):
        site.render("{{ cherga_progress('seven') }}")


def test_an_instance_folder_that_cannot_be_made_is_an_outage_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    app = Flask("shop", instance_path=str(tmp_path / "file" / "instance"))
    tasks = Cherga(app)

    assert tasks.page_jobs().unavailable

    with pytest.raises(BrokerUnusable, match="instance folder"):
        tasks.jobs()


# --- outside of the application's hooks


class Hooks:
    """An application that notes each of its hooks, writes into the session, and lets nobody in."""

    def __init__(self, app: Flask) -> None:
        self.called: list[str] = []
        app.before_request(self._before)
        app.after_request(self._after)
        app.teardown_request(lambda _: self.called.append("teardown_request"))
        app.teardown_appcontext(lambda _: self.called.append("teardown_appcontext"))
        app.register_error_handler(404, lambda _: ("a page of the application", 404))

    def _before(self) -> None:
        self.called.append("before")
        session["seen"] = "now"
        abort(401)

    def _after(self, response: Response) -> Response:
        self.called.append("after")
        return response


@pytest.fixture
def hooks(site: Site) -> Hooks:
    site.job = site.enqueue()
    address = site.address()
    site.address = lambda *_, **__: address  # type: ignore[method-assign]
    hooks = Hooks(site.app)
    hooks.called.clear()
    return hooks


@pytest.mark.parametrize("path", ["{address}", "/cherga/element.js", "/cherga/live/nonsense", "/cherga/live/{id}/cancel"])
def test_no_poll_runs_the_applications_hooks_or_writes_its_session(site: Site, hooks: Hooks, path: str) -> None:
    answer = site.app.test_client().get(path.format(address=site.address(), id=site.job.id))

    assert hooks.called == []
    assert "Set-Cookie" not in answer.headers
    assert b"a page of the application" not in answer.data
    assert answer.status_code != 401


def test_a_stream_runs_none_of_them_either(site: Site, hooks: Hooks) -> None:
    with site.served(), site.get(site.address(), Accept=STREAM) as answer:
        assert answer.headers["Content-Type"] == STREAM

    assert hooks.called == []


def test_pages_of_the_application_beside_the_live_pages_are_its_own() -> None:
    site = Site()
    site.app.add_url_rule("/cherga/live", "overview", lambda: "mine")

    assert site.app.test_client().get("/cherga/live").data == b"mine"
    assert site.app.test_client().get("/cherga/other").status_code == 404


def test_an_application_that_wants_its_hooks_around_the_endpoint_says_so() -> None:
    site = Site(hooks=True)
    seen: list[str] = []
    address = site.address()
    site.app.before_request(lambda: seen.append("before"))

    assert site.app.test_client().get(address).status_code == 200
    assert seen == ["before"]


def test_an_endpoint_that_fails_answers_small_json_and_tells_the_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.app.config["SECRET_KEY_FALLBACKS"] = 7
    answer = site.app.test_client().get(f"/cherga/live/{site.job.id}?token=x")

    assert (answer.status_code, answer.content_type) == (500, "application/json")
    assert [record.getMessage() for record in caplog.records if record.exc_info] == ["a live page could not be answered"]


def test_the_endpoint_tells_the_log_once_that_the_broker_is_away(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    address, client = site.address(), site.app.test_client()
    site.away = True

    assert [client.get(address).status_code for _ in range(3)] == [503] * 3
    assert [record.levelno for record in caplog.records if record.name == "cherga.web"] == [logging.ERROR]


def test_preflight_requests_are_left_to_the_application(site: Site) -> None:
    answer = site.app.test_client().options(site.address())

    assert answer.status_code == 200
    assert "GET" in answer.headers["Allow"]
