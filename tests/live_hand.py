"""A worker by hand: claims, reports and settles one job step by step, so that a test decides when what happens."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from cherga import Progress, QueueTasks
from cherga.rules.codec import encode
from cherga.words.claim import ClaimedJob, ClaimWish
from cherga.words.job import JobState
from cherga.words.report import EventKind, Report
from cherga.words.session import SessionInfo
from cherga.words.settlement import Settlement


class Hand:
    """Runs the oldest ready job of an application without calling it."""

    def __init__(self, app: QueueTasks) -> None:
        self._app = app
        self._broker = app.broker
        self._session = "hand.1"
        self._broker.register(SessionInfo(id=self._session, worker="hand", host="here", pid=1))
        self._job: ClaimedJob | None = None

    @property
    def job(self) -> ClaimedJob:
        """The job in hand."""
        assert self._job is not None
        return self._job

    def claim(self) -> UUID:
        """Take the job; it runs now."""
        answer = self._broker.claim(ClaimWish(session=self._session, limit=1, tasks=frozenset(self._app.tasks)))
        (self._job,) = answer.jobs
        return self._job.id

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """As ``ctx.progress``."""
        self._report(progress=msgspec.msgpack.encode(Progress(done, total, note)))

    def meta(self, value: dict[Any, Any]) -> None:
        """As ``ctx.save_meta``."""
        self._report(meta=encode(value))

    def log(self, *lines: str) -> None:
        """As ``ctx.log``."""
        self._report(events=tuple((EventKind.LOG, encode(line)) for line in lines))

    def end(self, state: JobState = JobState.SUCCEEDED) -> None:
        """Settle."""
        job = self.job
        self._broker.settle([Settlement(job.id, job.sequence, job.token, state)])

    def _report(self, **told: Any) -> None:
        job = self.job
        assert self._broker.report([Report(job.id, job.sequence, job.token, **told)]) == [True]
