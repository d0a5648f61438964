"""How a new job stands first: its times by the clock of the broker, and its state."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from cherga.rules.newcomers import Times, first_state, read_times, waiting_state
from cherga.words.job import JobState
from cherga.words.push import GROUP_TASK, NewJob

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({}, Times(None, None)),
        ({"run_at": NOW + 5}, Times(NOW + 5, None)),
        ({"run_at": NOW - 5}, Times(NOW - 5, None)),
        ({"delay": 5.0}, Times(NOW + 5, None)),
        ({"delay": 0.0}, Times(NOW, None)),
        ({"delay": 5.0, "run_at": NOW + 90}, Times(NOW + 5, None)),
        ({"expires_at": NOW + 5}, Times(None, NOW + 5)),
        ({"expires_in": 5.0}, Times(None, NOW + 5)),
        ({"expires_in": 5.0, "expires_at": NOW + 90}, Times(None, NOW + 5)),
        ({"delay": 5.0, "expires_in": 7.0}, Times(NOW + 5, NOW + 7)),
    ],
)
def test_what_counts_from_the_push_is_added_to_the_brokers_time(wishes: dict[str, Any], expected: Times) -> None:
    assert read_times(_job(**wishes), NOW) == expected


@pytest.mark.parametrize(
    ("wishes", "pending", "expected"),
    [
        ({}, 0, JobState.READY),
        ({"delay": 0.0}, 0, JobState.READY),
        ({"run_at": NOW}, 0, JobState.READY),
        ({"run_at": NOW - 5}, 0, JobState.READY),
        ({"run_at": NOW + 5}, 0, JobState.SCHEDULED),
        ({"delay": 5.0}, 0, JobState.SCHEDULED),
        ({}, 2, JobState.BLOCKED),
        ({"delay": 5.0}, 1, JobState.BLOCKED),
        ({"expires_in": 5.0}, 0, JobState.READY),
        ({"expires_in": 5.0}, 1, JobState.BLOCKED),
        ({"expires_at": NOW}, 0, JobState.CANCELLED),
        ({"expires_at": NOW - 5}, 1, JobState.CANCELLED),
        ({"delay": 5.0, "expires_at": NOW - 5}, 0, JobState.CANCELLED),
        ({"task": GROUP_TASK}, 0, JobState.SUCCEEDED),
        ({"task": GROUP_TASK, "delay": 5.0}, 0, JobState.SUCCEEDED),
        ({"task": GROUP_TASK}, 1, JobState.BLOCKED),
        ({"task": GROUP_TASK, "expires_at": NOW - 5}, 0, JobState.CANCELLED),
    ],
)
def test_where_a_new_job_stands_first(wishes: dict[str, Any], pending: int, expected: JobState) -> None:
    job = _job(**wishes)

    assert first_state(job, read_times(job, NOW), NOW, pending) is expected


def test_a_job_that_is_replaced_waits_even_where_the_newer_one_has_expired() -> None:
    assert waiting_state(Times(None, NOW - 5), NOW) is JobState.READY


def _job(**wishes: Any) -> NewJob:
    return NewJob(**{"id": uuid4(), "task": "mail", "payload": b"", **wishes})
