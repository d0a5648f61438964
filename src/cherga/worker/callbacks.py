"""Callbacks: what jobs asked to be called after their end, ``on_success`` and ``on_failure``.

They run after the end is stored, on threads of their own and in the application's context, so that nothing they do can harm the
job or hold up the worker. After an end that a worker wrote each is called at most once: a process that dies over it calls
nothing. After one that the broker wrote it is called at least once; see ``news.py``.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Hashable
from contextvars import Context as Variables
from functools import partial
from queue import SimpleQueue
from typing import Any

import msgspec

from cherga.client.app import QueueTasks
from cherga.client.handle import Job
from cherga.client.mishaps import tell
from cherga.words.errors import JobFailed, UnknownTask
from cherga.words.job import JobError, JobRow, JobState, Reason
from cherga.words.settlement import Settlement
from cherga.worker.assignment import Assignment
from cherga.worker.turns import start_thread

logger = logging.getLogger("cherga.worker")

MOST_THREADS = 4

_encode = msgspec.msgpack.Encoder().encode


class Callbacks:
    """Calls back. Threads start at the first use. ``enter`` makes the variables that a callback starts with, ``wait_for``
    lets the worker's loop await something."""

    def __init__(self, app: QueueTasks, enter: Callable[[], Variables], wait_for: Callable[[Awaitable[Any]], Any]) -> None:
        self._app = app
        self._enter = enter
        self._wait_for = wait_for
        self._inbox: SimpleQueue[tuple[Hashable, Callable[[], None]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._open: set[Hashable] = set()
        self._stopped = False

    @property
    def open(self) -> bool:
        """Something is still to be called, or runs."""
        return bool(self._open)

    def expect(self, assignment: Assignment, settlement: Settlement) -> Callable[[bool], None] | None:
        """The callback for the broker's answer to this settlement (whether it was written); None if nobody waits."""
        name = assignment.wishes.name(settlement.to) if assignment.wishes else None

        if name is None:
            return None

        token = assignment.job.token
        self._open.add(token)
        return partial(self._answered, token, partial(self._call_at_end, name, assignment, settlement))

    def call(self, name: str, row: JobRow, key: Hashable, done: Callable[[], None]) -> None:
        """Call back for a job that no worker ended, then ``done``; what has not begun at the end of the worker does neither."""
        self._open.add(key)
        self._answered(key, partial(self._call_and_say_so, name, row, done), True)

    def stop(self) -> None:
        """End the threads after what they have begun; what has not begun is not called."""
        self._stopped = True

        for _ in self._threads:
            self._inbox.put(None)

        if lost := len(self._open):
            logger.warning("%d callbacks were not finished when the worker ended", lost, extra={"action": "callback.lost"})

    def _answered(self, key: Hashable, call: Callable[[], None], written: bool) -> None:
        """On the settler's thread, or the herald's."""
        if not written or self._stopped:
            self._open.discard(key)
            return

        self._inbox.put((key, call))

        if len(self._threads) < MOST_THREADS:
            self._start_another()

    def go_on(self) -> None:
        """See that there is a thread for what waits, where none could be had before."""
        if self._inbox.qsize() and not self._threads:
            self._start_another()

    def _start_another(self) -> None:
        if (thread := start_thread(self._run, "cherga-callback")) is not None:
            self._threads.append(thread)

    def _run(self) -> None:
        while (item := self._inbox.get()) is not None and not self._stopped:
            key, call = item
            call()
            self._open.discard(key)

    def _call_at_end(self, name: str, assignment: Assignment, settlement: Settlement) -> None:
        error = assignment.wishes.error if assignment.wishes else None
        self._call(name, row_of(assignment, settlement, self._app.clock.now()), error)

    def _call_and_say_so(self, name: str, row: JobRow, done: Callable[[], None]) -> None:
        self._call(name, row, None)
        done()

    def _call(self, name: str, row: JobRow, error: BaseException | None) -> None:
        try:
            self._enter().run(self._call_inside, name, row, error)
        except BaseException as failure:
            tell(
                self._app.job_logger,
                "job %s (%s): its callback %s failed",
                row.id,
                row.task,
                name,
                error=failure,
                extra={"action": "callback.failed", "job_id": str(row.id), "task_name": row.task},
            )

    def _call_inside(self, name: str, row: JobRow, error: BaseException | None) -> None:
        function = self._function(name)
        handle: Job[Any] = Job(row, self._app)
        facts = _facts(handle, error)

        with self._app.surroundings():
            made = function(handle, self._app, *facts)

            if inspect.isawaitable(made):
                self._wait_for(made)

    def _function(self, name: str) -> Callable[..., Any]:
        task = self._app.tasks.get(self._app.aliases.get(name, name))

        if task is None:
            raise UnknownTask(f"expected the callback {name!r} to be declared in this worker")

        return task.function


def _facts(job: Job[Any], error: BaseException | None) -> tuple[Any, ...]:
    """The result; or type, value and traceback of the error."""
    if job.status is JobState.SUCCEEDED:
        return (job.result(),)

    error = error or _as_exception(job)
    return type(error), error, error.__traceback__


def _as_exception(job: Job[Any]) -> JobFailed:
    """For a job that was ended from outside, as by its ``max_time``: nothing was raised in it."""
    error = job.error or JobError("Failed", job.message or "no attempt was kept")
    return JobFailed(job.id, job.reason or Reason.ERROR, error.type, error.message, error.traceback)


def row_of(assignment: Assignment, settlement: Settlement, now: float) -> JobRow:
    """The job at its end, as far as the worker knows it: the stored row may be gone already."""
    job, context = assignment.job, assignment.context
    return JobRow(
        id=job.id,
        sequence=job.sequence,
        task=job.task,
        queue=job.queue,
        priority=job.priority,
        state=settlement.to,
        reason=settlement.reason,
        owner=job.owner,
        payload=job.payload,
        head=job.head,
        attempt=job.attempt,
        claims=job.claims,
        crashes=job.crashes,
        interruptions=job.interruptions,
        enqueued_at=job.enqueued_at,
        started_at=job.started_at,
        finished_at=now,
        progress=context.latest_progress if context else None,
        meta=(context.latest_meta if context else None) or job.meta,
        result=settlement.result,
        message=settlement.message,
        attempts=_encode([settlement.attempt]) if settlement.attempt else None,
    )
