"""The checks of a storm see what they are there for: each is shown a little evidence in which its promise is broken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
import pytest

from cherga import JobState
from cherga.rules.codec import encode
from cherga.words.job import Attempt, JobRow, Reason
from cherga.words.push import JobHead
from cherga.words.unique import Unique
from tests.chaos.storm.diary import Line, tell
from tests.chaos.storm.evidence import Evidence
from tests.chaos.storm.jobs import CRASH_CAP, LEASE
from tests.chaos.storm.promises import MOST_DEATHS, judge
from tests.chaos.storm.weather import COROUTINES, THREADS

SUCCEEDED, FAILED, RUNNING = JobState.SUCCEEDED, JobState.FAILED, JobState.RUNNING
PID = 100


def job(number: int = 1, task: str = "plain", state: JobState = SUCCEEDED, **fields: Any) -> JobRow:
    """A stored job that has ended well unless the fields say otherwise; its first attempt was handed out at 10."""
    usual: dict[str, Any] = {"payload": encode({"n": 7}), "result": encode(7), "finished_at": 20.0, "first_started_at": 10.0}
    return JobRow(id=UUID(int=number), sequence=number, task=task, queue="default", priority=0, state=state, **usual | fields)


def begin(at: float, number: int = 1, task: str = "plain", claim: int = 1, pid: int = PID, **fields: Any) -> Line:
    return Line("begin", at, pid, job=str(UUID(int=number)), task=task, claim=claim, **{"given": 10.0, **fields})


def end(at: float, number: int = 1, claim: int = 1, pid: int = PID) -> Line:
    return Line("end", at, pid, job=str(UUID(int=number)), claim=claim)


def done(number: int = 1, task: str = "plain", at: float = 1.0, **fields: Any) -> tuple[Line, Line]:
    """An attempt that takes one second."""
    return begin(at, number, task, **fields), end(at + 1, number, fields.get("claim", 1), fields.get("pid", PID))


def deed(event: str, at: float, *pids: int, words: str = "") -> Line:
    return Line(event, at, 1, worker="worker-1", pids=pids, words=words)


def history(*attempts: Attempt) -> bytes:
    return msgspec.msgpack.encode(attempts)


def crash(given: float = 10.0, freed: float = 11.0) -> Attempt:
    return Attempt(1, "worker-1-1", given, freed, Reason.CRASHED)


def tick(number: int, at: float) -> JobRow:
    return job(number, "tick", head=msgspec.msgpack.encode(JobHead(schedule="tick", tick=at)))


def broken(lines: Sequence[Line], *rows: JobRow) -> set[int]:
    """The numbers of the promises that did not hold."""
    story = tell(sorted(lines, key=lambda line: line.at), LEASE)
    return {violation.promise for violation in judge(Evidence(story, {str(row.id): row for row in rows}))}


CUT = Attempt(1, "worker-1-1", 10.0, 11.0, Reason.INTERRUPTED)
MANY = THREADS + COROUTINES + 1
SAME = Unique(key="a")
CASES: dict[str, tuple[int, Sequence[Line], Sequence[JobRow]]] = {
    "an acknowledged job is not kept": (1, [Line("stored", 1.0, 1, jobs=("gone",), words="usual")], []),
    "a job ran that is not kept": (1, done(), []),
    "a job has no end": (2, [], [job(state=RUNNING)]),
    "a job succeeded that did not run": (2, [], [job()]),
    "a job failed that had no reason to": (2, done(), [job(state=FAILED, reason=Reason.ERROR)]),
    "work that must not run twice began twice": (2, [*done(1, "once"), *done(1, "once", 3.0, claim=2)], [job(1, "once")]),
    "work that must not run twice failed unbegun": (
        2,
        [],
        [job(n, "once", FAILED, reason=Reason.INTERRUPTED, attempts=history(CUT)) for n in range(MANY)],
    ),
    "a job began before its time": (2, done(1, "later"), [job(1, "later", run_at=10.5)]),
    "a job that began is kept as expired": (2, done(1, "brief"), [job(1, "brief", JobState.CANCELLED, reason=Reason.EXPIRED)]),
    "a result is that of another job": (3, done(), [job(result=encode(8))]),
    "two attempts overlap": (3, [*done(), *done(1, at=1.5, claim=2, pid=PID + 1)], [job()]),
    "a job was handed out after its end": (3, [*done(), *done(1, at=3.0, claim=2, given=21.0)], [job()]),
    "an end was told twice": (
        3,
        [*done(), *[Line("told", at, PID, job=str(UUID(int=1)), words="succeeded") for at in (3, 4)]],
        [job()],
    ),
    "another end was told than is stored": (
        3,
        [*done(), Line("told", 3.0, PID, job=str(UUID(int=1)), words="failed")],
        [job()],
    ),
    "the dead were found late": (
        4,
        [begin(1.0), deed("kill", 1.5, PID), *done(1, at=9.0, claim=2, pid=PID + 1, given=18.0)],
        [job(attempts=history(crash(freed=17.0)))],
    ),
    "poison came too early": (5, done(), [job(state=FAILED, reason=Reason.POISON, crashes=CRASH_CAP - 1)]),
    "poison came too late": (
        5,
        [begin(float(claim), 1, "suicide", claim, PID + claim) for claim in range(MOST_DEATHS + 1)],
        [job(1, "suicide", FAILED, reason=Reason.POISON, crashes=CRASH_CAP)],
    ),
    "neighbours were charged a crash": (
        5,
        [line for n in range(MANY) for line in done(n, given=12.0)],
        [job(n, attempts=history(crash())) for n in range(MANY)],
    ),
    "a deploy cut a job short": (
        6,
        [begin(1.0), deed("stop", 1.5, PID), deed("left", 2.0, PID, words="0"), *done(1, at=3.0, claim=2, pid=PID + 1)],
        [job()],
    ),
    "a deploy was charged": (
        6,
        [*done(), deed("stop", 3.0, PID), deed("left", 4.0, PID, words="0")],
        [job(attempts=history(crash()))],
    ),
    "a deploy ended with another code": (6, [deed("stop", 1.0, PID), deed("left", 2.0, PID, words="1")], []),
    "a worker left unasked": (6, [deed("gone", 1.0, PID, words="6")], []),
    "a tick came twice": (7, [*done(1, "tick"), *done(2, "tick")], [tick(1, 5.0), tick(2, 5.0)]),
    "a tick is missing": (7, [*done(1, "tick"), *done(2, "tick")], [tick(1, 5.0), tick(2, 6.0)]),
    "a limit was exceeded": (8, [line for n in range(4) for line in done(n, "limited")], [job(n, "limited") for n in range(4)]),
    "a rate was exceeded": (8, [line for n in range(21) for line in done(n, "rated")], [job(n, "rated") for n in range(21)]),
    "two jobs of one key ran at once": (
        9,
        [*done(1, "alone", key="a"), *done(2, "alone", key="a")],
        [job(1, "alone", unique=SAME, finished_at=10.0), job(2, "alone", unique=SAME)],
    ),
    "two jobs held one key": (
        9,
        [*done(1, "alone", key="a"), *done(2, "alone", at=3.0, key="a")],
        [job(1, "alone", unique=SAME), job(2, "alone", unique=SAME, first_started_at=15.0)],
    ),
    "a flow is stored in part": (10, done(), [job(owner="flow-1")]),
    "a callback was given too little": (10, done(1, "collect"), [job(1, "collect", result=encode([1, 2]))]),
    "a child is missing": (10, done(1, "parent"), [job(1, "parent")]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_broken_promise_is_seen(case: str) -> None:
    promise, lines, rows = CASES[case]
    assert broken(lines, *rows) == {promise}


def test_what_is_right_is_not_complained_about() -> None:
    again = done(1, at=3.0, claim=2, pid=PID + 1, given=12.0)
    assert broken(done(), job()) == set()
    assert broken([begin(1.0), deed("kill", 1.5, PID), *again], job(attempts=history(crash()), crashes=1)) == set()


def test_a_process_that_stood_still_past_its_lease_may_overlap_with_its_successor() -> None:
    frozen = [deed("freeze", 1.2, PID), deed("thaw", 1.2 + LEASE, PID)]
    assert broken([begin(1.0), end(6.0), *frozen, *done(1, at=5.5, claim=2, pid=PID + 1)], job()) == set()
