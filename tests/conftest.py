"""Applications for tests, on every broker that needs no server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from cherga import QueueTasks

os.environ["PYTHONIOENCODING"] = "utf-8"
"""What the processes of tests print is read as UTF-8, whatever the locale of who runs them."""


STARTED_IN = Path.cwd()
"""The folder from which the tests are run: they write nothing there."""


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """A test that leaves a file where the tests were started fails, such as one whose application has the usual queue file."""
    before = set(os.listdir(STARTED_IN))
    yield
    left = {name for name in os.listdir(STARTED_IN) if not name.startswith((".", "__pycache__"))} - before
    assert not left, (
        f"expected no new files in {STARTED_IN}, found {', '.join(sorted(left))}: this test, or one beside it, left them"
    )


class NewApp(Protocol):
    """Makes applications on one broker."""

    def __call__(self, name: str = "shop", apart: bool = False, **settings: Any) -> QueueTasks:
        """``apart``: on a queue of its own."""
        ...


@pytest.fixture(params=["memory", "sqlite"])
def broker_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the jobs of this test are, once on each broker."""
    return f"memory://{tmp_path.name}" if request.param == "memory" else f"sqlite:///{tmp_path}/queue.db"


@pytest.fixture
def new_app(broker_url: str) -> Iterator[NewApp]:
    """Applications that are closed with the test. They look for work when they are told, not now and then."""
    made: list[QueueTasks] = []

    def new_app(name: str = "shop", apart: bool = False, **settings: Any) -> QueueTasks:
        url = broker_url.replace("queue.db", f"queue-{len(made)}.db") if apart else broker_url
        app = QueueTasks(name, url, **{"grace": 20.0, "poll_interval": 60.0, "report_interval": 0.05, **settings})
        made.append(app)
        return app

    yield new_app

    for app in made:
        app.close()


@pytest.fixture
def app(new_app: NewApp) -> QueueTasks:
    """One application with the usual settings."""
    return new_app()
