"""Cancelling from a page: only with a token that allows it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cherga import JobState
from cherga.web.live import Answer
from tests.unit.test_live_endpoint import Stage


def body(answer: Answer) -> dict[str, Any]:
    assert isinstance(answer.body, bytes)
    return dict(json.loads(answer.body))


def test_a_token_that_allows_it_cancels_a_job_that_waits() -> None:
    stage = Stage()
    answer = stage.cancel(stage.endpoint.issue(stage.job.id, cancel=True))

    assert (answer.status, body(answer)) == (200, {"cancelled": True})
    stage.job.refresh()
    assert (stage.job.status, stage.job.message) == (JobState.CANCELLED, "cancelled by the visitor")


def test_a_job_that_runs_is_asked_to_stop_and_the_page_is_told_so() -> None:
    stage = Stage()
    token = stage.endpoint.issue(stage.job.id, cancel=True)
    stage.hand.claim()

    assert (stage.tell(token=token)["may_cancel"], stage.tell(token=token)["stopping"]) == (True, False)
    assert body(stage.cancel(token)) == {"cancelled": True}
    assert stage.tell(token=token)["stopping"] is True


def test_what_has_ended_stays_as_it_is() -> None:
    stage = Stage()
    stage.hand.claim()
    stage.hand.end()

    assert body(stage.cancel(stage.endpoint.issue(stage.job.id, cancel=True))) == {"cancelled": False}
    assert stage.job.refresh().status is JobState.SUCCEEDED


def test_a_token_that_only_admits_cancels_nothing() -> None:
    stage = Stage()

    assert stage.tell()["may_cancel"] is False
    assert stage.cancel(stage.token).status == 403
    assert stage.job.refresh().status is JobState.READY


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
def test_a_token_that_is_not_ours_cancels_nothing(token: str) -> None:
    stage = Stage()

    assert stage.cancel(token).status == 403
    assert stage.job.refresh().status is JobState.READY


def test_a_token_for_another_job_cancels_nothing() -> None:
    stage = Stage()
    other = stage.app.tasks["work"].enqueue()

    assert stage.cancel(stage.endpoint.issue(other.id, cancel=True)).status == 403
    assert stage.cancel("x", id="nonsense").status == 404
