"""``ctx``: what a job sees of itself and what it tells."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from cherga import ConfigError, Context, NoCurrentJob, Progress, ctx, get_current_job
from cherga.client.context import LOG_LINE_LIMIT, set_current
from cherga.rules.codec import decode, encode
from cherga.testing import FakeClock
from cherga.words.claim import ClaimedJob
from cherga.words.push import JobHead
from cherga.words.report import EVENTS_KEPT, EventKind

JOB = ClaimedJob(
    id=UUID(int=7),
    sequence=70,
    token=700,
    task="work",
    queue="default",
    priority=0,
    payload=b"",
    head=msgspec.msgpack.encode(JobHead(description="Works", tags=("t",), headers={"locale": "uk"})),
    attempt=2,
    claims=5,
    crashes=0,
    interruptions=0,
    enqueued_at=10.0,
    started_at=20.0,
    owner="user:7",
    unique_key=None,
    meta=encode({"seen": 3}),
)


@dataclass(frozen=True)
class Spot:
    x: int


class Notebook:
    """A reporter that notes how often it was touched."""

    def __init__(self) -> None:
        self.touches = 0

    def touch(self, context: Context) -> None:
        self.touches += 1


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def context(notebook: Notebook, clock: FakeClock) -> Context:
    return Context(JOB, clock, notebook, deadline=clock.monotonic() + 60)


def told(context: Context) -> Progress:
    """The progress as it would be stored."""
    assert context.latest_progress is not None
    return msgspec.msgpack.decode(context.latest_progress, type=Progress)


def logged(context: Context) -> list[str]:
    """The log lines as they would be stored."""
    return [decode(data) for kind, data in context.take_events() if kind is EventKind.LOG]


def test_a_job_knows_who_it_is(context: Context) -> None:
    assert (context.job_id, context.task_name, context.attempt, context.fence, context.owner) == (
        JOB.id,
        "work",
        2,
        5,
        "user:7",
    )
    assert (context.head.description, context.head.tags, context.head.headers) == ("Works", ("t",), {"locale": "uk"})


def test_a_job_knows_how_much_time_is_left(context: Context, clock: FakeClock, notebook: Notebook) -> None:
    clock.advance(20)

    assert context.remaining == 40
    assert Context(JOB, clock, notebook).remaining is None


@pytest.mark.parametrize(("done", "total"), [("x", None), (None, 2), (1, "many"), (1, [])])
def test_progress_that_is_no_number_is_refused(context: Context, done: Any, total: Any) -> None:
    with pytest.raises(TypeError, match="to be a number, got"):
        context.progress(done, total)

    assert context.latest_progress is None


def test_whatever_is_a_number_is_progress(context: Context) -> None:
    number: Any = Decimal("1.5")
    context.progress(number, True)
    assert told(context) == Progress(1.5, 1)


def test_progress_is_the_last_thing_told(context: Context, notebook: Notebook) -> None:
    context.progress(1, 4)
    context.progress(2, 4, "half")

    assert told(context) == Progress(2, 4, "half")
    assert notebook.touches == 2


@pytest.mark.parametrize("items", [["a", "b"], {"a": 1, "b": 2}, range(2), "ab"])
def test_tracking_reports_before_the_first_item_and_after_each(context: Context, items: Any) -> None:
    seen = []

    for item in context.track(items, note="working"):
        seen.append((item, told(context)))

    assert seen == [(item, Progress(done, 2, "working")) for done, item in enumerate(items)]
    assert told(context) == Progress(2, 2, "working")


def test_tracking_something_without_a_length_needs_no_total(context: Context) -> None:
    def letters() -> Iterator[str]:
        yield from "abc"

    assert list(context.track(letters())) == ["a", "b", "c"]
    assert told(context) == Progress(3, None)
    assert list(context.track(letters(), total=6)) == ["a", "b", "c"]
    assert told(context).percent == 50.0


def test_tracking_that_is_broken_off_says_how_far_it_came(context: Context) -> None:
    for item in context.track("abcd"):
        if item == "c":
            break

    assert told(context) == Progress(2, 4)


def test_meta_is_what_an_earlier_attempt_saved(context: Context) -> None:
    assert context.meta == {"seen": 3}
    context.meta["file"] = "a.txt"

    assert context.take_unsent() == (None, None)
    context.save_meta()
    _, saved = context.take_unsent()
    assert saved is not None
    assert decode(saved) == {"seen": 3, "file": "a.txt"}


@pytest.mark.parametrize("kept", [None, b"", b"\xc1", encode([1, 2]), encode("text")])
def test_meta_is_always_a_dictionary(clock: FakeClock, notebook: Notebook, kept: bytes | None) -> None:
    assert Context(msgspec.structs.replace(JOB, meta=kept), clock, notebook).meta == {}


def test_meta_that_cannot_be_stored_raises_in_the_job(context: Context) -> None:
    context.meta["file"] = object()

    with pytest.raises(TypeError, match="a object cannot be stored"):
        context.save_meta()

    context.meta["file"] = {Spot(1): 1}

    with pytest.raises(TypeError, match="expected keys that can be read again"):
        context.save_meta()


def test_a_set_of_objects_is_told_as_a_list_of_what_they_hold(context: Context) -> None:
    context.meta["seen"] = {Spot(1)}
    context.save_meta()
    _, saved = context.take_unsent()

    assert saved is not None
    assert decode(saved)["seen"] == [{"x": 1}]


def test_log_lines_are_kept_in_their_order(context: Context, notebook: Notebook) -> None:
    context.log("one")
    context.log(2)  # type: ignore[arg-type]

    assert logged(context) == ["one", "2"]
    assert notebook.touches == 2
    assert logged(context) == []


def test_only_the_last_log_lines_are_kept(context: Context) -> None:
    for number in range(EVENTS_KEPT + 5):
        context.log(str(number))

    lines = logged(context)
    assert (len(lines), lines[0], lines[-1]) == (EVENTS_KEPT, "5", str(EVENTS_KEPT + 4))


def test_telling_does_not_end_the_job_whatever_it_tells(context: Context) -> None:
    """File names may hold half characters, and a note may be a book."""
    context.log("half \ud83d")
    context.progress(1, 2, "half \ud83d" + "x" * 100_000)

    assert logged(context) == ["half \\ud83d"]
    assert told(context).note.startswith("half \\ud83dxxx")
    assert len(told(context).note) < LOG_LINE_LIMIT + 10


def test_what_was_taken_once_is_not_taken_again(context: Context) -> None:
    context.progress(1)
    context.save_meta()
    progress, meta = context.take_unsent()

    assert progress is not None
    assert meta is not None
    assert context.take_unsent() == (None, None)
    context.progress(1)
    assert context.take_unsent() == (progress, None)


# --- being stopped


def test_a_sleep_ends_with_its_time(context: Context) -> None:
    assert context.sleep(0.001) is True
    assert not context.cancelled


def test_a_sleep_ends_at_once_when_the_job_is_cancelled(context: Context) -> None:
    sleeper = threading.Timer(0, context.cancel_now, ["enough"])
    sleeper.start()

    assert context.sleep(30) is False
    assert (context.cancelled, context.cancel_message) == (True, "enough")
    assert context.sleep(30) is False


def test_a_job_that_is_cancelled_already_does_not_sleep(context: Context) -> None:
    context.cancel_now()

    assert context.sleep(30) is False


def test_a_sleep_of_no_duration_is_refused(context: Context) -> None:
    with pytest.raises(ConfigError, match="expected the sleep to be seconds"):
        context.sleep(-1)


# --- the current job


def test_outside_a_job_there_is_none() -> None:
    assert repr(ctx) == "<ctx outside a job>"
    assert get_current_job() is None

    with pytest.raises(NoCurrentJob, match=r"threads and callbacks that a job starts need ctx\.bind"):
        ctx.progress(1)

    with pytest.raises(NoCurrentJob):
        _ = ctx.job_id


def test_inside_a_job_ctx_stands_for_its_context(context: Context) -> None:
    def look() -> tuple[Any, str]:
        set_current(context)
        ctx.progress(3)
        return ctx.job_id, repr(ctx)

    assert contextvars.copy_context().run(look) == (JOB.id, f"<ctx of job {JOB.id}>")
    assert told(context).done == 3


def test_ctx_takes_nothing_that_a_context_has_not(context: Context) -> None:
    def scribble() -> None:
        set_current(context)
        ctx.note = "x"  # type: ignore[attr-defined]

    with pytest.raises(AttributeError):
        contextvars.copy_context().run(scribble)


def test_a_bound_function_finds_the_job_in_another_thread(context: Context) -> None:
    found: list[Any] = []

    def start_threads() -> None:
        set_current(context)
        threads = [threading.Thread(target=function) for function in (ctx.bind(note), ctx.bind(note), note)]

        for thread in threads:
            thread.start()

        for thread in threads:
            thread.join(10)

    def note() -> None:
        try:
            found.append(ctx.job_id)
        except NoCurrentJob:
            found.append(None)

    contextvars.copy_context().run(start_threads)
    assert sorted(found, key=str) == [JOB.id, JOB.id, None]
