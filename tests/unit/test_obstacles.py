"""Why a job does not run: from facts to sentences."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from cherga import JobState, Obstacle, ObstacleKind, Reason
from cherga.client.explain import Explanation
from cherga.rules.codec import encode
from cherga.rules.obstacles import Facts, find_obstacles, tell_when
from cherga.rules.times import local
from cherga.testing import FakeClock
from cherga.words.clock import moment
from cherga.words.job import JobRow
from cherga.words.limits import LimitRule, LimitUse, Rate
from cherga.words.push import GROUP_TASK
from cherga.words.session import SessionInfo, WorkerInfo
from cherga.words.shared import PauseScope
from cherga.words.unique import OnConflict, Unique

NOW = FakeClock().now()
ID, OTHER, THIRD = (UUID(f"01970000-0000-7000-8000-00000000000{number}") for number in (1, 2, 3))
READY = JobRow(
    id=ID, sequence=9, task="send", queue="mail", priority=0, state=JobState.READY, payload=encode({"user_id": 7}), attempt=0
)
RUNNING = replace(READY, id=OTHER, state=JobState.RUNNING, started_at=NOW - 30, attempt=1, session="box.1")


def worker(name: str = "box", queues: tuple[str, ...] = (), tasks: tuple[str, ...] = ("send",), running: int = 1) -> WorkerInfo:
    session = SessionInfo(id=f"{name}.1", worker=name, host="host", pid=1, queues=queues, tasks=tasks, concurrency=4)
    return WorkerInfo(session=session, expires_in=20, running=running)


def facts(row: JobRow = READY, **known: Any) -> Facts:
    return Facts(row=row, now=NOW, **{"workers": (worker(),), **known})


def obstacles(row: JobRow = READY, **known: Any) -> list[tuple[ObstacleKind, str]]:
    return [(obstacle.kind, obstacle.text) for obstacle in find_obstacles(facts(row, **known))]


def only(row: JobRow = READY, **known: Any) -> Obstacle:
    (obstacle,) = find_obstacles(facts(row, **known))
    return obstacle


def sentence(row: JobRow = READY, error: str | None = None, **known: Any) -> str:
    given = facts(row, **known)
    return tell_when(given, find_obstacles(given), "box", error)


def test_nothing_stands_in_the_way_of_a_ready_job_that_a_worker_can_take() -> None:
    assert obstacles() == []
    assert sentence() == "it runs once a worker has a free slot"


@pytest.mark.parametrize(
    ("workers", "kind", "text"),
    [
        ((), ObstacleKind.NO_WORKER, "no worker is alive"),
        (
            (worker(queues=("low", "default")), worker(queues=("low",))),
            ObstacleKind.QUEUE,
            "no worker listens to queue mail, only to default, low",
        ),
        (
            (worker(tasks=("sent",)),),
            ObstacleKind.TASK,
            "no worker that listens to queue mail knows task send (did you mean 'sent'?)",
        ),
        (
            (worker(tasks=("add",)), worker("knowing", queues=("low",))),
            ObstacleKind.TASK,
            "no worker that listens to queue mail knows task send; knowing does, and listens to other queues",
        ),
    ],
)
def test_a_worker_is_missing(workers: tuple[WorkerInfo, ...], kind: ObstacleKind, text: str) -> None:
    assert obstacles(workers=workers, ready=5) == [(kind, text)]


def test_a_worker_that_does_not_tell_its_tasks_may_know_every_one() -> None:
    assert obstacles(workers=(worker(tasks=()),)) == []


@pytest.mark.parametrize(
    ("scope", "what", "options"),
    [
        (PauseScope(), "everything", "--all"),
        (PauseScope("mail"), "queue mail", "mail"),
        (PauseScope(task="send"), "task send", "--task send"),
        (PauseScope("mail", "send"), "task send in queue mail", "mail --task send"),
        (PauseScope(task="send", arguments='{"user_id":7}'), "task send with user_id=7", "--task send --arg user_id=7"),
    ],
)
def test_a_pause_is_named_with_the_command_that_ends_it(scope: PauseScope, what: str, options: str) -> None:
    found = only(paused=[scope])

    assert (found.kind, found.text, found.remedy) == (
        ObstacleKind.PAUSED,
        f"{what} is paused",
        f"cherga queues resume {options}",
    )
    assert sentence(paused=[scope]) == f"it runs once {what} is resumed"


@pytest.mark.parametrize(
    "scope",
    [
        PauseScope("other"),
        PauseScope(task="other"),
        PauseScope("mail", "other"),
        PauseScope(task="send", arguments='{"user_id":8}'),
        PauseScope(task="send", arguments='{"user_id":"7"}'),
    ],
)
def test_a_pause_of_something_else_is_no_obstacle(scope: PauseScope) -> None:
    assert obstacles(paused=[scope]) == []


def test_several_pauses_all_have_to_end() -> None:
    assert sentence(paused=[PauseScope(), PauseScope("mail")]) == "it runs once everything is resumed and queue mail is resumed"


def test_a_limit_that_is_reached_tells_which_jobs_run_under_it() -> None:
    use = LimitUse("key:send|7", LimitRule(max_running=2), running=2)
    found = only(limits=[use], running={use.name: [RUNNING]})

    assert found.kind is ObstacleKind.LIMIT
    assert found.jobs == (OTHER,)
    assert found.text == f"the limit of task send, key 7 is reached, 2 of 2 run: {OTHER} (send, running) and 1 more"
    assert found.remedy == "cherga limits set --task send --key 7 --max-running 4"
    assert found.once == "fewer than 2 jobs run under the limit of task send, key 7"


def test_a_limit_of_none_and_one_with_room_are_told_apart() -> None:
    closed = LimitUse("queue:mail", LimitRule(max_running=0))
    roomy = LimitUse("task:send", LimitRule(max_running=2), running=1)

    found = only(limits=[closed, roomy])

    assert found.text == "the limit of queue mail lets none run"
    assert found.remedy == "cherga limits set --queue mail --max-running 1"


def test_a_rate_tells_when_the_next_job_may_start() -> None:
    found = only(limits=[LimitUse("task:send", LimitRule(rate=Rate(100, 60)), again_in=12)])

    assert found.kind is ObstacleKind.RATE
    assert found.until == moment(NOW + 12)
    assert found.text.startswith("the rate of task send, 100/m, is used up; the next job may start at ")
    assert found.text.endswith("(in 12 s)")


def test_a_blocked_job_tells_whom_it_waits_for() -> None:
    blocked = replace(READY, state=JobState.BLOCKED, pending=7)
    found = only(blocked, upstream=[RUNNING, replace(READY, id=THIRD)])

    assert found.jobs == (OTHER, THIRD)
    assert found.text == f"it waits for 7 other jobs: {OTHER} (send, running), {THIRD} (send, ready) and 5 more"
    assert only(replace(blocked, pending=1)).text == "it waits for 1 other job"


def test_a_blocked_job_with_a_time_to_come_waits_for_that_too() -> None:
    blocked = replace(READY, state=JobState.BLOCKED, pending=1)
    kinds = [kind for kind, _ in obstacles(replace(blocked, run_at=NOW + 300))]

    assert kinds == [ObstacleKind.JOBS, ObstacleKind.TIME]
    assert only(replace(blocked, run_at=NOW - 1)).kind is ObstacleKind.JOBS


def test_a_group_needs_neither_workers_nor_an_open_queue() -> None:
    group = replace(READY, task=GROUP_TASK, state=JobState.BLOCKED, pending=1)

    assert only(group, workers=(), paused=[PauseScope()]).kind is ObstacleKind.JOBS


def test_the_successor_of_a_running_holder_names_it_beside_the_jobs_it_waits_for() -> None:
    successor = replace(READY, state=JobState.BLOCKED, pending=1, unique=Unique("k", conflict=OnConflict.LATEST))
    holder = replace(RUNNING, unique=Unique("k"))
    told = f"job {OTHER} (send, running) holds the unique key; this one follows it with the newest arguments"

    assert obstacles(successor, upstream=[holder]) == [(ObstacleKind.HOLDER, told)]
    assert obstacles(replace(successor, pending=2), upstream=[holder, replace(READY, id=THIRD)]) == [
        (ObstacleKind.HOLDER, told),
        (ObstacleKind.JOBS, f"it waits for 1 other job: {THIRD} (send, ready)"),
    ]


def test_a_scheduled_job_runs_at_its_time_and_not_before_other_conditions_hold() -> None:
    scheduled = replace(READY, state=JobState.SCHEDULED, run_at=NOW + 300)
    time = f"{local(NOW + 300, NOW)} (in 5 min)"

    assert sentence(scheduled) == f"it runs at {time}"
    assert sentence(scheduled, workers=()) == f"it runs once a worker is alive, at {time} at the earliest"
    assert sentence(replace(scheduled, run_at=NOW - 1)) == "it runs once a worker has a free slot"


def test_a_scheduled_job_tells_its_time_and_what_will_stand_in_its_way_then() -> None:
    scheduled = replace(READY, state=JobState.SCHEDULED, run_at=NOW + 300, attempt=1)
    found = find_obstacles(facts(scheduled, workers=()))

    assert [obstacle.kind for obstacle in found] == [ObstacleKind.TIME, ObstacleKind.NO_WORKER]
    assert found[0].text.startswith("attempt 2 of it is scheduled for ")
    assert found[0].until == moment(NOW + 300)


def test_a_suspect_waits_for_a_worker_process_that_runs_nothing() -> None:
    suspect = replace(READY, crashes=2)
    words = "its process died 2 times while it ran, so it waits for a worker process that runs nothing else"

    assert obstacles(suspect) == [(ObstacleKind.SUSPECT, words)]
    assert only(suspect, workers=(worker(running=0),)).text == f"{words}; box is free for it now"


def test_a_job_that_only_waits_its_turn_counts_those_that_are_ready_too() -> None:
    found = only(ready=1)

    assert found.kind is ObstacleKind.TURN
    assert found.text == (
        "1 other job is ready in queue mail, and higher priorities and earlier jobs go first; 1 worker can take it, 1 of 4 "
        "slots are busy"
    )
    assert obstacles(ready=5, paused=[PauseScope()])[0][0] is ObstacleKind.PAUSED


def test_an_expiry_is_told_before_and_after_it() -> None:
    found = find_obstacles(facts(replace(READY, expires_at=NOW + 60), ready=1))

    assert [obstacle.kind for obstacle in found] == [ObstacleKind.TURN, ObstacleKind.EXPIRY]
    assert ", unless it expires before, at " in sentence(replace(READY, expires_at=NOW + 60))
    assert sentence(replace(READY, expires_at=NOW - 60)).startswith("it does not run any more: its time was over at ")


def test_a_running_job_tells_its_worker_and_whether_it_was_asked_to_stop() -> None:
    assert obstacles(RUNNING) == []
    assert sentence(RUNNING).endswith("(30 s ago) on box, attempt 1")
    assert sentence(replace(RUNNING, cancel_requested=True)).endswith("attempt 1; it was asked to stop")


def test_a_running_job_whose_session_is_gone_will_be_freed() -> None:
    assert only(RUNNING, workers=()).kind is ObstacleKind.LOST


@pytest.mark.parametrize(
    ("fields", "error", "end"),
    [
        ({"state": JobState.SUCCEEDED}, None, "(5 s ago)"),
        (
            {"state": JobState.FAILED, "reason": Reason.ERROR},
            "OSError: no disk",
            f"(5 s ago) (error): OSError: no disk; to run it again: cherga jobs retry {ID}",
        ),
        (
            {"state": JobState.CANCELLED, "reason": Reason.ASKED, "message": "a mistake"},
            None,
            f"(5 s ago) (asked): a mistake; to run it again: cherga jobs retry {ID}",
        ),
    ],
)
def test_a_job_that_has_ended_tells_how(fields: dict[str, Any], error: str | None, end: str) -> None:
    row = replace(READY, finished_at=NOW - 5, **fields)

    assert obstacles(row, workers=()) == []
    assert sentence(row, error, workers=()).endswith(end)


def test_nobody_is_told_to_run_a_group_again() -> None:
    ended: dict[str, Any] = {"state": JobState.CANCELLED, "reason": Reason.UPSTREAM, "finished_at": NOW - 5}
    row = replace(READY, task=GROUP_TASK, message="a member failed", **ended)

    assert sentence(row, workers=()).endswith("(5 s ago) (upstream): a member failed")


def test_an_explanation_reads_as_a_few_lines() -> None:
    given = facts(paused=[PauseScope("mail")])
    found = find_obstacles(given)

    assert str(Explanation(ID, "send", JobState.READY, tell_when(given, found, "", None), found)) == (
        "send is ready: it runs once queue mail is resumed\n- queue mail is paused; cherga queues resume mail"
    )
