"""``using(...)`` and what it makes of the jobs that are enqueued through it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from cherga import ConfigError, EnqueueRefused, InvalidArguments, Job, JobState, PayloadTooLarge, QueueTasks, Reason, Task
from cherga.client.ids import new_id
from cherga.words.push import Edge, EdgePolicy, OnCrash
from tests.live_hand import Hand

SOON = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def app() -> QueueTasks:
    return QueueTasks("shop", "memory://")


@pytest.fixture
def work(app: QueueTasks) -> Task[..., int]:
    @app.task(queue="mail", priority=1, tags=["task"], description="Works")
    def work(x: int = 0, y: int = 0) -> int:
        return x + y

    return work


def test_a_job_takes_the_tasks_own_options(work: Task[..., int]) -> None:
    job = work.enqueue(1, y=2).refresh()

    assert (job.task_name, job.queue, job.priority, job.tags, job.description) == ("work", "mail", 1, ("task",), "Works")
    assert job.arguments == {"x": 1, "y": 2}
    assert (job.status, job.attempt, job.owner, job.existing) == (JobState.READY, 0, None, False)


def test_the_handle_of_a_new_job_shows_what_was_stored(work: Task[..., int]) -> None:
    job = work.using(priority=9, owner="user:7", run_in=60, expires=90, headers={"locale": "uk"}).enqueue(1)
    read: Job[int] = Job(job.row, job._source).refresh()

    for name in ("id", "task_name", "queue", "priority", "status", "owner", "description", "tags", "arguments", "head"):
        assert getattr(job, name) == getattr(read, name)

    for shown, stored in ((job.run_at, read.run_at), (job.expires_at, read.expires_at)):
        assert shown is not None
        assert stored is not None
        assert abs(shown - stored) < timedelta(seconds=5)


def test_options_given_twice_are_the_last_ones(work: Task[..., int]) -> None:
    job = work.using(queue="a", priority=3).using(queue="b", tags=["x"]).enqueue().refresh()

    assert (job.queue, job.priority, job.tags, job.description) == ("b", 3, ("x",), "Works")


def test_the_task_itself_is_left_as_it_is(work: Task[..., int]) -> None:
    work.using(queue="a", priority=3, tags=[], description=None)

    assert (work.queue, work.priority, work.tags, work.description) == ("mail", 1, ("task",), "Works")


def test_headers_add_up(work: Task[..., int]) -> None:
    job = work.using(headers={"a": "1", "b": "1"}).using(headers={"b": "2"}).enqueue()

    assert job.head.headers == {"a": "1", "b": "2"}


def test_nothing_is_given_by_none(work: Task[..., int]) -> None:
    job = work.using(owner=None, description=None).enqueue()

    assert (job.owner, job.description) == (None, None)


def test_the_job_starts_later_by_seconds_or_at_a_time(work: Task[..., int]) -> None:
    for prepared in (work.using(run_in=60), work.using(run_in=timedelta(minutes=1)), work.using(run_at=SOON)):
        assert prepared.enqueue().status is JobState.SCHEDULED

    assert work.using(run_at=SOON).enqueue().refresh().run_at == SOON


def test_the_later_of_two_wishes_for_a_start_counts(work: Task[..., int]) -> None:
    assert work.using(run_in=60).using(run_at=SOON).enqueue().refresh().run_at == SOON
    assert work.using(run_at=SOON).using(run_in=0).enqueue().refresh().status is JobState.READY


def test_a_job_expires_after_seconds_or_at_a_time(work: Task[..., int]) -> None:
    assert work.using(expires=SOON).enqueue().refresh().expires_at == SOON
    job = work.using(expires=60).enqueue().refresh()

    assert job.expires_at is not None
    assert job.enqueued_at is not None
    assert job.expires_at - job.enqueued_at == timedelta(seconds=60)
    assert work.using(expires=60).using(expires=SOON).enqueue().refresh().expires_at == SOON


def test_what_the_task_says_about_its_ends_may_be_other_for_one_job(work: Task[..., int]) -> None:
    given = work.using(retry=3, max_time=5, result_ttl=6, failure_ttl=7, on_crash="fail").enqueue().head.overrides

    assert given is not None
    assert (given.retry, given.max_time, given.result_ttl, given.failure_ttl) == (3, 5.0, 6.0, 7.0)
    assert given.on_crash is OnCrash.FAIL
    assert work.policy.overridden(given).max_time == 5.0


def test_one_job_may_run_without_a_limit(work: Task[..., int]) -> None:
    given = work.using(max_time=None).enqueue().head.overrides

    assert work.policy.max_time is not None
    assert work.policy.overridden(given).max_time is None


def test_a_job_that_uses_nothing_of_the_head_has_none(app: QueueTasks) -> None:
    assert app.task(name="bare")(lambda: None).enqueue().row.head is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"priorty": 1}, "unknown option 'priorty'; did you mean 'priority'?"),
        ({"countdown": 1}, "unknown option 'countdown'; did you mean 'run_in'?"),
        ({"queue": ""}, "expected queue to be 1 to 200 letters"),
        ({"priority": 1.5}, "expected priority to be a whole number"),
        ({"run_in": -1}, "expected run_in to be seconds, a timedelta or"),
        ({"run_in": "soon"}, "expected run_in to be seconds, a timedelta or"),
        ({"run_at": datetime(2100, 1, 1)}, "expected run_at to be a datetime with a time zone"),  # noqa: DTZ001
        ({"run_at": 5}, "expected run_at to be a datetime with a time zone"),
        ({"run_in": 1, "run_at": SOON}, "expected run_in or run_at, got both"),
        ({"expires": -1}, "expected expires to be seconds, a timedelta or"),
        ({"expires": datetime(2100, 1, 1)}, "expected expires to be a datetime with a time zone"),  # noqa: DTZ001
        ({"owner": 7}, "expected owner to be text, got 7"),
        ({"owner": "half \ud83d"}, "expected owner to be text that can be encoded"),
        ({"description": b"x"}, "expected description to be text"),
        ({"tags": "mail"}, "expected tags to be a list of texts, got 'mail'"),
        ({"headers": ["a"]}, "expected headers to be a mapping of text to text"),
        ({"headers": {"a": 1}}, "expected header 'a' to be text, got 1"),
        ({"headers": {1: "a"}}, "expected a header's name to be text, got 1"),
        ({"id": "seven"}, "expected id to be a UUID or its text, got 'seven'"),
        ({"id": 7}, "expected id to be a UUID or its text, got 7"),
        ({"after": ["seven"]}, "expected after to be a list of jobs, got 'seven' in it"),
        ({"after": 7}, "expected after to be a list of jobs, got 7 in it"),
        ({"unique": 7}, "expected unique to be a list of texts, got 7"),
        ({"retry": "3"}, "expected retry to be a whole number"),
        ({"max_time": -5}, "expected max_time to be seconds, a timedelta or"),
        ({"on_crash": "explode"}, "expected on_crash to be 'retry' or 'fail', got 'explode'"),
    ],
)
def test_a_wrong_option_is_named_with_the_task(work: Task[..., int], options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        work.using(**options)

    assert str(caught.value).startswith(f"task work: {words}")


# --- ids


def test_an_id_may_be_given_and_repeating_it_stores_nothing_new(app: QueueTasks, work: Task[..., int]) -> None:
    id = new_id()
    first, again = work.using(id=id).enqueue(1), work.using(id=str(id)).enqueue(1)

    assert first == again
    assert first.id == id
    assert len(app.jobs()) == 1


def test_a_repeated_enqueue_shows_a_job_that_has_ended_as_it_stands(app: QueueTasks, work: Task[..., int]) -> None:
    job = work.using(id=UUID(int=7)).enqueue(1)
    end(app, JobState.FAILED)
    again = work.using(id=UUID(int=7)).enqueue(1)

    assert again.status is JobState.FAILED
    assert again.finished_at == job.refresh().finished_at is not None


def test_one_id_cannot_name_many_jobs(work: Task[..., int]) -> None:
    with pytest.raises(ConfigError, match="expected no id for enqueue_many: one id names one job"):
        work.using(id=new_id()).enqueue_many([(1,), (2,)])


# --- many at once


def test_many_jobs_are_stored_in_their_order(app: QueueTasks, work: Task[..., int]) -> None:
    jobs = work.enqueue_many([(1,), (2, 3), ()])

    assert [job.arguments for job in jobs] == [{"x": 1, "y": 0}, {"x": 2, "y": 3}, {"x": 0, "y": 0}]
    assert [job.id for job in reversed(app.jobs())] == [job.id for job in jobs]


def test_no_jobs_are_no_trip_to_the_broker(app: QueueTasks, work: Task[..., int]) -> None:
    assert work.enqueue_many([]) == []
    assert repr(app).startswith("<QueueTasks")


def test_one_call_that_does_not_fit_stores_none(app: QueueTasks, work: Task[..., int]) -> None:
    with pytest.raises(InvalidArguments, match="argument 'x'"):
        work.enqueue_many([(1,), ("two",), (3,)])

    assert app.jobs() == []


# --- size


def test_a_payload_over_the_limit_is_refused_and_nothing_is_stored(app: QueueTasks) -> None:
    task = app.task(name="big")(lambda text: None)
    task.enqueue("x" * 1_000_000)

    with pytest.raises(PayloadTooLarge, match="arguments of task big: expected at most 1,048,576 bytes encoded, got 1,048,587"):
        task.enqueue("x" * (1 << 20))

    with pytest.raises(PayloadTooLarge, match="arguments of task far: expected at most"):
        app.add_task("far", "x" * (1 << 20))

    assert len(app.jobs()) == 1


# --- after


def test_a_job_waits_for_those_it_comes_after(app: QueueTasks, work: Task[..., int]) -> None:
    first = work.enqueue(1)
    second = work.using(after=[first]).enqueue(2)

    assert second.status is JobState.BLOCKED
    end(app, JobState.SUCCEEDED)
    assert second.refresh().status is JobState.READY


def test_what_comes_after_a_failure_is_cancelled_unless_any_end_will_do(app: QueueTasks, work: Task[..., int]) -> None:
    first = work.enqueue(1)
    strict = work.using(after=[first]).enqueue(2)
    lenient = work.using(after=[Edge(first.id, EdgePolicy.ENDED)]).enqueue(3)
    end(app, JobState.FAILED)

    assert (strict.refresh().status, strict.reason) == (JobState.CANCELLED, Reason.UPSTREAM)
    assert lenient.refresh().status is JobState.READY


def test_a_job_after_one_that_has_failed_is_shown_as_cancelled_with_its_reason(app: QueueTasks, work: Task[..., int]) -> None:
    first = work.enqueue(1)
    end(app, JobState.FAILED)
    second = work.using(after=[first]).enqueue(2)

    assert (second.status, second.reason) == (JobState.CANCELLED, Reason.UPSTREAM)


def test_a_job_after_one_that_is_not_kept_is_refused(app: QueueTasks, work: Task[..., int]) -> None:
    with pytest.raises(EnqueueRefused, match="which is not kept"):
        work.using(after=[Edge(new_id())]).enqueue()

    assert app.jobs() == []


# --- by name


def test_a_task_declared_here_is_enqueued_by_its_name_with_its_options(app: QueueTasks, work: Task[..., int]) -> None:
    job = app.add_task("work", 1, y=2)

    assert (job.queue, job.priority, job.arguments) == ("mail", 1, {"x": 1, "y": 2})
    assert app.add_task("work", priority=7).priority == 7


def test_arguments_by_name_are_checked_where_the_task_is_known(app: QueueTasks, work: Task[..., int]) -> None:
    with pytest.raises(InvalidArguments, match="argument 'x': Expected `int`"):
        app.add_task("work", "one")


def test_an_alias_enqueues_the_task_under_its_new_name(app: QueueTasks) -> None:
    app.task(name="new", aliases=["old"])(lambda: None)

    assert app.add_task("old").task_name == "new"


def test_a_task_of_another_process_takes_what_its_worker_published(app: QueueTasks) -> None:
    other = QueueTasks("shop", "memory://published")
    other.task(name="far", queue="slow", priority=-5, tags=["t"], description="Far", on_crash="fail")(lambda: None)
    other.publish()
    sender = QueueTasks("shop", "memory://published")
    job = sender.add_task("far", 1, key=2)

    assert (job.queue, job.priority, job.tags, job.description) == ("slow", -5, ("t",), "Far")
    assert job.head.overrides is not None
    assert job.head.overrides.on_crash is OnCrash.FAIL
    assert job.arguments == [[1], {"key": 2}]


def test_a_task_that_nobody_knows_is_stored_with_the_defaults(app: QueueTasks) -> None:
    job = app.add_task("unheard_of", 1)

    assert (job.queue, job.priority, job.status) == ("default", 0, JobState.READY)


def test_arguments_may_bear_the_names_of_the_callers_own(app: QueueTasks) -> None:
    app.task(name="greet")(lambda name: None)

    assert app.add_task("greet", name="Ada").arguments == {"name": "Ada"}


@pytest.mark.parametrize("name", ["two words", "", 7, "cherga.group"])
def test_a_name_that_no_task_can_have_is_refused(app: QueueTasks, name: Any) -> None:
    with pytest.raises(ConfigError, match="expected a task's name"):
        app.add_task(name)


def test_a_wrong_priority_by_name_is_refused(app: QueueTasks) -> None:
    with pytest.raises(ConfigError, match="expected priority to be a whole number"):
        app.add_task("far", priority=1000)


def end(app: QueueTasks, state: JobState) -> None:
    """Run the oldest ready job to this end."""
    hand = Hand(app)
    hand.claim()
    hand.end(state)
