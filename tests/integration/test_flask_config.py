"""What a Flask configuration makes of ``Cherga``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from cherga import ConfigError, QueueTasks
from cherga.contrib.flask import Cherga
from cherga.contrib.flask_config import read_config
from cherga.web.settings import Mode


@pytest.fixture(autouse=True)
def _no_broker_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHERGA_BROKER_URL", raising=False)


def make_app(tmp_path: Path, **config: Any) -> Flask:
    app = Flask("shop", instance_path=str(tmp_path / "instance"))
    app.config.update(SECRET_KEY="secret", **config)
    return app


def test_everything_may_stand_under_one_key(tmp_path: Path) -> None:
    app = make_app(
        tmp_path, CHERGA={"name": "shop", "broker_url": "memory://", "grace": 7, "lease": 60, "live": {"mode": "poll"}}
    )
    cherga = Cherga()
    cherga.init_app(app)

    assert (cherga.name, cherga.broker_url) == ("shop", "memory://")
    assert (cherga.settings.grace, cherga.settings.broker.lease, cherga.settings.broker.namespace) == (7, 60, "shop")
    assert isinstance(app.extensions["cherga"], QueueTasks)
    assert app.extensions["cherga"] is cherga


def test_the_configuration_wins_over_keywords_and_keywords_over_defaults(tmp_path: Path) -> None:
    app = make_app(tmp_path, CHERGA={"grace": 1, "live": {"max_age": 9}})
    cherga = Cherga(app, name="shop", broker_url="memory://", grace=2, max_time=None, live={"mode": "poll", "max_age": 8})

    assert (cherga.name, cherga.settings.grace, cherga.settings.max_time) == ("shop", 1, None)
    live = read_config(app, {"live": {"mode": "poll", "max_age": 8}}).live
    assert (live.mode, live.max_age) == (Mode.POLL, 9)


def test_the_environment_reaches_nested_keys_and_numbers_are_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "FLASK_CHERGA__NAME": "shop",
        "FLASK_CHERGA__BROKER_URL": "memory://",
        "FLASK_CHERGA__MAX_TIME": "90",
        "FLASK_CHERGA__CRASH_CAP": "5",
        "FLASK_CHERGA__LIVE__MODE": "stream",
        "FLASK_CHERGA__LIVE__MAX_STREAMS": "3",
        "FLASK_CHERGA__LIVE__SECRET": "1234",
    }.items():
        monkeypatch.setenv(name, value)

    app = make_app(tmp_path, CHERGA={"broker_url": "sqlite:///other.db", "live": {"mode": "poll", "max_age": 5}})
    app.config.from_prefixed_env()
    config = read_config(app, {})

    assert (config.name, config.broker_url) == ("shop", "memory://")
    assert config.settings == {"max_time": 90, "crash_cap": 5}
    assert (config.live.mode, config.live.max_streams, config.live.max_age, config.live.secret) == (Mode.STREAM, 3, 5, "1234")


def test_texts_that_look_like_numbers_are_taken_for_numbers(tmp_path: Path) -> None:
    app = make_app(tmp_path, CHERGA={"max_time": "90.5", "max_payload": "1000", "live": {"heartbeat": "3"}})
    config = read_config(app, {})

    assert config.settings == {"max_time": 90.5, "max_payload": 1000}
    assert config.live.heartbeat == 3


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"brokr_url": "x"}, r"unknown setting 'brokr_url' in CHERGA; did you mean 'broker_url'\?"),
        ({"live": {"mod": "poll"}}, r"unknown setting 'mod' in CHERGA\.live; did you mean 'mode'\?"),
        ({"live": {"mode": "sometimes"}}, r"CHERGA\.live is wrong: .*sometimes"),
        ({"live": {"max_streams": -1}}, r"live\.max_streams"),
        ({"max_time": "soon"}, r"max_time in CHERGA is wrong: .*'soon'"),
        ({"lease": 1}, r"lease"),
        ({"live": "poll"}, r"expected CHERGA\.live in the configuration to be a dict, got 'poll'"),
        ("sqlite:///x.db", r"expected CHERGA in the configuration to be a dict"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, given: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Cherga(make_app(tmp_path, CHERGA=given))


def test_without_a_broker_the_queue_lies_in_the_instance_folder(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    cherga = Cherga(app)
    assert not (tmp_path / "instance").exists()

    cherga.add_task("anything")
    cherga.close()

    assert (tmp_path / "instance" / "cherga.db").is_file()


def test_a_relative_path_in_the_configuration_starts_at_the_instance_folder(tmp_path: Path) -> None:
    url = read_config(make_app(tmp_path, CHERGA={"broker_url": "sqlite:///a%20b/jobs.db?durability=process"}), {}).broker_url

    assert url == f"sqlite:///{tmp_path}/instance/a%20b/jobs.db?durability=process"


def test_an_absolute_path_and_the_environment_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHERGA_BROKER_URL", "sqlite:///jobs.db")

    assert read_config(make_app(tmp_path), {}).broker_url == "sqlite:///jobs.db"
    assert read_config(make_app(tmp_path, CHERGA={"broker_url": "sqlite:////x/y.db"}), {}).broker_url == "sqlite:////x/y.db"


@pytest.mark.parametrize(
    "config",
    [
        {"SQLALCHEMY_DATABASE_URI": "sqlite:///shop.db"},
        {"SQLALCHEMY_DATABASE_URI": "sqlite+pysqlite:///file:shop.db?uri=true"},
        {"SQLALCHEMY_BINDS": {"other": "sqlite:///shop.db"}},
        {"SQLALCHEMY_BINDS": {"other": {"url": "sqlite:///shop.db"}}},
        {"SQLALCHEMY_ENGINE_OPTIONS": {"url": "sqlite:///shop.db"}},
    ],
)
def test_a_queue_in_the_file_of_flask_sqlalchemy_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    app = make_app(tmp_path, CHERGA={"broker_url": "sqlite:///../instance/shop.db"}, **config)

    with pytest.raises(ConfigError, match=r"file of its own.*shop\.db"):
        Cherga(app)


def test_a_link_to_the_file_of_flask_sqlalchemy_is_found_out(tmp_path: Path) -> None:
    app = make_app(tmp_path, SQLALCHEMY_DATABASE_URI="sqlite:///shop.db", CHERGA={"broker_url": "sqlite:///jobs.db"})
    SQLAlchemy(app)
    (tmp_path / "instance" / "shop.db").touch()
    (tmp_path / "instance" / "jobs.db").symlink_to(tmp_path / "instance" / "shop.db")

    with pytest.raises(ConfigError, match="file of its own"):
        Cherga(app)


def test_a_broker_given_later_is_checked_when_it_is_opened(tmp_path: Path) -> None:
    cherga = Cherga(make_app(tmp_path, SQLALCHEMY_DATABASE_URI="sqlite:///shop.db"))
    cherga.broker_url = f"sqlite:///{tmp_path}/instance/shop.db"

    with pytest.raises(ConfigError, match="file of its own"):
        cherga.add_task("anything")


def test_other_databases_are_none_of_our_business(tmp_path: Path) -> None:
    for url in ("sqlite:///shop.db", "sqlite://", "sqlite:///:memory:", "postgresql:///shop.db", None):
        Cherga(make_app(tmp_path, SQLALCHEMY_DATABASE_URI=url, CHERGA={"broker_url": "sqlite:///jobs.db"}))


def test_before_init_app_nothing_is_opened_and_the_way_is_shown() -> None:
    cherga = Cherga()
    task = cherga.task(name="early")(lambda: None)

    with pytest.raises(ConfigError, match=r"init_app\(app\) before the first use"):
        task.enqueue()


def test_tasks_that_were_declared_first_take_their_defaults_from_the_configuration(tmp_path: Path) -> None:
    cherga = Cherga()
    task = cherga.task(name="early")(lambda: None)
    own = cherga.task(name="own", max_time=5)(lambda: None)

    cherga.init_app(make_app(tmp_path, CHERGA={"broker_url": "memory://", "max_time": 77, "max_payload": 10}))

    assert (task.policy.max_time, own.policy.max_time, cherga.max_payload) == (77, 5, 10)


def test_what_is_no_application_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected a Flask application or nothing, got 'shop'"):
        Cherga("shop")  # type: ignore[arg-type]


def test_an_application_has_one_cherga(tmp_path: Path) -> None:
    app = make_app(tmp_path, CHERGA={"broker_url": "memory://"})
    cherga = Cherga(app)

    with pytest.raises(ConfigError, match="init_app was called already"):
        cherga.init_app(app)


def test_failures_of_jobs_go_to_the_logger_of_the_application_which_keeps_its_handlers(tmp_path: Path) -> None:
    app = make_app(tmp_path, CHERGA={"broker_url": "memory://"})
    app.import_name = app.name = "shop_that_logs"
    logging.getLogger(app.name).handlers.clear()

    cherga = Cherga(app)

    assert logging.getLogger(app.name).handlers == []
    assert cherga.job_logger is app.logger
