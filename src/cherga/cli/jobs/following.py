"""Following a job to its end, with a limit on the wait."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from cherga.cli.exits import ExitCode
from cherga.cli.output import Output, note
from cherga.client.app import QueueTasks
from cherga.client.handle import Job
from cherga.client.live import LiveUpdate, Watch
from cherga.words.errors import ResultTimeout
from cherga.words.job import JobState

# That no worker is alive stands in the output already.
logging.getLogger("cherga.client").addHandler(logging.NullHandler())


def follow(app: QueueTasks, out: Output, job: Job[Any], timeout: float | None) -> ExitCode:
    """Show the job until it ends; 0 when it succeeded, 1 when not. Raises ``ResultTimeout``."""
    try:
        _show(app, out, job, timeout)
    except KeyboardInterrupt:
        note(f"stopped watching; the job goes on (to end it: cherga jobs cancel {job.id})")
        return ExitCode.INTERRUPTED

    out.ended(job.refresh())
    return ExitCode.OK if job.status is JobState.SUCCEEDED else ExitCode.FAILED


def _show(app: QueueTasks, out: Output, job: Job[Any], timeout: float | None) -> None:
    state: JobState | None = None

    with out.follow() as show:
        for update in updates(app, job, timeout):
            if update.state is not state:
                job.refresh()
                state = update.state

            show(job, update)


def updates(app: QueueTasks, job: Job[Any], timeout: float | None) -> Iterable[LiveUpdate]:
    """The updates of ``app.watch``; raises ``ResultTimeout`` when the job has not ended within ``timeout`` seconds."""
    return app.watch(job.id) if timeout is None else _LimitedWatch(app, job, timeout)


class _LimitedWatch(Watch):
    def __init__(self, app: QueueTasks, job: Job[Any], timeout: float) -> None:
        super().__init__(app, job.id)
        self._end = app.clock.monotonic() + timeout
        self._clock = app.clock
        self._words = f"job {job.id} ({job.task_name}) has not ended within {timeout:g} seconds; it goes on"

    def _patience(self) -> float:
        left = self._end - self._clock.monotonic()

        if left <= 0:
            raise ResultTimeout(self._words)

        return min(left, super()._patience())
