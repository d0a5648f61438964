"""The live endpoint under ASGI, over real HTTP: in front of the middleware, mounted, and never on the event loop's thread."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route
from starlette.templating import Jinja2Templates

from cherga import ConfigError, QueueTasks, group
from cherga.contrib.starlette import Cherga
from cherga.testing import wait_until
from tests.asgi_site import AsgiSite, request, serve
from tests.flask_site import STREAM, read_events, read_news


@pytest.fixture
def site() -> Iterator[AsgiSite]:
    site = AsgiSite(heartbeat=0.05)

    with site.served():
        yield site


def test_a_page_learns_how_the_job_stands_and_that_it_may_have_a_stream(site: AsgiSite) -> None:
    with site.get(site.address()) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.headers["Cache-Control"] == "no-store"
        told = json.load(answer)

    assert (told["state"], told["mode"], told["description"]) == ("ready", "stream", "Working…")


def test_a_stream_tells_every_step_and_ends_with_the_job(site: AsgiSite) -> None:
    with site.get(site.address(), Accept=STREAM) as answer:
        assert answer.headers["Content-Type"] == STREAM
        news = read_news(answer)
        assert next(news)["state"] == "ready"

        site.hand.claim()
        site.hand.progress(1, 4, "first")
        wait_until(lambda: next(news)["progress"] is not None, "the first step is told")

        site.hand.end()
        assert [told["state"] for told in news][-1] == "succeeded"


def test_a_quiet_stream_sends_comments(site: AsgiSite) -> None:
    with site.get(site.address(), Accept=STREAM) as answer:
        events = read_events(answer)
        wait_until(lambda: next(events) == {"": ""}, "a comment")


def test_the_broker_is_never_asked_on_the_loop(site: AsgiSite) -> None:
    site.cherga.asked_on.clear()

    with site.get(site.address(), Accept=STREAM) as answer:
        next(read_news(answer))

    site.get_json(site.address())
    assert site.cherga.asked_on
    assert "site-loop" not in site.cherga.asked_on


def test_a_client_that_hangs_up_frees_its_seat() -> None:
    site = AsgiSite(max_streams=1)

    with site.served():
        with site.get(site.address(), Accept=STREAM) as answer:
            next(read_news(answer))
            assert site.get_json(site.address())["mode"] == "poll"

        wait_until(lambda: site.get_json(site.address())["mode"] == "stream", "the seat is free again")


def test_more_clients_than_seats_are_told_to_poll() -> None:
    site = AsgiSite(max_streams=2, max_streams_per_job=100)

    with site.served():
        answers = [site.get(site.address(), Accept=STREAM) for _ in range(5)]
        kinds = [answer.headers["Content-Type"] for answer in answers]

        for answer in answers:
            answer.close()

    assert kinds == [STREAM] * 2 + ["application/json"] * 3


def test_a_stream_that_is_old_enough_ends() -> None:
    site = AsgiSite(max_age=0.0, heartbeat=0.02)

    with site.served(), site.get(site.address(), Accept=STREAM) as answer:
        assert [news["final"] for news in read_news(answer)] == [False]


def test_a_job_is_cancelled_by_a_post_with_the_token_in_its_header(site: AsgiSite) -> None:
    path, token = f"/cherga/live/{site.job.id}/cancel", site.cherga.token(site.job, cancel=True)

    for method, headers, status in (
        ("POST", {}, 403),
        ("GET", {"Cherga_Token": token}, 405),
        ("POST", {"Cherga_Token": token}, 200),
    ):
        with site.get(path, method=method, **headers) as answer:
            assert answer.status == status

    assert site.job.refresh().status == "cancelled"


def test_script_and_look_are_served_for_good_under_their_versioned_addresses(site: AsgiSite) -> None:
    html = site.cherga.script(request(site.app))

    for path in (html.split('href="')[1], html.split('src="')[1]):
        with site.get(path.split('"')[0]) as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "public, max-age=31536000"


# --- in front of the application


class Hook:
    """A middleware that notes each request, and lets nobody in."""

    def __init__(self, app: Any, seen: list[str]) -> None:
        self.app = app
        self.seen = seen

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.seen.append(scope["path"])
            await PlainTextResponse("nobody", 401)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@pytest.mark.parametrize(("hooks", "status"), [(False, 200), (True, 401)])
def test_middleware_of_the_application_sees_a_poll_only_where_that_is_wanted(hooks: bool, status: int) -> None:
    seen: list[str] = []
    site = AsgiSite(hooks=hooks)
    site.app.add_middleware(Hook, seen=seen)

    with site.served(), site.get(site.address()) as answer:
        assert answer.status == status

    assert len(seen) == hooks


def test_with_hooks_the_endpoint_is_answered_inside() -> None:
    site = AsgiSite(Starlette(routes=[Mount("/", PlainTextResponse("everything"))]), hooks=True)

    with site.served():
        assert site.get_json(site.address())["state"] == "ready"


def test_other_pages_are_the_applications_own() -> None:
    site = AsgiSite(Starlette(routes=[Route("/{path:path}", lambda request: PlainTextResponse("mine"))]))

    with site.served():
        for path in ("/", "/cherga", "/cherga/live", "/cherga/other"):
            with site.get(path) as answer:
                assert answer.read() == b"mine", path


def test_the_address_of_the_endpoint_has_a_name() -> None:
    site = AsgiSite()

    assert site.app.url_path_for("cherga.live", job_id="7") == "/cherga/live/7"
    assert str(
        request(site.app, {"router": site.app.router, "server": ("shop", 80), "scheme": "http"}).url_for("cherga.element")
    ) == ("http://shop/cherga/element.js")


def test_in_an_application_that_another_one_has_mounted_everything_works_though_no_lifespan_runs() -> None:
    began: list[bool] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        began.append(True)
        yield

    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(here.cherga.progress(request, here.job))

    here = AsgiSite(Starlette(routes=[Route("/page", page)], lifespan=lifespan))

    with here.served(Starlette(routes=[Mount("/shop", here.app)])):
        with here.get("/shop/page") as answer:
            html = answer.read().decode()

        path, token = html.split('src="')[1].split('"')[0], html.split('token="')[1].split('"')[0]
        assert path == f"/shop/cherga/live/{here.job.id}"
        assert here.get_json(path, Cherga_Token=token)["state"] == "ready"

        with here.get(path, Cherga_Token=token, Accept=STREAM) as answer:
            assert next(read_news(answer))["state"] == "ready"

    assert began == []


def test_the_endpoint_can_be_mounted_without_an_application_of_its_own() -> None:
    cherga = Cherga(name="site", broker_url="memory://", live={"secret": "secret", "prefix": "/"})
    cherga.task(name="work")(lambda: None)
    job = cherga.tasks["work"].enqueue()
    site = AsgiSite()

    with site.served(Starlette(routes=[Mount("/jobs", cherga.live_app())])):
        assert site.get_json(f"/jobs/live/{job.id}", Cherga_Token=cherga.token(job))["state"] == "ready"

        with site.get("/jobs/nothing") as answer:
            assert answer.status == 404

    cherga.close()


# --- pages


def test_a_page_goes_on_without_its_jobs_while_the_broker_is_away(caplog: pytest.LogCaptureFixture) -> None:
    here = AsgiSite()
    here.job = here.enqueue(owner="user:7")

    async def page(request: Request) -> JSONResponse:
        jobs = await here.cherga.apage_jobs(owner="user:7")
        return JSONResponse([len(jobs), jobs.unavailable, await here.cherga.aprogress(request, str(here.job.id))])

    here.app.add_route("/", page)

    with here.served():
        with here.get("/") as answer:
            count, unavailable, html = json.load(answer)

        assert (count, unavailable) == (1, False)
        assert 'state="ready"' in html

        here.cherga.away = True

        for _ in range(3):
            with here.get("/") as answer:
                count, unavailable, html = json.load(answer)

            assert (count, unavailable) == (0, True)
            assert 'state="unknown"' in html

        with here.get(here.address()) as answer:
            assert answer.status == 503

    assert [record.levelname for record in caplog.records if record.name == "cherga.web"] == ["ERROR"]


def test_a_group_is_shown_without_asking_the_broker() -> None:
    site = AsgiSite()
    handle = group(site.cherga.tasks["work"].s()).enqueue()
    site.cherga.away = True

    assert 'state="blocked"' in site.cherga.progress(request(site.app), handle)


def test_what_has_to_be_looked_up_is_refused_where_nothing_is_asked() -> None:
    site = AsgiSite()

    with pytest.raises(ConfigError, match=r"await cherga\.aprogress"):
        site.cherga.progress(request(site.app), str(site.job.id))  # type: ignore[arg-type]


def test_templates_show_elements_and_do_not_escape_them(tmp_path: Path) -> None:
    site = AsgiSite()
    templates = Jinja2Templates(directory=tmp_path)
    site.cherga.add_to(templates)
    text = "{{ cherga_script(request) }}{% call cherga_progress(request, job, class_='alert') %}<b>{{ '<' }}</b>{% endcall %}"
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    html = templates.get_template("page.html").render(request=request(site.app, {"root_path": "/at"}), job=site.job)

    assert '<script src="/at/cherga/element.js?v=' in html
    assert f'src="/at/cherga/live/{site.job.id}"' in html
    assert html.endswith("><b>&lt;</b></cherga-progress>")


def test_without_a_secret_the_first_token_says_what_is_missing() -> None:
    cherga = Cherga(name="site", broker_url="memory://")

    with pytest.raises(ConfigError, match=r'expected Cherga\(live=\{"secret": …\}\) to sign tokens with'):
        cherga.token("01999999-0000-7000-8000-000000000000")


# --- binding


def test_an_application_takes_one_cherga_before_it_answers_requests() -> None:
    site = AsgiSite()

    with pytest.raises(ConfigError, match="expected one Cherga for the application"):
        Cherga(site.app)

    app = Starlette()

    with serve(app):
        pass

    with pytest.raises(ConfigError, match="before the application answers requests"):
        Cherga(app)


def test_a_factory_configures_what_was_made_at_module_level() -> None:
    cherga = Cherga(name="shop")
    cherga.configure(broker_url="memory://", live={"secret": "secret", "prefix": "/jobs"})
    cherga.configure(max_time=60)
    app = Starlette()
    cherga.init_app(app)

    assert (cherga.name, cherga.broker_url, cherga.settings.max_time) == ("shop", "memory://", 60)
    assert app.url_path_for("cherga.live", job_id="7") == "/jobs/live/7"
    assert cherga.token("01999999-0000-7000-8000-000000000000")


def test_an_application_that_is_made_again_is_served_by_the_same_cherga() -> None:
    site = AsgiSite()
    first = site.address()

    for secret, status in (("another", 403), ("secret", 404)):  # admitted, though the job is in another broker
        site.cherga.close()
        site.cherga.configure(broker_url="memory://again", live={"secret": secret})
        site.app = Starlette()
        site.cherga.init_app(site.app)

        with serve(site.app) as site.port, site.get(first) as answer:
            assert answer.status == status


@pytest.mark.parametrize("wrong", ["shop", 7, QueueTasks("shop", "memory://")])
def test_what_is_no_application_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="expected a Starlette application or nothing, got"):
        Cherga(wrong)


def test_a_live_setting_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown setting 'secrt' in live; did you mean 'secret'"):
        Cherga(live={"secrt": "x"})


def test_the_end_of_the_lifespan_closes_the_broker_and_its_values_are_there() -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        yield {"pool": "open"}

    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{request.state.pool} {here.cherga.lifespan_state['pool']}")

    here = AsgiSite(Starlette(routes=[Route("/", page)], lifespan=lifespan))
    closed: list[bool] = []
    here.cherga.close = lambda: closed.append(True)  # type: ignore[method-assign]

    with serve(here.app) as here.port, here.get("/") as answer:
        assert answer.read() == b"open open"
        assert closed == []

    assert closed == [True]


def test_a_worker_embedded_in_the_lifespan_runs_jobs() -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        async with here.cherga.aworker(threads=1):
            yield

    here = AsgiSite(Starlette(lifespan=lifespan))

    with here.served():
        here.job.result(10)
