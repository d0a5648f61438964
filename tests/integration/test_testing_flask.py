"""The testing kit with a Flask application: requests enqueue, jobs run in an application context of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app, g, has_request_context

from cherga import JobFailed
from cherga.contrib.flask import Cherga
from cherga.testing.kit import Kit
from cherga_pytest import open_kit

cherga = Cherga()


@cherga.task
def greet(name: str) -> str:
    g.names = [*g.get("names", []), name]
    return f"{current_app.config['GREETING']} {', '.join(g.names)}, in a request: {has_request_context()}"


@cherga.task
async def agreet(name: str) -> str:
    return f"{current_app.config['GREETING']} {name}"


@cherga.task
def fail() -> None:
    raise ValueError("no luck")


def create_app(folder: Path) -> Flask:
    """A factory as people write it, whose queue would be a file."""
    app = Flask(__name__, instance_path=str(folder / "instance"))
    app.config.update(GREETING="Hello", CHERGA={"name": "site", "broker_url": f"sqlite:///{folder}/queue.db"})
    cherga.init_app(app)

    @app.post("/greet/<name>")
    def ask(name: str) -> dict[str, Any]:
        g.names = ["somebody of the request"]
        job = greet.enqueue(name)
        return {"state": job.status, "result": job.result(0) if job.status.final else None}

    return app


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    yield create_app(tmp_path)
    cherga.close()


def test_a_request_enqueues_and_the_test_drains(app: Flask, tmp_path: Path) -> None:
    with cherga.testing() as kit:
        assert app.test_client().post("/greet/Ada").json == {"state": "ready", "result": None}
        (job,) = kit.assert_enqueued(greet, "Ada", count=1)
        kit.drain(raise_errors=True)

        assert job.refresh().result(0) == "Hello Ada, in a request: False"

    assert list(tmp_path.iterdir()) == []


def test_an_inline_job_sees_nothing_of_the_request_that_enqueued_it(app: Flask) -> None:
    with cherga.testing(inline=True):
        answers = [app.test_client().post(f"/greet/{name}").json for name in ("Ada", "Grace")]

    assert [answer and answer["result"] for answer in answers] == [
        "Hello Ada, in a request: False",
        "Hello Grace, in a request: False",
    ]


def test_a_drained_job_sees_nothing_of_a_request_around_the_drain(app: Flask) -> None:
    with cherga.testing() as kit, app.test_request_context():
        job = greet.enqueue("Ada")
        kit.drain(raise_errors=True)
        assert job.refresh().result(0) == "Hello Ada, in a request: False"


def test_async_jobs_have_their_context_too(app: Flask) -> None:
    with cherga.testing(inline=True), app.app_context():
        assert agreet.enqueue("Ada").result(0) == "Hello Ada"


def test_a_failure_is_raised_in_the_request(app: Flask) -> None:
    with cherga.testing(inline="raise"), app.test_request_context(), pytest.raises(JobFailed, match="no luck"):
        fail.enqueue()


def test_an_application_made_inside_the_block_uses_its_broker(tmp_path: Path) -> None:
    with cherga.testing() as kit:
        app = create_app(tmp_path)
        app.test_client().post("/greet/Ada")

        kit.assert_enqueued(greet, "Ada")
        kit.drain(raise_errors=True)

    assert list(tmp_path.iterdir()) == []
    assert cherga.broker_url == f"sqlite:///{tmp_path}/queue.db"


def test_the_kit_is_found_through_the_flask_application(app: Flask) -> None:
    with open_kit(app) as kit:
        assert isinstance(kit, Kit)
        assert kit.app is cherga
