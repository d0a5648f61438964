"""Successes in the log: each by itself while they are few, one line for each task while they are many, and none is lost."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from uuid import UUID

import pytest

from cherga.testing import wait_until
from cherga.words.claim import ClaimedJob
from cherga.words.clock import SystemClock
from cherga.worker.successes import FEW, MOST_WAITING, Successes


def job(number: int, task: str = "export_posts") -> ClaimedJob:
    return ClaimedJob(UUID(int=number), number, number, task, "default", 0, b"", None, 1, 1, 0, 0, 0.0, 0.0, None, None, None)


@pytest.fixture
def successes(caplog: pytest.LogCaptureFixture) -> Iterator[Successes]:
    """Started, with somebody who reads them."""
    caplog.set_level(logging.INFO, "cherga.job")
    made = Successes(SystemClock())
    made.start()
    yield made
    made.stop()


def ids(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [vars(record)["job_id"] for record in caplog.records if "job_id" in vars(record)]


def counts(caplog: pytest.LogCaptureFixture) -> dict[str, int]:
    """By task, of all lines that sum up."""
    found: dict[str, int] = {}

    for fields in map(vars, caplog.records):
        if fields.get("action") == "jobs.succeeded":
            found[fields["task_name"]] = found.get(fields["task_name"], 0) + fields["count"]

    return found


def test_a_single_one_is_told_at_once_with_its_fields(successes: Successes, caplog: pytest.LogCaptureFixture) -> None:
    successes.note(job(7), 0.25)

    wait_until(lambda: caplog.records, "it is told")
    fields = vars(caplog.records[0])
    assert caplog.records[0].getMessage() == f"export_posts {UUID(int=7)} succeeded in 0.250 s"
    assert (fields["action"], fields["job_id"]) == ("job.succeeded", str(UUID(int=7)))
    assert (fields["task_name"], fields["attempt"]) == ("export_posts", 1)


def test_of_many_only_the_first_have_lines_and_the_others_are_counted_by_task(
    successes: Successes, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(4000):
        successes.note(job(number, "resize" if number % 4 == 3 else "export_posts"), 0.0)

    successes.stop()

    assert len(ids(caplog)) <= 2 * FEW
    assert sum(counts(caplog).values()) + len(ids(caplog)) == 4000
    assert set(counts(caplog)) == {"export_posts", "resize"}
    assert "export_posts succeeded in the last second" in caplog.text


def test_large_numbers_are_easy_to_read(successes: Successes, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(2000):
        successes.note(job(number), 0.0)

    successes.stop()

    assert any(message.startswith("1,9") and message.endswith("in the last second") for message in caplog.messages)


def test_what_was_put_down_is_told_at_the_end(successes: Successes, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(FEW):
        successes.note(job(number), 0.0)

    successes.stop()

    assert ids(caplog) == [str(UUID(int=number)) for number in range(FEW)]


def test_what_comes_after_the_end_is_told_at_once(successes: Successes, caplog: pytest.LogCaptureFixture) -> None:
    successes.stop()
    successes.note(job(1), 0.0)

    assert ids(caplog) == [str(UUID(int=1))]


def test_whoever_asks_for_details_has_a_line_for_each(successes: Successes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "cherga.job")

    for number in range(500):
        successes.note(job(number), 0.0)

    successes.stop()

    assert sorted(ids(caplog)) == sorted(str(UUID(int=number)) for number in range(500))


def test_a_log_that_takes_nothing_costs_no_memory_without_end(successes: Successes, caplog: pytest.LogCaptureFixture) -> None:
    slow = logging.getLogger("cherga.job")
    handler = Stopped()
    slow.addHandler(handler)

    try:
        for number in range(2 * MOST_WAITING + 7):
            successes.note(job(number), 0.0)

        assert len(successes._waiting) <= MOST_WAITING
    finally:
        handler.release()
        slow.removeHandler(handler)

    successes.stop()
    assert sum(counts(caplog).values()) + len(ids(caplog)) == 2 * MOST_WAITING + 7


class Stopped(logging.Handler):
    """Takes nothing until it is released, as a full pipe does."""

    def __init__(self) -> None:
        super().__init__()
        self.acquire()

    def emit(self, record: logging.LogRecord) -> None:
        """Nothing is shown."""
