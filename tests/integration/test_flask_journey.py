"""What a job in a Flask application finds around it: a context of its own, and what travelled there from the request."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app, g, has_request_context, request, session, url_for
from flask_babel import Babel, get_locale
from flask_sqlalchemy import SQLAlchemy

from cherga import Batch, ConfigError, Job, JobFailed, QueueTasks, ctx, traced
from cherga.contrib.flask import Cherga
from cherga.contrib.flask_context import environment_of

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
WAIT = 10


class Site:
    """An application in languages, with tenants and a database."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.cherga = Cherga(name="site")
        self.db = SQLAlchemy()
        self.app = Flask("site", instance_path=str(folder))
        self.app.config.update(SECRET_KEY="secret", SQLALCHEMY_DATABASE_URI="sqlite:///site.db")
        self.app.config["CHERGA"] = {"broker_url": "memory://", "carry": ["tenant", "user_id"], **config}
        self.db.init_app(self.app)
        Babel(self.app, locale_selector=lambda: request.accept_languages.best_match(["uk", "de"]))
        self.cherga.init_app(self.app)
        self.app.add_url_rule("/posts/<int:id>", "post", lambda id: str(id))

    def asked(self, enqueue: Callable[[], Job[Any]], **headers: str) -> Job[Any]:
        """The job that a request with these headers enqueues."""
        with self.app.test_request_context(headers={name.replace("_", "-"): value for name, value in headers.items()}):
            return enqueue()

    def close(self) -> None:
        self.cherga.close()

        with self.app.app_context():
            self.db.engine.dispose()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture
def addressed(tmp_path: Path) -> Iterator[Site]:
    """A site whose jobs know its address."""
    site = Site(tmp_path, base_url="https://shop.example/blog/")
    yield site
    site.close()


# --- each way to run has a context


def declare(site: Site, way: str) -> Callable[[], Job[Any]]:
    """A task that runs this way, looks at the application, marks ``g`` and fails when it was marked before."""

    def look() -> str:
        if "mark" in g:
            raise RuntimeError("somebody was here before")

        g.mark = True
        return current_app.name

    @site.cherga.task(name="thread")
    def thread() -> list[str]:
        return [look()]

    @site.cherga.task(name="coroutine")
    async def coroutine() -> list[str]:
        return [look()]

    @site.cherga.task(name="generator")
    def generator() -> Iterator[str]:
        yield look()

    @site.cherga.task(name="agenerator")
    async def agenerator() -> AsyncIterator[str]:
        yield look()

    @site.cherga.task(name="batch", batch=2)
    def batch(values: Batch[int]) -> list[list[str]]:
        names = [look()]
        return [names for _ in values]

    @site.cherga.task(name="abatch", batch=2)
    async def abatch(values: Batch[int]) -> list[list[str]]:
        names = [look()]
        return [names for _ in values]

    task: Any = site.cherga.tasks[way]
    return lambda: task.enqueue(*([1] if "batch" in way else []))


WAYS = ["thread", "coroutine", "generator", "agenerator", "batch", "abatch"]


@pytest.mark.parametrize("way", WAYS)
def test_each_attempt_has_a_context_of_its_own_however_it_runs(site: Site, way: str) -> None:
    enqueue = declare(site, way)

    with site.cherga.worker():
        assert [enqueue().result(WAIT) for _ in range(3)] == [["site"]] * 3


@pytest.mark.parametrize("way", ["thread", "coroutine", "generator", "agenerator", "batch"])
def test_teardown_hooks_are_told_what_was_raised_however_it_ran(site: Site, way: str) -> None:
    told: list[BaseException | None] = []
    site.cherga.around_job.append(Marked)  # so that the task fails
    enqueue = declare(site, way)

    with site.cherga.worker():
        site.app.teardown_appcontext(told.append)

        with pytest.raises(JobFailed, match="somebody was here before"):
            enqueue().result(WAIT)

    assert [type(error) for error in told] == [RuntimeError]


class Marked:
    def __enter__(self) -> None:
        g.mark = True

    def __exit__(self, *told: object) -> None: ...


# --- what travels


def test_the_locale_of_the_request_is_that_of_the_job_and_of_its_children(site: Site) -> None:
    @site.cherga.task
    def child() -> str:
        return str(get_locale())

    @site.cherga.task
    def parent() -> tuple[str, str]:
        child.enqueue()
        return str(get_locale()), ctx.headers["locale"]

    with site.cherga.worker():
        job = site.asked(parent.enqueue, Accept_Language="uk")
        assert job.result(WAIT) == ("uk", "uk")
        assert [each.result(WAIT) for each in job.children()] == ["uk"]
        assert site.asked(parent.enqueue, Accept_Language="de").result(WAIT) == ("de", "de")


def test_coroutines_side_by_side_keep_their_locales(site: Site) -> None:
    together: list[str] = []

    @site.cherga.task
    async def speak() -> str:
        together.append(str(get_locale()))

        while len(together) < 2:
            await asyncio.sleep(0)

        return str(get_locale())

    with site.cherga.worker():
        jobs = [site.asked(speak.enqueue, Accept_Language=language) for language in ("uk", "de")]
        assert [job.result(WAIT) for job in jobs] == ["uk", "de"]


def test_a_locale_may_be_said_at_enqueue_and_one_that_nobody_knows_harms_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    @site.cherga.task
    def speak() -> str:
        return str(get_locale())

    @site.cherga.task
    def keep_silent() -> str:
        return "done"

    with site.cherga.worker():
        assert speak.using(headers={"locale": "de"}).enqueue().result(WAIT) == "de"
        assert site.asked(speak.using(headers={"locale": "de"}).enqueue, Accept_Language="uk").result(WAIT) == "de"
        assert keep_silent.using(headers={"locale": "klingon"}).enqueue().result(WAIT) == "done"

    assert "the locale 'klingon' that a job brought is not known here" in caplog.text


def test_a_selector_that_fails_harms_no_enqueue(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    @site.cherga.task
    def work() -> dict[str, str]:
        return ctx.headers

    def fail() -> str:
        raise ZeroDivisionError

    site.app.extensions["babel"].locale_selector = fail

    with site.cherga.worker():
        assert site.asked(work.enqueue).result(WAIT) == {}

    assert "the locale selector failed" in caplog.text


def test_the_trace_of_the_request_is_that_of_the_job_and_of_its_children(site: Site) -> None:
    @site.cherga.task
    def child() -> str | None:
        return ctx.traceparent

    @site.cherga.task
    def parent() -> str | None:
        child.enqueue()
        return ctx.traceparent

    with site.cherga.worker():
        job = site.asked(parent.enqueue, Accept_Language="uk", traceparent=TRACE)
        assert job.result(WAIT) == TRACE
        assert [each.result(WAIT) for each in job.children()] == [TRACE]
        assert site.asked(parent.enqueue, traceparent="<script>").result(WAIT) is None


def test_values_of_g_that_the_configuration_names_travel_and_no_others(site: Site) -> None:
    @site.cherga.task
    def look() -> dict[str, Any]:
        return {name: g.get(name) for name in ("tenant", "user_id", "other")}

    @site.cherga.task
    def parent() -> None:
        g.user_id = 9
        look.enqueue()

    def enqueue(task: Any) -> Job[Any]:
        g.tenant, g.other = {"name": "Київ", "plan": ["a", 1, None]}, "x"
        job: Job[Any] = task.enqueue()
        return job

    tenant = {"name": "Київ", "plan": ["a", 1, None]}

    with site.cherga.worker():
        assert site.asked(lambda: enqueue(look)).result(WAIT) == {"tenant": tenant, "user_id": None, "other": None}

        job = site.asked(lambda: enqueue(parent))
        job.result(WAIT)
        assert [each.result(WAIT) for each in job.children()] == [{"tenant": tenant, "user_id": 9, "other": None}]


@pytest.mark.parametrize("value", [object(), (1, 2), b"x", {1: 2}], ids=["object", "tuple", "bytes", "keys that are no text"])
def test_a_value_of_g_that_would_not_come_back_as_it_is_is_refused_at_enqueue(site: Site, value: object) -> None:
    work = site.cherga.task(name="work")(lambda: None)

    def enqueue() -> Job[Any]:
        g.tenant = value
        return work.enqueue()

    with pytest.raises(ConfigError, match=r"expected g\.tenant, which CHERGA's carry names, to be plain data .*, got "):
        site.asked(enqueue)


def test_headers_of_anybody_set_nothing_in_g_that_the_configuration_does_not_name(site: Site) -> None:
    @site.cherga.task
    def look() -> bool:
        return "admin" in g

    with site.cherga.worker():
        assert look.using(headers={"g.admin": "true"}).enqueue().result(WAIT) is False


def test_all_jobs_of_one_enqueue_travel_with_their_own_headers_kept(site: Site) -> None:
    @site.cherga.task
    def look(number: int) -> dict[str, str]:
        return ctx.headers

    def enqueue() -> list[Job[Any]]:
        return look.using(headers={"mine": "1"}, description="x").enqueue_many([(1,), (2,)])

    with site.cherga.worker(), site.app.test_request_context(headers={"traceparent": TRACE}):
        site.app.extensions["babel"].locale_selector = None
        assert [job.result(WAIT) for job in enqueue()] == [{"traceparent": TRACE, "locale": "en", "mine": "1"}] * 2


def test_without_flask_the_trace_is_that_of_a_block(app: QueueTasks) -> None:
    @app.task
    def child() -> str | None:
        return ctx.traceparent

    @app.task
    def parent() -> str | None:
        child.enqueue()
        return ctx.traceparent

    with app.worker():
        assert parent.enqueue().result(WAIT) is None

        with traced("no header"):
            assert parent.enqueue().result(WAIT) is None

        with traced(TRACE):
            job = parent.enqueue()

        assert job.result(WAIT) == TRACE
        assert [each.result(WAIT) for each in job.children()] == [TRACE]


# --- a request without content


def test_with_a_base_url_a_job_makes_addresses_as_the_pages_do(addressed: Site) -> None:
    @addressed.cherga.task
    def look() -> list[Any]:
        told = [url_for("post", id=7, _external=True), url_for("post", id=7), request.url_root, dict(session)]
        return [*told, has_request_context(), str(get_locale())]

    @addressed.cherga.task
    async def alook() -> str:
        return url_for("post", id=7, _external=True)

    with addressed.cherga.worker():
        assert look.enqueue().result(WAIT) == [
            "https://shop.example/blog/posts/7",
            "/blog/posts/7",
            "https://shop.example/blog/",
            {},
            True,
            "en",
        ]
        assert alook.enqueue().result(WAIT) == "https://shop.example/blog/posts/7"


def test_the_end_of_a_job_with_a_request_tears_down_both_contexts_once(addressed: Site) -> None:
    told: list[tuple[str, type[Any]]] = []

    @addressed.cherga.task
    def fail() -> None:
        addressed.db.session.connection()
        raise LookupError("gone")

    with addressed.cherga.worker():
        addressed.app.teardown_appcontext(lambda error: told.append(("app", type(error))))
        addressed.app.teardown_request(lambda error: told.append(("request", type(error))))

        with pytest.raises(JobFailed):
            fail.enqueue().result(WAIT)

    assert told == [("request", LookupError), ("app", LookupError)]
    assert len(addressed.db.session.registry.registry) == 0


@pytest.mark.parametrize(
    "base_url", ["shop.example", "ftp://shop.example", "https://", "https://shop.example/?a=1", 7, "//shop.example"]
)
def test_a_base_url_that_is_none_is_refused(tmp_path: Path, base_url: Any) -> None:
    with pytest.raises(ConfigError, match=r"base_url to be (an address|a text) such as 'https://shop\.example', got"):
        Site(tmp_path, base_url=base_url)


@pytest.mark.parametrize("carry", [7, ["a b"], [7], "a-b", {"a": 1}])
def test_names_to_carry_that_are_none_are_refused(tmp_path: Path, carry: Any) -> None:
    with pytest.raises(ConfigError, match=r"expected CHERGA\.carry to be a list of names that values of g have, got "):
        Site(tmp_path, carry=carry)


@pytest.mark.parametrize(
    ("base_url", "host", "port", "prefix"),
    [
        ("http://localhost:5000", "localhost:5000", "5000", ""),
        ("https://ann:secret@shop.example/", "shop.example", "443", ""),
        ("https://shop.example:8443/a/b/", "shop.example:8443", "8443", "/a/b"),
    ],
)
def test_an_address_is_read_as_a_server_would(base_url: str, host: str, port: str, prefix: str) -> None:
    found = environment_of(base_url)
    assert (found["HTTP_HOST"], found["SERVER_PORT"], found["SCRIPT_NAME"]) == (host, port, prefix)


# --- threads and callbacks of a job


def test_a_bound_function_has_a_session_of_its_own_in_other_threads_and_the_jobs_own_on_its_thread(site: Site) -> None:
    @site.cherga.task
    def spread() -> tuple[int, int, bool, set[str]]:
        together = threading.Barrier(4)

        def look(wait: bool = True) -> tuple[int, str]:
            site.db.session.connection()

            if wait:
                together.wait(WAIT)

            return id(site.db.session()), f"{ctx.job_id} {get_locale()} {g.tenant}"

        bound = ctx.bind(look)

        with ThreadPoolExecutor(4) as pool:
            seen = [each.result(WAIT) for each in [pool.submit(bound) for _ in range(4)]]

        own = id(site.db.session())
        sessions = {session for session, _ in seen}
        return len(sessions), len(site.db.session.registry.registry), bound(False)[0] == own, {who for _, who in seen}

    def enqueue() -> Job[Any]:
        g.tenant = "shop"
        return spread.enqueue()

    with site.cherga.worker():
        job = site.asked(enqueue, Accept_Language="uk")
        assert job.result(WAIT) == (4, 1, True, {f"{job.id} uk shop"})

    assert len(site.db.session.registry.registry) == 0


def test_a_bound_callback_may_be_called_when_its_job_is_over(site: Site) -> None:
    kept: list[Callable[[], str]] = []

    @site.cherga.task
    def keep() -> None:
        kept.append(ctx.bind(lambda: f"{current_app.name} {ctx.job_id}"))

    with site.cherga.worker():
        job = keep.enqueue()
        job.result(WAIT)

    assert kept[0]() == f"site {job.id}"


def test_a_bound_coroutine_runs_in_a_context_of_its_own_and_leaves_the_jobs_as_it_is(site: Site) -> None:
    @site.cherga.task
    async def spread() -> tuple[int, bool, str]:
        g.mark = "mine"

        async def look() -> tuple[int, bool]:
            return id(site.db.session()), "mark" in g

        bound = ctx.bind(look)
        one, marked = await bound()
        return one - id(site.db.session()), marked, g.mark

    with site.cherga.worker():
        difference, marked, mark = spread.enqueue().result(WAIT)

    assert difference != 0
    assert (marked, mark) == (False, "mine")


def test_what_a_bound_function_raises_is_told_to_teardown_hooks_and_to_its_caller(site: Site) -> None:
    told: list[type[Any]] = []

    @site.cherga.task
    def spread() -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(ctx.bind(fail)).result(WAIT)

    def fail() -> None:
        raise LookupError("gone")

    with site.cherga.worker():
        site.app.teardown_appcontext(lambda error: told.append(type(error)))

        with pytest.raises(JobFailed, match="LookupError: gone"):
            spread.enqueue().result(WAIT)

    assert told == [LookupError, LookupError]


def test_a_thread_that_is_not_bound_is_told_of_bind(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    @site.cherga.task
    def spread() -> str:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: current_app.name).result(WAIT)

    with caplog.at_level(logging.ERROR), site.cherga.worker(), pytest.raises(JobFailed, match=r"give it ctx\.bind\(function\)"):
        spread.enqueue().result(WAIT)


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (lambda: url_for("post", id=7), r'set app\.config\["CHERGA"\]\["base_url"\]'),
        (lambda: request.path, "a job has no request; pass what it needs as arguments"),
        (lambda: str(get_locale()), "a job has no request; pass what it needs as arguments"),
    ],
    ids=["url_for", "request", "locale"],
)
def test_a_job_that_looks_for_a_request_is_told_what_to_do(site: Site, look: Callable[[], str], words: str) -> None:
    task = site.cherga.task(name="look")(look)

    with site.cherga.worker(), pytest.raises(JobFailed, match=words):
        task.enqueue().result(WAIT)
