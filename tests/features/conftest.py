"""One application for each test, on each broker that needs no server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cherga import QueueTasks, shared_task

QUICK = {"poll_interval": 1.0, "report_interval": 0.05, "heartbeat": 0.1, "lease": 5.0, "sweep": 0.1, "grace": 5.0}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """A shared task belongs to every application to come: those of a test end with it."""
    declarations = shared_task.__self__._standings  # type: ignore[attr-defined]
    kept = dict(declarations)
    yield
    declarations.clear()
    declarations.update(kept)


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[QueueTasks]:
    """An application whose tasks the test declares."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/queue.db"
    app = QueueTasks("features", url, **QUICK)
    yield app
    app.close()
