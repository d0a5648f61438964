"""A handle as plain values."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from cherga import Job, QueueTasks, ctx


@pytest.fixture
def app() -> QueueTasks:
    return QueueTasks("dicts", "memory://")


def test_everything_that_a_handle_shows_can_be_said_in_json(app: QueueTasks) -> None:
    @app.task(tags=["t"], description="Exporting…")
    def export(day: date, ids: set[int], rate: Decimal) -> dict[str, object]:
        ctx.progress(1, 2, "half")
        ctx.meta["at"] = datetime(2031, 5, 17, tzinfo=UTC)
        ctx.save_meta()
        return {"id": UUID(int=7), "took": timedelta(seconds=5)}

    with closing(app), app.worker():
        job = export.using(owner="user:7").enqueue(date(2031, 5, 17), {1}, Decimal("1.5"))
        job.result(timeout=20)
        told = job.as_dict()

    assert json.loads(json.dumps(told)) == told
    assert told["id"] == str(job.id)
    assert (told["task"], told["state"], told["owner"], told["description"]) == ("export", "succeeded", "user:7", "Exporting…")
    assert told["progress"] == {"done": 1, "total": 2, "percent": 50, "note": "half"}
    assert told["arguments"]["day"].startswith("2031-05-17")
    assert told["meta"]["at"].startswith("2031-05-17")
    assert "00000000-0000-0000-0000-000000000007" in str(told["result"])
    assert told["finished_at"].endswith("Z")


def test_a_failure_is_told_without_its_traceback(app: QueueTasks) -> None:
    @app.task
    def fail() -> None:
        raise ConnectionError("gone")

    with closing(app), app.worker():
        job: Job[None] = fail.enqueue()
        job.await_end(20)

    assert job.as_dict()["error"] == {"type": "ConnectionError", "message": "gone"}
    assert job.as_dict()["result"] is None


def test_a_job_that_waits_has_neither_times_nor_progress(app: QueueTasks) -> None:
    job = app.add_task("elsewhere", 1)

    assert [job.as_dict()[name] for name in ("state", "progress", "started_at", "result")] == ["ready", None, None, None]
