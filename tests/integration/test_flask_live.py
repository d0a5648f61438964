"""The live endpoint over real HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cherga.testing import wait_until
from tests.flask_site import STREAM, Site, read_events, read_news


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site(heartbeat=0.05)

    with site.served():
        yield site


def test_a_page_learns_how_the_job_stands_and_that_it_may_have_a_stream(site: Site) -> None:
    with site.get(site.address()) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"

    told = site.get_json(site.address())
    assert (told["state"], told["mode"], told["description"]) == ("ready", "stream", "Working…")


def test_a_stream_tells_every_step_as_it_happens_and_ends_with_the_job(site: Site) -> None:
    with site.get(site.address(), Accept=STREAM) as answer:
        assert answer.headers["Content-Type"].startswith(STREAM)
        assert answer.headers["X-Accel-Buffering"] == "no"
        news = read_news(answer)
        assert next(news)["state"] == "ready"

        site.hand.claim()
        assert next(news)["state"] == "running"

        site.hand.progress(1, 4, "first")
        assert next(news)["progress"] == {"done": 1, "total": 4, "percent": 25, "note": "first"}

        site.hand.end()
        last = next(news)
        assert (last["state"], last["final"]) == ("succeeded", True)
        assert list(news) == []

    wait_until(lambda: site.get_json(site.address(site.enqueue()))["mode"] == "stream", "the seat is free again")


def test_a_browser_that_comes_back_goes_on_after_the_last_event_it_saw(site: Site) -> None:
    site.hand.claim()
    site.hand.log("one", "two")

    with site.get(site.address(), Accept=STREAM) as answer:
        first = next(event for event in read_events(answer) if "data" in event)

    site.hand.log("three")

    with site.get(site.address(after=0), Accept=STREAM, Last_Event_ID=first["id"]) as answer:
        assert next(read_news(answer))["logs"] == ["three"]


def test_a_quiet_stream_sends_comments(site: Site) -> None:
    with site.get(site.address(), Accept=STREAM) as answer:
        events = read_events(answer)
        assert next(events) == {"retry": "2000"}
        assert "data" in next(events)
        assert next(events) == {"": ""}


def test_a_client_that_hangs_up_frees_its_seat() -> None:
    site = Site(max_streams=1, heartbeat=0.05)

    with site.served():
        with site.get(site.address(), Accept=STREAM) as answer:
            next(read_news(answer))
            assert site.get_json(site.address())["mode"] == "poll"

        wait_until(lambda: site.get_json(site.address())["mode"] == "stream", "the seat is free again")


def test_more_clients_than_seats_are_told_to_poll_and_the_site_goes_on_answering() -> None:
    site = Site(max_streams=4, max_streams_per_job=100)

    with site.served():
        answers = [site.get(site.address(), Accept=STREAM) for _ in range(12)]
        kinds = [(answer.status, answer.headers["Content-Type"].partition(";")[0]) for answer in answers]

        assert kinds == [(200, STREAM)] * 4 + [(200, "application/json")] * 8
        assert site.get_json(site.address())["mode"] == "poll"

        for answer in answers:
            answer.close()


def test_a_stream_that_is_old_enough_ends_and_the_next_one_goes_on(site: Site) -> None:
    site = Site(max_age=0.0, heartbeat=0.02)

    with site.served():
        for _ in range(2):
            with site.get(site.address(), Accept=STREAM) as answer:
                assert [news["final"] for news in read_news(answer)] == [False]


def test_the_token_stands_in_a_header_so_that_no_log_holds_it(site: Site) -> None:
    path, _, query = site.address().partition("?")
    token = query.removeprefix("token=")

    with site.get(path, Accept=STREAM, Cherga_Token=token) as answer:
        assert next(read_news(answer))["state"] == "ready"

    assert site.get_json(path, Cherga_Token=token)["state"] == "ready"
    assert site.get_json(f"{path}?token=old", Cherga_Token=token)["state"] == "ready"

    with site.get(site.address(), Cherga_Token="forged") as answer:
        assert answer.status == 403


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/cherga/live/{id}", 403, "expected a token"),
        ("/cherga/live/{id}?token=forged", 403, "expected a token"),
        ("/cherga/live/00000000-0000-0000-0000-000000000000?token=forged", 403, "expected a token"),
        ("/cherga/live/nonsense", 404, "no such job"),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", STREAM])
def test_refusals_are_small_json_that_gives_nothing_away(site: Site, path: str, status: int, error: str, accept: str) -> None:
    with site.get(path.format(id=site.job.id), Accept=accept) as answer:
        body = answer.read()

        assert answer.status == status
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"

    assert len(body) < 100
    assert error.encode() in body


def test_a_page_that_has_seen_everything_costs_no_body(site: Site) -> None:
    with site.get(site.address()) as answer:
        tag = answer.headers["ETag"]

    with site.get(site.address(), If_None_Match=tag) as answer:
        assert (answer.status, answer.read()) == (304, b"")


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE"])
def test_the_endpoint_can_only_be_read(site: Site, verb: str) -> None:
    assert site.app.test_client().open(site.address(), method=verb).status_code == 405


def test_a_head_request_takes_no_seat() -> None:
    site = Site(mode="stream", max_streams=1)
    client = site.app.test_client()
    headers = {"Accept": STREAM}

    assert client.head(site.address(), headers=headers).content_type.startswith(STREAM)

    with client.get(site.address(), headers=headers) as answer:
        assert answer.content_type.startswith(STREAM)


def test_a_server_with_one_thread_is_not_held_up_by_streams() -> None:
    site = Site()
    answer = site.app.test_client().get(site.address(), headers={"Accept": STREAM}, environ_base={"wsgi.multithread": False})

    assert answer.json is not None
    assert answer.json["mode"] == "poll"


def test_the_script_is_served_for_good_under_its_versioned_address(site: Site) -> None:
    path = site.render("{{ cherga_script() }}").split('src="')[1].split('"')[0]

    with site.get(path) as answer:
        assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert answer.headers["Cache-Control"] == "public, max-age=31536000"
        assert b"customElements.define" in answer.read()

    with site.get("/cherga/element.js?v=older") as answer:
        assert answer.headers["Cache-Control"] == "public, max-age=300"
        tag = answer.headers["ETag"]

    with site.get("/cherga/element.js", If_None_Match=tag) as answer:
        assert answer.status == 304


def test_many_readers_see_the_same_end(site: Site) -> None:
    seen: list[list[Any]] = []

    def read() -> None:
        with site.get(site.address(), Accept=STREAM) as answer:
            seen.append([news["state"] for news in read_news(answer)])

    readers = [threading.Thread(target=read) for _ in range(5)]

    for reader in readers:
        reader.start()

    wait_until(lambda: site.get_json(site.address())["mode"] == "poll", "five streams about the job are open")
    site.hand.claim()
    site.hand.end()

    for reader in readers:
        reader.join(20)

    assert [states[-1] for states in seen] == ["succeeded"] * 5


def test_a_stream_follows_a_job_that_another_process_keeps_in_a_file(tmp_path: Path) -> None:
    site = Site(f"sqlite:///{tmp_path}/jobs.db")

    with site.served(), site.get(site.address(), Accept=STREAM) as answer:
        news = read_news(answer)
        next(news)
        site.hand.claim()
        site.hand.progress(1, 2)
        site.hand.end()

        assert [told["state"] for told in news][-1] == "succeeded"


def test_the_usual_look_is_a_style_sheet_of_the_site(site: Site) -> None:
    path = site.render("{{ cherga_script() }}").split('href="')[1].split('"')[0]

    with site.get(path) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
        assert "max-age=31536000" in answer.headers["Cache-Control"]


def test_a_job_is_cancelled_by_a_post_with_the_token_in_its_header(site: Site) -> None:
    token = site.render("{{ cherga_token(job, cancel=True) }}")
    path = f"/cherga/live/{site.job.id}/cancel"

    with site.get(f"{path}?token={token}", method="POST") as answer:
        assert answer.status == 403

    with site.get(path, Cherga_Token=token) as answer:
        assert answer.status == 405

    with site.get(path, method="POST", Cherga_Token=token) as answer:
        assert answer.status == 200

    assert site.job.refresh().status == "cancelled"
