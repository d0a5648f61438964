"""Every failed job is an error in the log, whatever ended it, so that error trackers see it."""

from __future__ import annotations

import logging
import logging.config
import threading
from collections.abc import Iterator

import msgspec
import pytest

from cherga import JobFailed, QueueTasks, Retry
from cherga.worker.logs import JsonLines, TextLines


def failed(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if getattr(record, "action", "") == "job.failed"]


def test_a_job_past_its_time_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    app = QueueTasks("shop", "memory://")
    go_on = threading.Event()

    @app.task(max_time=0.05)
    def slow() -> None:
        go_on.wait(10)

    with app.worker():
        with pytest.raises(JobFailed):
            slow.enqueue().result(10)

        go_on.set()

    (record,) = failed(caplog)
    assert record.levelno == logging.ERROR
    assert "max_time" in record.getMessage()


def test_a_result_that_cannot_be_stored_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    app = QueueTasks("shop", "memory://")

    @app.task
    def lock() -> object:
        return threading.Lock()

    with app.worker(), pytest.raises(JobFailed):
        lock.enqueue().result(10)

    (record,) = failed(caplog)
    assert "the result cannot be encoded" in record.getMessage()


def test_what_was_raised_is_logged_once_with_its_traceback_where_the_application_listens(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = QueueTasks("shop", "memory://")
    app.job_logger = logging.getLogger("the.shop")

    @app.task
    def fail() -> None:
        raise ValueError("no such thing")

    with app.worker(), pytest.raises(JobFailed):
        fail.enqueue().result(10)

    (record,) = failed(caplog)
    assert record.name == "the.shop"
    assert record.exc_info is not None
    assert record.exc_info[0] is ValueError


def lines_of_retries(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Those of a task that fails twice and succeeds then."""
    app = QueueTasks("shop", "memory://")
    failures = iter([ConnectionError("the server is away"), OSError()])

    @app.task(retry=Retry(max=5, backoff=0.01, jitter=0))
    def fetch() -> None:
        for failure in failures:
            raise failure

    with app.worker():
        fetch.enqueue().result(10)

    return failed(caplog)


def test_an_expected_retry_is_one_line_that_says_what_failed_and_when_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    first, second = lines_of_retries(caplog)

    assert first.levelno == logging.WARNING
    assert first.getMessage().endswith("attempt 1 of 6 failed, tries again in 10 ms: ConnectionError: the server is away")
    assert second.getMessage().endswith("attempt 2 of 6 failed, tries again in 10 ms: OSError")
    assert len(TextLines().format(first).splitlines()) == 1
    assert "traceback" not in JsonLines().format(first)
    assert first.exc_info, "an error tracker gets the exception"


def test_whoever_asks_for_details_gets_the_traceback_of_each_attempt(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "cherga.job")

    for record in lines_of_retries(caplog):
        assert "in fetch" in TextLines().format(record)
        assert "in fetch" in JsonLines().format(record)


def test_the_last_attempt_has_its_traceback_and_one_line_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cherga.job")
    app = QueueTasks("shop", "memory://")

    @app.task(retry=Retry(max=1, backoff=0, jitter=0, give_up_on=(KeyError,)))
    def fail(how: str) -> None:
        raise {"key": KeyError, "value": ValueError}[how]("such a thing")

    with app.worker():
        for how in ("value", "key"):
            with pytest.raises(JobFailed):
                fail.enqueue(how).result(10)

    again, last, only = failed(caplog)
    assert again.getMessage().endswith("attempt 1 of 2 failed, tries again at once: ValueError: such a thing")
    assert last.getMessage().endswith("attempt 2 of 2 failed: ValueError")
    assert only.getMessage().endswith("attempt 1 of 2 failed, and none follows: KeyError")
    assert "in fail" in TextLines().format(last)
    assert "in fail" in TextLines().format(only)
    assert msgspec.json.decode(JsonLines().format(last))["message"].endswith("attempt 2 of 2 failed: ValueError: such a thing")
    assert [TextLines().format(each).count("such a thing") for each in (again, last)] == [1, 2]  # once, and in the line of code


class Proxied(Exception):
    """As proxies of remote errors have it."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(f"no field {name}")


@pytest.mark.parametrize("where", ["", "the.shop"])
def test_an_error_whose_own_code_raises_is_logged_and_kept_with_its_traceback(
    caplog: pytest.LogCaptureFixture, where: str
) -> None:
    app = QueueTasks("shop", "memory://")
    app.job_logger = logging.getLogger(where or "cherga.job")

    @app.task
    def call() -> None:
        raise Proxied("the server said no")

    with app.worker():
        job = call.enqueue()
        job.await_end(10)

    assert job.error is not None
    assert "in call" in job.error.traceback
    assert "in call" in caplog.text
    assert "Proxied: the server said no" in caplog.text


SILENT = {"version": 1, "disable_existing_loggers": True}
"""Switches off every logger that there is."""


@pytest.fixture
def speaking() -> Iterator[None]:
    """Afterwards those loggers speak that spoke before."""
    loggers = [each for each in logging.Logger.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    before = {each: each.disabled for each in loggers}
    yield

    for logger, disabled in before.items():
        logger.disabled = disabled


@pytest.mark.usefixtures("speaking")
@pytest.mark.parametrize("when", ["before the worker starts", "while it runs"])
def test_an_application_that_silences_all_loggers_still_hears_of_failures(caplog: pytest.LogCaptureFixture, when: str) -> None:
    app = QueueTasks("shop", "memory://")
    app.job_logger = logging.getLogger("the.shop")

    @app.task
    def fail() -> None:
        raise ValueError("no such thing")

    def silence() -> None:
        handlers = list(logging.getLogger().handlers)
        logging.config.dictConfig(SILENT)
        logging.getLogger().handlers = handlers

    if when == "before the worker starts":
        silence()

    with app.worker():
        if when == "while it runs":
            silence()

        with pytest.raises(JobFailed):
            fail.enqueue().result(10)

    (record,) = failed(caplog)
    assert record.name == "cherga.job"
    assert not logging.getLogger("cherga.worker").disabled
