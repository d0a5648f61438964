"""The small rules inside the frozen data."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from cherga import JobState, Progress
from cherga.client.ids import as_id, new_id
from cherga.rules.codec import decode, encode
from cherga.words.clock import SystemClock, moment


@pytest.mark.parametrize(
    ("progress", "percent"),
    [
        (Progress(0, 10), 0.0),
        (Progress(5, 10), 50.0),
        (Progress(10, 10), 100.0),
        (Progress(11, 10), 100.0),
        (Progress(-1, 10), 0.0),
        (Progress(0.5, 1), 50.0),
        (Progress(5), None),
        (Progress(5, 0), None),
        (Progress(5, -10), None),
    ],
)
def test_percent_stays_between_0_and_100_and_is_none_without_a_total(progress: Progress, percent: float | None) -> None:
    assert progress.percent == percent


def test_three_states_are_final() -> None:
    assert {state for state in JobState if state.final} == {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


def test_a_state_is_its_name() -> None:
    assert JobState("ready") is JobState.READY
    assert str(JobState.READY) == "ready"
    assert decode(encode(JobState.READY)) == "ready"


def test_stored_seconds_are_shown_as_aware_times() -> None:
    assert moment(0.0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert moment(None) is None


def test_the_systems_clocks_do_not_go_back() -> None:
    clock = SystemClock()

    assert clock.monotonic() <= clock.monotonic()
    assert 0 < clock.uptime() <= clock.uptime()
    assert clock.now() > datetime(2024, 1, 1, tzinfo=UTC).timestamp()


def test_ids_are_uuids_of_version_7_in_the_order_of_time() -> None:
    before = SystemClock.now()
    ids = [new_id() for _ in range(1000)]
    after = SystemClock.now()

    assert {id.version for id in ids} == {7}
    assert {id.variant for id in ids} == {"specified in RFC 4122"}
    assert len(set(ids)) == 1000
    assert all(math.floor(before * 1000) <= id.int >> 80 <= after * 1000 for id in ids)


def test_an_id_may_be_given_as_text() -> None:
    id = new_id()

    assert as_id(id) is id
    assert as_id(str(id)) == id
    assert as_id(id.hex) == id

    with pytest.raises(ValueError, match="UUID"):
        as_id("seven")


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(0, 3), "0 of 3 (0 %)"),
        (Progress(1234.5, 2000, "writing page 3"), "1,234.5 of 2,000 (62 %), writing page 3"),
        (Progress(7), "7"),
        (Progress(7, 0, "nothing to do"), "7 of 0, nothing to do"),
    ],
)
def test_a_progress_is_a_text_for_people(progress: Progress, text: str) -> None:
    assert str(progress) == f"{progress}" == text
