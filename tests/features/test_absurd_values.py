"""Absurd moments, waits, numbers and texts: each is refused in a sentence where it is written, or stored as something that
everybody can look at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from cherga import Backoff, ConfigError, InvalidArguments, Job, PayloadTooLarge, QueueTasks, Retry, RetryLater, Snooze, ctx
from cherga.client.records import job_record
from cherga.testing.waiting import wait_until
from cherga.words.job import JobState

HUGE = 10**5000
SPANS: list[Any] = [
    *(-1, float("nan"), float("inf"), float("-inf"), 1e308, HUGE, -HUGE, 2.0**62),
    *(timedelta.max, timedelta.min, True, "soon", None),
]
NAMES = [str(number) for number in range(len(SPANS))]
NAIVE = datetime(2031, 1, 1, tzinfo=UTC).replace(tzinfo=None)
EDGES = (datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC))
MOMENTS = [
    *(edge.replace(tzinfo=timezone(timedelta(hours=hours))) for edge in EDGES for hours in (-14, 0, 14)),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, tzinfo=UTC),
    datetime(9999, 1, 1, tzinfo=UTC),
    NAIVE,
    0,
    "tomorrow",
]
MOST_WORDS = 1000
LONG = "x" * 20_000_000


@pytest.fixture
def app() -> Iterator[QueueTasks]:
    app = QueueTasks("shop", "memory://")
    app.task(name="work")(lambda: None)
    yield app
    app.close()


def _is_past(value: Any) -> bool:
    """A moment that has passed already means now, and none at all means as soon as may be."""
    return value is True or value == timedelta.min or (isinstance(value, int | float) and value < 0)


def told(job: Job[Any]) -> str:
    """What the error of the job says."""
    error = job.refresh().error
    return error.message if error else ""


def refused_or_fit(make: Callable[[], object]) -> bool:
    """Whether it was refused, in a sentence that can be read on a screen."""
    try:
        make()
    except (ConfigError, InvalidArguments) as error:
        return ("xpected" in str(error) or "out of range" in str(error)) and len(str(error)) < MOST_WORDS

    return False


def looked_at(app: QueueTasks, job: Job[Any]) -> None:
    """Everything that shows the job works."""
    kept = app.get(job.id)
    assert kept is not None
    json.dumps(job_record(kept), default=str)
    str(kept.explain())
    [each.expires_at for each in app.jobs()]
    app.broker.promote()
    app.broker.prune()


@pytest.mark.parametrize("value", SPANS, ids=NAMES)
@pytest.mark.parametrize(
    "option",
    ["run_in", "expires", "max_time", "result_ttl", "failure_ttl", "retry", "priority", "unique_for", "queue", "owner", "id"],
)
def test_a_number_that_is_absurd_in_using(app: QueueTasks, option: str, value: Any) -> None:
    more = {"unique": True} if option == "unique_for" else {}

    if not refused_or_fit(lambda: looked_at(app, app.tasks["work"].using(**{option: value, **more}).enqueue())):
        assert value in (None, True, "soon") or (option, value) == ("priority", -1)


@pytest.mark.parametrize("value", SPANS, ids=NAMES)
@pytest.mark.parametrize(
    "option",
    ["max_time", "result_ttl", "failure_ttl", "retry", "unique_for", "batch_wait", "max_running", "every", "rate_limit"],
)
def test_a_number_that_is_absurd_in_a_declaration(app: QueueTasks, option: str, value: Any) -> None:
    more: dict[str, Any] = {"unique": True} if option == "unique_for" else {}
    batched = {"batch": 2} if option == "batch_wait" else {}

    def many(values: list[int]) -> None: ...

    def declare() -> None:
        function: Any = many if batched else lambda: None
        options: Any = {"name": "absurd", option: value, **more, **batched}
        app.task(**options)(function)
        app.publish()

    if not refused_or_fit(declare):
        assert value in (None, True)


@pytest.mark.parametrize("value", MOMENTS, ids=str)
@pytest.mark.parametrize("option", ["run_at", "expires"])
def test_a_moment_that_is_absurd(app: QueueTasks, option: str, value: Any) -> None:
    if not refused_or_fit(lambda: looked_at(app, app.tasks["work"].using(**{option: value}).enqueue())):
        assert (option, value) == ("expires", 0)


@pytest.mark.parametrize(
    "value", [datetime(9998, 12, 30, tzinfo=timezone(timedelta(hours=-14))), datetime(1970, 1, 1, tzinfo=UTC)], ids=str
)
def test_the_first_and_the_last_moment_that_are_taken_can_be_looked_at(app: QueueTasks, value: datetime) -> None:
    looked_at(app, app.tasks["work"].using(run_at=value).enqueue())


def test_a_job_that_expires_before_it_may_start_is_refused(app: QueueTasks) -> None:
    moment = datetime(2031, 1, 1, tzinfo=UTC)

    for absurd in ({"run_in": 60, "expires": 60}, {"run_at": moment, "expires": moment - timedelta(days=1)}):
        with pytest.raises(ConfigError, match="expected expires to be later than run_in or run_at"):
            app.tasks["work"].using(**absurd)

    app.tasks["work"].using(run_in=60, expires=61).enqueue()


@pytest.mark.parametrize("field", ["base", "factor", "cap"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "1", None])
def test_an_absurd_backoff_is_refused(field: str, value: Any) -> None:
    assert refused_or_fit(lambda: Backoff(**{field: value}))


def test_a_backoff_never_waits_longer_than_its_cap_however_steep_it_is() -> None:
    assert [Backoff(1, 1e308, 600).wait(attempt) for attempt in (1, 2, 10**6)] == [1, 600, 600]
    assert Backoff(0, 1e308).wait(50) == 0
    assert Backoff(HUGE, HUGE, HUGE).wait(7) == 100 * 365 * 86_400
    assert Backoff(1e308, 1e308, 1e308).wait(7) == Retry(backoff=1e308).wait(1, 0.5) == 100 * 365 * 86_400
    assert refused_or_fit(lambda: Retry(max=HUGE))


def test_a_job_that_waits_for_ever_can_be_looked_at(app: QueueTasks) -> None:
    @app.task(retry=Retry(1, backoff=Backoff(1e308, cap=1e308)))
    def fails() -> None:
        raise ValueError

    with app.worker(threads=1):
        job = fails.enqueue()
        wait_until(lambda: job.refresh().status is JobState.SCHEDULED, "it is to run again")

    looked_at(app, job)


@pytest.mark.parametrize("value", [value for value in SPANS if not _is_past(value)], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("wish", [RetryLater, Snooze])
def test_an_absurd_delay_that_a_task_wishes_ends_it_in_a_sentence(app: QueueTasks, wish: type[Exception], value: Any) -> None:
    @app.task(retry=1)
    def odd() -> None:
        raise wish(value)

    with app.worker(threads=1):
        job = odd.enqueue()
        job.await_end(20)

    assert "expected the delay of" in told(job)


def test_an_absurd_sleep_fails_its_job_in_a_sentence(app: QueueTasks) -> None:
    @app.task
    def sleeper(which: int) -> None:
        ctx.sleep(SPANS[which])

    with app.worker(threads=2):
        jobs = sleeper.enqueue_many([(which,) for which in range(len(SPANS))])
        for job in jobs:
            job.await_end(20)

    assert all("expected the sleep" in told(job) for job in jobs)


@pytest.mark.parametrize(
    "name", ["result_ttl", "lease", "grace", "max_time", "poll_interval", "crash_backoff", "claim_limit", "max_payload"]
)
@pytest.mark.parametrize("value", SPANS, ids=NAMES)
def test_an_absurd_setting_is_refused(name: str, value: Any) -> None:
    given = (value,) if name == "crash_backoff" else value

    if not refused_or_fit(lambda: QueueTasks("shop", "memory://", **{name: given})):
        assert (name, value) == ("max_time", None)


@pytest.mark.parametrize(
    "using",
    [
        {"owner": LONG},
        {"description": LONG},
        {"tags": [LONG]},
        {"tags": ["t" * 9000] * 10},
        {"headers": {"a": LONG}},
        {"headers": {LONG: "a"}},
        {"unique": LONG},
        {"unique": lambda: LONG},
        {"queue": LONG},
    ],
    ids=lambda using: next(iter(using)),
)
def test_a_text_beside_a_job_that_is_too_long_is_refused_with_the_limit(app: QueueTasks, using: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, InvalidArguments), match=r"at most [\d,]+ (characters|bytes)|1 to 200 letters") as caught:
        app.tasks["work"].using(**using).enqueue()

    assert len(str(caught.value)) < 500
    assert list(app.jobs()) == []


def test_headers_of_middleware_are_bounded_too(app: QueueTasks) -> None:
    @app.around_enqueue
    def trace(following: Any) -> Any:
        def handle(outgoing: Any) -> Any:
            outgoing.headers = {"trace": LONG}
            return following(outgoing)

        return handle

    with pytest.raises(ConfigError, match="at most 65,536 bytes together"):
        app.tasks["work"].enqueue()


def test_the_words_of_a_cancellation_are_bounded(app: QueueTasks) -> None:
    job = app.tasks["work"].using(run_in=60).enqueue()

    with pytest.raises(ConfigError, match="message to be at most 10,000 characters"):
        job.cancel(LONG)


def test_meta_at_the_enqueue_is_bounded_like_a_payload(app: QueueTasks) -> None:
    with pytest.raises(PayloadTooLarge, match=r"meta: expected at most 1,048,576 bytes"):
        app.queue().enqueue("work", meta={"a": LONG})


def test_what_a_job_emits_and_keeps_is_bounded_and_what_it_says_is_cut(app: QueueTasks) -> None:
    @app.task
    def emits() -> None:
        ctx.emit(LONG)

    @app.task
    def keeps() -> None:
        ctx.meta["a"] = LONG
        ctx.save_meta()

    @app.task
    def streams() -> Iterator[str]:
        yield LONG

    @app.task
    def says() -> int:
        ctx.progress(1, 2, LONG)
        ctx.log(LONG)
        return 1

    with app.worker(threads=1):
        for task in (emits, keeps, streams):
            job: Job[Any] = task.enqueue()
            job.await_end(20)
            assert "expected at most 1,048,576 bytes" in told(job)

        said = says.enqueue()
        assert said.result(20) == 1

    progress = said.progress
    assert progress is not None
    assert len(progress.note) == 16_384
