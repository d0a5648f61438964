"""An application that is made a second time in one process is said loudly, and so are two applications under one name."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask, current_app

from cherga.contrib.flask import Cherga

Factory = Callable[..., Flask]


@pytest.fixture
def cherga() -> Iterator[Cherga]:
    cherga = Cherga(name="site")
    yield cherga
    cherga.close()


@pytest.fixture
def create_app(cherga: Cherga, tmp_path: Path) -> Factory:
    """Makes applications of the name given, all with one ``Cherga``."""

    def create_app(name: str, testing: bool = False) -> Flask:
        app = Flask(name, instance_path=str(tmp_path))
        app.config.update(TESTING=testing, CHERGA={"broker_url": "memory://"})
        cherga.init_app(app)
        return app

    return create_app


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "cherga.flask"]


def test_a_second_application_is_told_once_with_both_places(create_app: Factory, caplog: pytest.LogCaptureFixture) -> None:
    first = create_app("twice")
    second = create_app("twice")

    (told,) = said(caplog)
    lines = [int(line) for line in re.findall(rf"at {re.escape(__file__)}:(\d+)", told)]
    assert told.startswith("the application 'twice' is made a second time in this process: first at ")
    assert lines[1] == lines[0] + 1
    assert told.endswith(
        "jobs run in the second one. Make it once: a task finds it as current_app, and needs no create_app() of its own"
    )
    assert first is not second


def test_applications_of_tests_may_be_made_again_and_again(create_app: Factory, caplog: pytest.LogCaptureFixture) -> None:
    apps = [create_app("tested", testing=True) for _ in range(3)]

    assert said(caplog) == []
    assert len({id(app) for app in apps}) == 3


def test_a_job_that_makes_an_application_of_its_own_is_told_so_and_runs_on_in_the_workers(
    create_app: Factory, cherga: Cherga, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app("by the job")

    @cherga.task
    def wasteful() -> tuple[bool, str]:
        own = create_app("by the job")

        with own.app_context():
            inside = current_app.name

        return current_app._get_current_object() is app, inside  # type: ignore[attr-defined]

    with caplog.at_level(logging.WARNING), cherga.worker():
        assert [wasteful.enqueue().result(10) for _ in range(3)] == [(True, "by the job")] * 3

    (told,) = said(caplog)
    assert "jobs run in the first one" in told
    assert cherga.flask_app is app


def test_a_factory_that_makes_the_extension_too_is_found_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def make() -> Flask:
        app = Flask("whole", instance_path=str(tmp_path))
        app.config["CHERGA"] = {"broker_url": "memory://"}
        Cherga(app)
        return app

    apps = [make(), make()]

    assert len(apps) == 2
    assert [line.partition(":")[0] for line in said(caplog)] == [
        "the application 'whole' is made a second time in this process"
    ]


def test_two_applications_under_one_name_at_one_broker_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"sqlite:///{tmp_path}/queue.db"
    shop, blog, other = (Flask(name, instance_path=str(tmp_path)) for name in ("shop", "blog", "other"))
    one = Cherga(shop, broker_url=url)
    two = Cherga(blog, broker_url=url)
    three = Cherga(other, broker_url=url, name="other")

    assert said(caplog) == [
        (
            "two applications of this process, 'shop' and 'blog', are both called 'cherga' at one broker, which mixes up their "
            'jobs; give each a name of its own: app.config["CHERGA"]["name"]'
        )
    ]
    assert {each.name for each in (one, two, three)} == {"cherga", "other"}
