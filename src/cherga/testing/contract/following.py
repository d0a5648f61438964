"""The live stream of a job: progress and meta with their last value, log lines and stream values one by one."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from cherga.doors.broker import FullBroker
from cherga.testing.contract.stage import Stage, new_job, together
from cherga.words.claim import ClaimedJob
from cherga.words.job import JobState
from cherga.words.report import EVENTS_KEPT, EventKind, Followed, LiveEvent, Reading, Report

LOG, VALUE = EventKind.LOG, EventKind.VALUE


class Reporting:
    """``report`` and ``follow``."""

    def test_progress_and_meta_can_be_read_while_the_job_runs(self, stage: Stage) -> None:
        job = stage.started()
        assert stage.broker.report([_report(job, progress=b"\x05", meta=b"\x80")]) == [True]
        assert (stage.row(job).progress, stage.row(job).meta) == (b"\x05", b"\x80")
        assert stage.row(job).state is JobState.RUNNING

    def test_what_a_report_leaves_out_stays(self, stage: Stage) -> None:
        job = stage.started()
        stage.broker.report([_report(job, progress=b"\x05", meta=b"\x80")])
        stage.broker.report([_report(job, progress=b"\x06")])
        assert (stage.row(job).progress, stage.row(job).meta) == (b"\x06", b"\x80")

    def test_a_report_with_an_old_token_is_refused(self, stage: Stage) -> None:
        old = stage.started()
        stage.write(old, JobState.READY)
        new = stage.claim_one()
        before = stage.row(new)
        assert stage.broker.report([_report(old, b"\x09", events=((LOG, b"late"),))]) == [False]
        assert stage.row(new) == before
        assert _follow(stage, new).events == []

    def test_a_report_after_the_end_is_refused(self, stage: Stage) -> None:
        job = stage.ended()
        before = stage.row(job)
        assert stage.broker.report([_report(job, b"\x09", events=((LOG, b"late"),))]) == [False]
        assert stage.row(job) == before

    def test_a_report_after_the_reaper_is_refused(self, stage: Stage) -> None:
        job = stage.started()
        stage.crash()
        assert stage.broker.report([_report(job, b"\x09")]) == [False]

    def test_a_report_on_a_job_that_is_not_kept_is_refused(self, stage: Stage) -> None:
        assert stage.broker.report([_report(stage.ended(keep=0), b"\x09")]) == [False]

    def test_each_report_stands_alone(self, stage: Stage) -> None:
        stage.push_each(new_job(), new_job())
        first, second = stage.claim()
        forged = msgspec.structs.replace(first, token=first.token ^ 1)
        reports = [_report(forged, b"\x01"), _report(second, b"\x02"), _report(first, b"\x03")]
        assert stage.broker.report(reports) == [False, True, True]
        assert (stage.row(first).progress, stage.row(second).progress) == (b"\x03", b"\x02")

    def test_reporting_nothing_is_nothing(self, stage: Stage) -> None:
        assert stage.broker.report([]) == []

    def test_events_are_followed_in_order(self, stage: Stage) -> None:
        job = stage.started()
        stage.broker.report([_report(job, events=((LOG, b"a"), (VALUE, b"b")))])
        stage.broker.report([_report(job, events=((LOG, b"c"),))])
        events = _follow(stage, job).events
        assert [(event.kind, event.data) for event in events] == [(LOG, b"a"), (VALUE, b"b"), (LOG, b"c")]

    def test_positions_rise(self, stage: Stage) -> None:
        job = stage.started()

        for _ in range(5):
            stage.broker.report([_report(job, events=((LOG, b"x"),) * 3)])

        followed = _follow(stage, job)
        positions = [event.position for event in followed.events]
        assert positions == sorted(set(positions))
        assert positions[0] > 0
        assert followed.job.position >= positions[-1]

    @pytest.mark.parametrize("field", ["progress", "meta"])
    def test_a_new_value_moves_the_position(self, stage: Stage, field: str) -> None:
        job = stage.started()
        before = stage.row(job).position
        stage.broker.report([_report(job, **{field: b"\x01"})])
        assert stage.row(job).position > before

    def test_a_follower_goes_on_where_it_was(self, stage: Stage) -> None:
        job = stage.started()
        stage.broker.report([_report(job, events=((LOG, b"a"), (LOG, b"b")))])
        first, second = _follow(stage, job).events
        assert [event.data for event in _follow(stage, job, first.position).events] == [b"b"]
        assert _follow(stage, job, second.position).events == []
        stage.broker.report([_report(job, events=((LOG, b"c"),))])
        assert [event.data for event in _follow(stage, job, second.position).events] == [b"c"]

    def test_a_follower_who_starts_at_the_jobs_position_sees_only_what_is_new(self, stage: Stage) -> None:
        job = stage.started()
        stage.broker.report([_report(job, b"\x01", events=((LOG, b"old"),))])
        position = stage.row(job).position
        stage.broker.report([_report(job, b"\x02", events=((LOG, b"new"),))])
        assert [event.data for event in _follow(stage, job, position).events] == [b"new"]

    def test_a_page_holds_the_first_events(self, stage: Stage) -> None:
        job = stage.started()
        stage.broker.report([_report(job, events=_logs(25))])
        assert [event.data for event in _all_pages(stage, job, 10)] == [data for _, data in _logs(25)]
        assert len(_follow(stage, job, limit=10).events) == 10

    def test_the_stream_is_bounded_and_older_events_go_first(self, stage: Stage) -> None:
        job = stage.started()

        for _ in range(4):
            stage.broker.report([_report(job, events=_logs(400))])

        events = _follow(stage, job, limit=10_000).events
        assert [event.data for event in events] == [data for _, data in _logs(400) * 4][-EVENTS_KEPT:]

    def test_a_later_attempt_goes_on_in_the_stream(self, stage: Stage) -> None:
        first = stage.started()
        stage.broker.report([_report(first, events=((LOG, b"one"),))])
        stage.write(first, JobState.READY)
        second = stage.claim_one()
        stage.broker.report([_report(second, events=((LOG, b"two"),))])
        events = _follow(stage, first).events
        assert [event.data for event in events] == [b"one", b"two"]
        assert events[0].position < events[1].position

    def test_a_follower_sees_the_job_as_it_stands(self, stage: Stage) -> None:
        job = stage.ended(result=b"\x01")
        assert _follow(stage, job).job == stage.row(job)

    def test_the_stream_of_an_ended_job_can_be_read(self, stage: Stage) -> None:
        job = stage.started()
        stage.broker.report([_report(job, events=((LOG, b"a"),))])
        stage.write(job)
        assert [event.data for event in _follow(stage, job).events] == [b"a"]

    def test_a_job_that_is_not_kept_has_no_stream(self, stage: Stage) -> None:
        assert stage.broker.follow([Reading(uuid4())]) == [None]
        job = stage.started()
        stage.broker.report([_report(job, events=((LOG, b"a"),))])
        stage.write(job, keep=0)
        assert stage.broker.follow([Reading(job.id)]) == [None]

    def test_streams_of_two_jobs_do_not_mix(self, stage: Stage) -> None:
        stage.push_each(new_job(), new_job())
        first, second = stage.claim()
        stage.broker.report([_report(first, events=((LOG, b"1"),)), _report(second, events=((LOG, b"2"),))])
        assert [event.data for event in _follow(stage, second).events] == [b"2"]

    def test_two_threads_that_report_lose_no_event(self, stage: Stage) -> None:
        job = stage.started()
        brokers = [stage.broker, stage.connect()]
        together(*[partial(_report_often, broker, job, 40) for broker in brokers])
        positions = [event.position for event in _follow(stage, job).events]
        assert len(positions) == 80
        assert positions == sorted(set(positions))


def _report(job: ClaimedJob, progress: bytes | None = None, **fields: Any) -> Report:
    return Report(job.id, job.sequence, job.token, progress, **fields)


def _report_often(broker: FullBroker, job: ClaimedJob, times: int) -> None:
    for _ in range(times):
        broker.report([_report(job, events=((LOG, b"x"),))])


def _logs(count: int) -> tuple[tuple[EventKind, bytes], ...]:
    return tuple((LOG, b"line %d" % number) for number in range(count))


def _follow(stage: Stage, job: ClaimedJob, after: int = 0, limit: int = 100) -> Followed:
    (followed,) = stage.broker.follow([Reading(job.id, after)], limit)
    assert followed is not None
    return followed


def _all_pages(stage: Stage, job: ClaimedJob, limit: int) -> list[LiveEvent]:
    events: list[LiveEvent] = []

    while page := _follow(stage, job, events[-1].position if events else 0, limit).events:
        events += page

    return events
