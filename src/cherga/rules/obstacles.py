"""Obstacles: the facts about a job that does not run and its surroundings, and those of them that stand in its way. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from cherga.rules.describe import describe_limit, describe_scope, limit_options, scope_options
from cherga.rules.options import nearest
from cherga.rules.pausing import covers
from cherga.rules.rates import write_rate
from cherga.rules.times import from_now, local
from cherga.words.clock import moment
from cherga.words.job import JobRow, JobState
from cherga.words.limits import LimitUse
from cherga.words.push import GROUP_TASK
from cherga.words.session import WorkerInfo
from cherga.words.shared import PauseScope
from cherga.words.unique import OnConflict

DEPLOY = "deploy its code to these workers, and see that they import its module"
JOBS_NAMED = 3
"""Jobs that a sentence names; it counts the others."""


class ObstacleKind(StrEnum):
    """A kind of obstacle in a job's way."""

    NO_WORKER = "no_worker"
    """No worker is alive."""
    QUEUE = "queue"
    """No worker listens to its queue."""
    TASK = "task"
    """No worker that listens to its queue knows its task."""
    PAUSED = "paused"
    LIMIT = "limit"
    """A limit is reached: as many jobs run as it allows."""
    RATE = "rate"
    """A rate is used up: as many jobs have started as it allows."""
    JOBS = "jobs"
    """The job waits for other jobs."""
    HOLDER = "holder"
    """The job waits for the running one that holds its unique key."""
    TIME = "time"
    """The job is scheduled."""
    SUSPECT = "suspect"
    """The job's process has died before: it waits for a worker process that runs nothing."""
    TURN = "turn"
    """Other jobs are ready too."""
    EXPIRY = "expiry"
    """The job will not start any more after a time."""
    LOST = "lost"
    """The job counts as running, but the session of its worker is gone."""


class Obstacle(Struct, frozen=True):
    """A thing that stands in a job's way."""

    kind: ObstacleKind
    text: str
    """A sentence for people."""
    once: str = ""
    """The condition under which it is out of the way, to be read after "it runs once"."""
    jobs: tuple[UUID, ...] = ()
    """Jobs that stand in the way, as far as they are known."""
    until: datetime | None = None
    """The time when it is out of the way by itself; for ``EXPIRY``, when it is too late."""
    remedy: str = ""
    """The help that a person can give: mostly a command."""

    def __str__(self) -> str:
        return self.text + (f"; {self.remedy}" if self.remedy else "")


class Home(Struct, frozen=True):
    """The place of the jobs, and the words that start a worker there."""

    place: str = ""
    """The broker's URL, fit to be shown."""
    command: str = "cherga worker -A module:app"

    def command_for(self, queue: str) -> str:
        """The words that start a worker for this queue."""
        with_block, opened, _ = self.command.partition("()")
        return f"{with_block}(queues=[{queue!r}]):" if opened else f"{self.command} -q {queue}"


class Facts(Struct, frozen=True, kw_only=True):
    """The facts about a job and its surroundings at one moment."""

    row: JobRow
    now: float
    home: Home = Home()
    workers: Sequence[WorkerInfo] = ()
    paused: Sequence[PauseScope] = ()
    limits: Sequence[LimitUse] = ()
    """The limits that it counts for."""
    running: Mapping[str, Sequence[JobRow]] = {}
    """Jobs that run under a limit that is reached, by its name, the first few."""
    upstream: Sequence[JobRow] = ()
    """Unfinished jobs that it waits for, the first of them."""
    ready: int = 0
    """Other jobs that are ready in its queue."""


def find_obstacles(facts: Facts) -> tuple[Obstacle, ...]:
    """The obstacles in the job's way, the nearest first; none for a job that has ended, or that runs on a living worker."""
    found = tuple(obstacle for check in _CHECKS.get(facts.row.state, ()) for obstacle in check(facts))

    if facts.row.state is JobState.READY and all(obstacle.kind is ObstacleKind.EXPIRY for obstacle in found):
        return (*_turn(facts), *found)

    return found


UNSERVED = frozenset({ObstacleKind.NO_WORKER, ObstacleKind.QUEUE, ObstacleKind.TASK})


def unserved(row: JobRow, workers: Sequence[WorkerInfo], now: float, home: Home) -> str:
    """The reason why no worker that is alive would run this waiting job, and what helps; nothing where one would."""
    found = find_obstacles(Facts(row=row, now=now, home=home, workers=workers))
    return next((str(obstacle) for obstacle in found if obstacle.kind in UNSERVED), "")


Check = Callable[[Facts], Iterator[Obstacle]]


def _time(facts: Facts) -> Iterator[Obstacle]:
    at = facts.row.run_at

    if at is None:
        return

    attempt = f"attempt {facts.row.attempt + 1} of it" if facts.row.attempt else "it"
    due = "is due since" if at <= facts.now else "is scheduled for"
    yield Obstacle(ObstacleKind.TIME, f"{attempt} {due} {_at(at, facts)}", f"it is {_at(at, facts)}", until=moment(at))


def _later(facts: Facts) -> Iterator[Obstacle]:
    """A time that will have to come too, when those it waits for have ended before."""
    if facts.row.run_at is not None and facts.row.run_at > facts.now:
        yield from _time(facts)


def _jobs(facts: Facts) -> Iterator[Obstacle]:
    """The jobs that it waits for; the one whose successor it is, by itself."""
    holder = _holder(facts)
    others = [row for row in facts.upstream if row is not holder]
    count = max(facts.row.pending - (holder is not None), len(others))

    if holder is not None:
        text = f"job {_name(holder)} holds the unique key; this one follows it with the newest arguments"
        yield Obstacle(ObstacleKind.HOLDER, text, "the job that holds its unique key has ended", (holder.id,))

    if count:
        named = f": {_names(others, count)}" if others else ""
        ended = "the job it waits for has ended" if count == 1 else f"the {count:,} jobs it waits for have ended"
        text = f"it waits for {_count(count, 'other job')}{named}"
        yield Obstacle(ObstacleKind.JOBS, text, ended, tuple(other.id for other in others))


def _holder(facts: Facts) -> JobRow | None:
    unique = facts.row.unique

    if unique is None or unique.conflict is not OnConflict.LATEST:
        return None

    return next((row for row in facts.upstream if row.unique is not None and row.unique.key == unique.key), None)


def _workers(facts: Facts) -> Iterator[Obstacle]:
    if facts.row.task == GROUP_TASK:
        return

    if not facts.workers:
        yield Obstacle(ObstacleKind.NO_WORKER, "no worker is alive", "a worker is alive", remedy=facts.home.command)
    elif not (listening := _listening(facts)):
        yield _queue_without_worker(facts)
    elif not any(_knows(worker, facts.row.task) for worker in listening):
        yield _unknown_task(facts, listening)


def _queue_without_worker(facts: Facts) -> Obstacle:
    queue = facts.row.queue
    queues = sorted({name for worker in facts.workers for name in worker.session.queues})
    text = f"no worker listens to queue {queue}, only to {', '.join(queues)}"
    command = facts.home.command_for(queue)
    return Obstacle(ObstacleKind.QUEUE, text, f"a worker listens to queue {queue}", remedy=command)


def _unknown_task(facts: Facts, listening: Sequence[WorkerInfo]) -> Obstacle:
    task, queue = facts.row.task, facts.row.queue
    elsewhere = sorted({one.session.worker for one in facts.workers if _knows(one, task)})
    known = {name for worker in listening for name in worker.session.tasks}
    text = f"no worker that listens to queue {queue} knows task {task}"

    if elsewhere:
        text += f"; {', '.join(elsewhere)} does, and listens to other queues"
    else:
        text += f" ({nearest(task, known).removeprefix('; ')})"

    return Obstacle(ObstacleKind.TASK, text, "a worker knows its task", remedy="" if elsewhere else DEPLOY)


def _paused(facts: Facts) -> Iterator[Obstacle]:
    row = facts.row

    for scope in sorted(facts.paused, key=describe_scope):
        if row.task != GROUP_TASK and covers(scope, row.queue, row.task, row.payload):
            what = describe_scope(scope)
            command = f"cherga queues resume {scope_options(scope)}"
            yield Obstacle(ObstacleKind.PAUSED, f"{what} is paused", f"{what} is resumed", remedy=command)


def _limits(facts: Facts) -> Iterator[Obstacle]:
    for use in facts.limits:
        most = use.rule.max_running

        if most is not None and use.running >= most:
            yield _reached(use, most, facts)

        if use.again_in:
            yield _rate(use, facts.now + use.again_in, facts)


def _reached(use: LimitUse, most: int, facts: Facts) -> Obstacle:
    what = describe_limit(use.name)
    jobs = facts.running.get(use.name, ())
    command = f"cherga limits set {limit_options(use.name)} --max-running {max(1, most * 2)}"

    if most == 0:
        return Obstacle(
            ObstacleKind.LIMIT, f"the limit of {what} lets none run", f"the limit of {what} lets it", remedy=command
        )

    named = f": {_names(jobs, use.running)}" if jobs else ""
    text = f"the limit of {what} is reached, {use.running:,} of {most:,} run{named}"
    fewer = "no other job runs" if most == 1 else f"fewer than {most:,} jobs run"
    ids = tuple(job.id for job in jobs)
    return Obstacle(ObstacleKind.LIMIT, text, f"{fewer} under the limit of {what}", ids, remedy=command)


def _rate(use: LimitUse, at: float, facts: Facts) -> Obstacle:
    what, rate = describe_limit(use.name), use.rule.rate
    allowed = f", {write_rate(rate)}," if rate else ""
    text = f"the rate of {what}{allowed} is used up; the next job may start at {_at(at, facts)}"
    return Obstacle(ObstacleKind.RATE, text, f"the rate of {what} lets it, at {_at(at, facts)}", until=moment(at))


def _suspect(facts: Facts) -> Iterator[Obstacle]:
    crashes = facts.row.crashes

    if crashes:
        died = "its process died" if crashes == 1 else f"its process died {crashes} times"
        idle = [worker.session.worker for worker in _able(facts) if not worker.running]
        who = f"; {idle[0]} is free for it now" if idle else ""
        company = " but other suspects" if facts.row.suspect > 1 else ""
        text = f"{died} while it ran, so it waits for a worker process that runs nothing else{company}{who}"
        yield Obstacle(ObstacleKind.SUSPECT, text, "a worker process runs nothing else")


def _turn(facts: Facts) -> Iterator[Obstacle]:
    """The jobs before it, where nothing else stands in its way."""
    if not facts.ready:
        return

    able = _able(facts)
    running, slots = sum(one.running for one in able), sum(one.session.concurrency for one in able)
    others = f"{_count(facts.ready, 'other job')} {'is' if facts.ready == 1 else 'are'} ready in queue {facts.row.queue}"
    who = f"{_count(len(able), 'worker')} can take it, {running:,} of {slots:,} slots are busy"
    text = f"{others}, and higher priorities and earlier jobs go first; {who}"
    yield Obstacle(ObstacleKind.TURN, text, "its turn has come")


def _expiry(facts: Facts) -> Iterator[Obstacle]:
    at = facts.row.expires_at

    if at is not None:
        over = at <= facts.now
        text = f"its time was over at {_at(at, facts)}: it is cancelled" if over else f"it expires at {_at(at, facts)}"
        yield Obstacle(ObstacleKind.EXPIRY, text, until=moment(at))


def _lost(facts: Facts) -> Iterator[Obstacle]:
    session = facts.row.session

    if session is not None and session not in {worker.session.id for worker in facts.workers}:
        text = "the session of its worker is not alive any more; as soon as a worker sees that, the job is freed"
        yield Obstacle(ObstacleKind.LOST, text, "a worker has freed it")


_CHECKS: dict[JobState, Sequence[Check]] = {
    JobState.SCHEDULED: (_time, _workers, _paused, _expiry),
    JobState.BLOCKED: (_jobs, _later, _workers, _paused, _expiry),
    JobState.READY: (_workers, _paused, _limits, _suspect, _expiry),
    JobState.RUNNING: (_lost,),
}


def tell_when(facts: Facts, obstacles: Iterable[Obstacle], worker: str, error: str | None) -> str:
    """The sentence that says when it runs, since when, or how it ended; ``worker`` ran it last, ``error`` is its last one."""
    row = facts.row

    if row.state is JobState.RUNNING:
        return _tell_running(facts, worker)

    return _tell_end(facts, error) if row.state.final else _tell_waiting(facts, list(obstacles))


def _tell_waiting(facts: Facts, obstacles: Sequence[Obstacle]) -> str:
    at = facts.row.expires_at

    if at is not None and at <= facts.now:
        return f"it does not run any more: its time was over at {_at(at, facts)}"

    return f"it runs {_tell_when(obstacles, facts)}" + (
        f", unless it expires before, at {_at(at, facts)}" if at is not None else ""
    )


def _tell_when(obstacles: Sequence[Obstacle], facts: Facts) -> str:
    conditions = [it.once for it in obstacles if it.once and it.kind is not ObstacleKind.TIME]
    waits = any(it.kind is ObstacleKind.TIME for it in obstacles)
    run_at = facts.row.run_at or 0.0
    at = f"at {_at(run_at, facts)}" if waits and run_at > facts.now else ""

    if at and not conditions:
        return at

    *others, last = conditions or ["a worker has a free slot"]
    once = f"once {', '.join(others)} and {last}" if others else f"once {last}"
    return f"{once}, {at} at the earliest" if at else once


def _tell_running(facts: Facts, worker: str) -> str:
    row = facts.row
    since = f" since {_at(row.started_at, facts)}" if row.started_at is not None else ""
    stopping = "; it was asked to stop" if row.cancel_requested else ""
    return f"it runs{since}{f' on {worker}' if worker else ''}, attempt {row.attempt}{stopping}"


def _tell_end(facts: Facts, error: str | None) -> str:
    row = facts.row
    at = f" at {_at(row.finished_at, facts)}" if row.finished_at is not None else ""
    verb = "was cancelled" if row.state is JobState.CANCELLED else row.state.value

    if row.state is JobState.SUCCEEDED:
        return f"it {verb}{at}"

    said = row.message or error
    why = f" ({row.reason})" if row.reason else ""
    again = "" if row.task == GROUP_TASK else f"; to run it again: cherga jobs retry {row.id}"
    return f"it {verb}{at}{why}{f': {said}' if said else ''}{again}"


def _listening(facts: Facts) -> list[WorkerInfo]:
    return [one for one in facts.workers if not one.session.queues or facts.row.queue in one.session.queues]


def _able(facts: Facts) -> list[WorkerInfo]:
    return [one for one in _listening(facts) if _knows(one, facts.row.task)]


def _knows(worker: WorkerInfo, task: str) -> bool:
    """A session that does not tell its tasks may know it."""
    return not worker.session.tasks or task in worker.session.tasks


def _names(rows: Sequence[JobRow], count: int) -> str:
    named = rows[:JOBS_NAMED]
    more = max(0, count - len(named))
    return ", ".join(map(_name, named)) + (f" and {more:,} more" if more else "")


def _name(row: JobRow) -> str:
    return f"{row.id} ({row.task}, {row.state})"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _at(time: float, facts: Facts) -> str:
    return f"{local(time, facts.now)} ({from_now(time, facts.now)})"
