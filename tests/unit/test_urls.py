"""A broker URL never shows its password."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cherga import ConfigError, QueueTasks, UnknownBroker
from cherga.rules.urls import default_url, located, masked


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///cherga.db?durability=process", "sqlite:///cherga.db?durability=process"),
        ("memory://", "memory://"),
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:secret@localhost/0", "redis://:***@localhost/0"),
        ("postgresql://ann:s3cret@db/shop", "postgresql://ann:***@db/shop"),
        ("postgresql://ann:p@ss:w/rd?#@db/shop?sslmode=require", "postgresql://ann:***@db/shop?sslmode=require"),
        ("postgresql://ann@db/shop", "postgresql://ann@db/shop"),
        (
            "postgresql://db/shop?user=ann&password=secret&sslpassword=x",
            "postgresql://db/shop?user=ann&password=***&sslpassword=***",
        ),
        (
            "redis+sentinel://u:a@b:1,c:2/main?sentinel_password=x#y",
            "redis+sentinel://u:***@b:1,c:2/main?sentinel_password=***#y",
        ),
        ("nonsense", "nonsense"),
        ("", ""),
    ],
)
def test_passwords_are_masked_and_all_else_stays(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_a_refused_url_does_not_show_its_password() -> None:
    app = QueueTasks("shop", "nosuch://ann:s3cret@db/shop")

    with pytest.raises(UnknownBroker, match="nosuch://ann:") as caught:
        app.broker  # noqa: B018 (opened by the look)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("cherga", "sqlite:///cherga.db"),
        ("microblog", "sqlite:///microblog.cherga.db"),
        ("shop.example", "sqlite:///shop.example.cherga.db"),
        ("a/b:c", "sqlite:///a-b-c.cherga.db"),
        ("..", "sqlite:///cherga.db"),
    ],
)
def test_the_default_file_is_named_after_the_application(name: str, url: str) -> None:
    assert default_url(name) == url


def test_a_path_names_the_queue_file(tmp_path: Path) -> None:
    odd = tmp_path / "100% sure?#1.db"

    with closing(QueueTasks("shop", odd)) as app:
        app.task(name="work")(lambda: None)
        app.tasks["work"].enqueue()

    assert odd.is_file()
    assert QueueTasks("shop", Path("jobs.db")).broker_url == "sqlite:///jobs.db"


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("mail.db", "sqlite:///mail.db"),
        ("/var/lib/mail.sqlite3", "sqlite:////var/lib/mail.sqlite3"),
        ("50%.db", "sqlite:///50%25.db"),
    ],
)
def test_a_text_that_is_a_files_path_is_answered_with_its_url(path: str, url: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"such as {url!r}, or a Path, got {path!r}")):
        QueueTasks("shop", path)


@pytest.mark.parametrize("url", ["jobs.db", "/var/jobs", 7, b"sqlite:///x"])
def test_what_is_neither_a_url_nor_a_path_is_refused(url: Any) -> None:
    with pytest.raises(ConfigError, match=r"expected a broker URL such as 'sqlite:///jobs\.db', or a Path, got"):
        QueueTasks("shop", url)


def test_a_place_is_shown_with_its_whole_path_and_without_its_password() -> None:
    here = Path.cwd()

    assert located("sqlite:///jobs.db?durability=process") == f"sqlite:///{here}/jobs.db?durability=process"
    assert located("sqlite:////var/jobs.db") == "sqlite:////var/jobs.db"
    assert located("memory://") == "memory://"
    assert located("redis://me:secret@box/0") == "redis://me:***@box/0"
