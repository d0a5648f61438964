"""Server-sent events."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from cherga import JobState, LiveUpdate, Progress, QueueTasks, Watch
from cherga.client.waiters import EVENTS
from cherga.testing import FakeClock
from cherga.web.frames import HEARTBEAT, RETRY, Frames, Stream, encode_event
from cherga.web.seats import Seats
from cherga.web.settings import LiveSettings
from tests.live_hand import Hand

ID = UUID(int=7)


def update(position: int = 1, state: JobState = JobState.RUNNING, **fields: Any) -> LiveUpdate:
    return LiveUpdate(job_id=ID, position=position, state=state, final=state.final, **fields)


def read(event: bytes) -> dict[str, str]:
    """The fields of one event, checked to be exactly one."""
    assert event.endswith(b"\n\n")
    lines = event.decode().removesuffix("\n\n").split("\n")
    assert "" not in lines
    return {name: value for name, _, value in (line.partition(": ") for line in lines)}


def test_the_first_frame_says_how_long_to_wait_before_coming_back() -> None:
    frame = Frames(FakeClock(), LiveSettings()).take(update())

    assert frame.startswith(RETRY)
    assert read(frame.removeprefix(RETRY))["id"] == "1"


def test_an_event_carries_its_position_and_the_job_in_one_line() -> None:
    fields = read(encode_event(update(9, progress=Progress(1, 4, "a\nb\r\n\nevent: end"))))
    told = json.loads(fields["data"])

    assert fields.keys() == {"id", "data"}
    assert fields["id"] == "9"
    assert told["progress"] == {"done": 1.0, "total": 4.0, "percent": 25.0, "note": "a\nb\r\n\nevent: end"}
    assert told["final"] is False


def test_the_last_event_of_a_job_is_called_end() -> None:
    fields = read(encode_event(update(state=JobState.FAILED)))

    assert fields["event"] == "end"
    assert json.loads(fields["data"])["final"] is True


def test_a_final_job_with_a_full_page_of_lines_is_not_at_its_end() -> None:
    fields = read(encode_event(update(state=JobState.SUCCEEDED, logs=("line",) * EVENTS)))

    assert "event" not in fields
    assert json.loads(fields["data"])["final"] is False


def test_an_unmoved_job_is_told_again_only_as_a_comment_when_the_heartbeat_is_due() -> None:
    clock = FakeClock()
    frames = Frames(clock, LiveSettings(heartbeat=15))
    frames.take(update())

    clock.advance(14)
    early = frames.take(update())
    clock.advance(1)
    due = frames.take(update())
    clock.advance(14)
    again = frames.take(update())

    assert (early, due, again) == (b"", HEARTBEAT, b"")


def test_a_change_of_state_is_news_even_at_the_same_position() -> None:
    frames = Frames(FakeClock(), LiveSettings())
    frames.take(update(3))

    assert b"cancelled" in frames.take(update(3, JobState.CANCELLED))
    assert frames.over


def test_a_stream_is_over_when_it_is_old_enough() -> None:
    clock = FakeClock()
    frames = Frames(clock, LiveSettings(max_age=300))
    frames.take(update(1))
    clock.advance(299)
    frames.take(update(2))
    assert not frames.over

    clock.advance(1)
    frames.take(update(3))

    assert frames.over


@pytest.mark.parametrize(("stored", "told"), [({(1, 2): "pair"}, {"(1, 2)": "pair"}), ({None: float("nan")}, {"None": None})])
def test_meta_that_json_cannot_say_is_told_as_text(stored: dict[Any, Any], told: dict[str, Any]) -> None:
    assert json.loads(read(encode_event(update(meta=stored)))["data"])["meta"] == told


def make_stream(**settings: Any) -> tuple[QueueTasks, Hand, Seats, Stream]:
    app = QueueTasks("streamed", "memory://")
    app.task(name="work")(lambda: None)
    job = app.tasks["work"].enqueue()
    seats = Seats(per_job=1)
    seat = seats.take(job.id, 1)
    assert seat is not None

    stream = Stream(Watch(app, job.id, pulse=0.01), Frames(app.clock, LiveSettings(**settings)), seat)
    return app, Hand(app), seats, stream


def test_a_stream_tells_every_step_and_ends_with_the_job() -> None:
    _, hand, _, stream = make_stream()
    steps: list[Callable[[], object]] = [hand.claim, lambda: hand.progress(1, 2), hand.end]
    chunks = []

    for chunk in stream:
        chunks.append(chunk)

        if steps:
            steps.pop(0)()

    events = [json.loads(read(chunk.removeprefix(RETRY))["data"]) for chunk in chunks]
    assert [event["state"] for event in events] == ["ready", "running", "running", "succeeded"]
    assert b"event: end" in chunks[-1]


@pytest.mark.parametrize("read_first", [0, 1])
def test_a_client_that_goes_frees_its_seat(read_first: int) -> None:
    _, _, seats, stream = make_stream()

    for _ in range(read_first):
        next(stream)

    assert len(seats) == 1
    stream.close()

    assert len(seats) == 0
    assert list(stream) == []


def test_a_stream_sends_heartbeats_while_nothing_happens() -> None:
    _, _, _, stream = make_stream(heartbeat=0.0)
    next(stream)

    assert next(stream) == HEARTBEAT
    stream.close()


def test_a_job_that_is_not_kept_any_more_ends_the_stream_without_an_error() -> None:
    app, hand, _, stream = make_stream()
    next(stream)
    hand.claim()
    hand.end()
    app.broker.time_offset = 10 * 365 * 86_400.0

    assert app.broker.prune() == 1
    # Its end may have been seen before it was gone, and is told then.
    assert all(chunk == HEARTBEAT or chunk.startswith(b"event: end\n") for chunk in stream)
