"""The seed's snippets run as they stand there: every feature that they show does what the seed says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cherga import JobFailed, JobState, QueueTasks, shared_task
from cherga.testing import wait_until

SNIPPETS = Path(__file__).parent / "qtasks_snippets.py"


@pytest.fixture(scope="module")
def app() -> Iterator[QueueTasks]:
    """The snippets' application, with a worker beside it. Its shared tasks end with it."""
    declarations = shared_task.__self__._standings  # type: ignore[attr-defined]
    kept = dict(declarations)
    space: dict[str, object] = {"__name__": "qtasks_snippets"}
    exec(compile(SNIPPETS.read_text(encoding="utf-8"), SNIPPETS, "exec"), space)
    app = space["app"]
    assert isinstance(app, QueueTasks)

    with app.standing_in("memory://"), app.worker():
        yield app

    declarations.clear()
    declarations.update(kept)


@pytest.mark.parametrize(
    ("task", "printed"),
    [
        ("shared_func", "Общая задача\n"),
        ("async_shared", "async shared task\n"),
        ("example", "Router task\n"),
        ("echo_task", "echo_task\n"),
        ("task", ""),
        ("middleware_example", "before middleware_example\nafter middleware_example\n"),
        ("mytask", "handler INIT\n"),
    ],
)
def test_a_snippet_runs(app: QueueTasks, capsys: pytest.CaptureFixture[str], task: str, printed: str) -> None:
    result = app.add_task(task).result(5)

    assert capsys.readouterr().out == printed
    assert result == ("INIT was handled" if task == "mytask" else None)


def test_add_task_stores_the_subtask(app: QueueTasks, capsys: pytest.CaptureFixture[str]) -> None:
    parent = app.add_task("main")
    parent.result(5)
    (child,) = app.jobs(task="subtask")
    child.result(5)

    assert capsys.readouterr().out == "subtask 123\n"
    assert child.parent == parent.id


def test_show_prints_its_own_id(app: QueueTasks, capsys: pytest.CaptureFixture[str]) -> None:
    job = app.add_task("show")
    job.result(5)

    assert capsys.readouterr().out == f"{job.id}\n"


def test_risky_is_tried_five_times_more(app: QueueTasks) -> None:
    job = app.add_task("risky")

    for attempt in range(1, 6):
        wait_until(lambda n=attempt: job.refresh().status is JobState.SCHEDULED and job.attempt == n, f"attempt {attempt}")  # type: ignore[misc]
        app.broker.time_offset += 100
        app.broker.promote()

    with pytest.raises(JobFailed, match="division by zero"):
        job.result(5)

    assert job.attempt == 6
