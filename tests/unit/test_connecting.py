"""Which broker a URL names, and what is said where it names none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cherga import BrokerSettings, ConfigError, QueueTasks, UnknownBroker
from cherga.brokers import connect


@pytest.mark.parametrize("url", ["postgrse://localhost/x", "amqp://localhost", "queue.db", "", "://", "sqlite3:///x.db"])
def test_a_url_of_an_unknown_scheme_is_refused_with_those_that_are_known(url: str) -> None:
    with pytest.raises(UnknownBroker, match=r"expected a broker URL that begins with one of memory://, .*sqlite://; got"):
        connect(url, BrokerSettings())


def test_an_application_says_so_at_its_first_use_and_not_before() -> None:
    app = QueueTasks("shop", "amqp://localhost")
    task = app.task(name="work")(lambda: None)

    with pytest.raises(ConfigError, match="amqp://localhost"):
        task.enqueue()


def test_memory_queues_are_shared_by_name_within_the_process() -> None:
    one, two, other = (QueueTasks("shop", url) for url in ("memory://a", "memory://a", "memory://b"))
    job = one.add_task("work")

    assert two.get(job.id) == job
    assert other.get(job.id) is None
    assert QueueTasks("shop", "memory://").get(job.id) is None


WHERE = "from cherga import QueueTasks; print(QueueTasks('shop').broker_url)"


@pytest.mark.parametrize(
    ("value", "url"), [(None, "sqlite:///shop.cherga.db"), ("", "sqlite:///shop.cherga.db"), ("memory://x", "memory://x")]
)
def test_the_url_comes_from_the_environment_else_from_the_working_directory(
    tmp_path: Path, value: str | None, url: str
) -> None:
    environment = {key: text for key, text in os.environ.items() if key != "CHERGA_BROKER_URL"}
    environment |= {} if value is None else {"CHERGA_BROKER_URL": value}
    ended = subprocess.run(
        [sys.executable, "-c", WHERE],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=30,
    )

    assert ended.stdout.strip() == url
    assert list(tmp_path.iterdir()) == []
