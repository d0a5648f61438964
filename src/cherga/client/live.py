"""Watching a job: one stream of updates per job, from any process, resumable by position."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Any
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from cherga.client.handle import Source
from cherga.client.ids import as_id
from cherga.client.relatives import total_progress_of
from cherga.client.waiters import EVENTS, LONGEST_LOOK, LoopWaiter, Sight, ThreadWaiter, Waiter
from cherga.client.waiting import refuse_on_loop
from cherga.rules.codec import decode
from cherga.rules.reading import UNREADABLE, read_or
from cherga.words.errors import JobNotFound
from cherga.words.job import WAITING_STATES, JobState, Progress, Reason
from cherga.words.push import GROUP_TASK
from cherga.words.report import EventKind, LiveEvent, Reading


class LiveUpdate(Struct, frozen=True, kw_only=True):
    """A job as it stands at ``position``, with the log lines and values that came since the update before."""

    job_id: UUID
    position: int
    state: JobState
    final: bool
    unserved: str = ""
    """The reason why no worker that is alive would run it, and what helps; told once the wait has lasted two seconds."""
    stopping: bool = False
    """The job runs, and somebody asked that it stops."""
    reason: Reason | None = None
    progress: Progress | None = None
    """The progress of the job itself; of a group, that of its members together."""
    of_group: bool = False
    description: str | None = None
    message: str | None = None
    meta: dict[str, Any] = {}
    logs: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()
    positions: tuple[int, ...] = ()
    """The positions of the values, so that a reader can go on behind any of them."""

    @property
    def over(self) -> bool:
        """Final, and nothing more to tell: a full page of events may be followed by another one."""
        return self.final and not self.full

    @property
    def full(self) -> bool:
        """True when this is a full page of events, with more of them perhaps waiting."""
        return len(self.logs) + len(self.values) >= EVENTS

    def differs(self, seen: LiveUpdate | None) -> bool:
        """True when the job has moved since the update seen before."""
        return seen is None or (self.mark, self.unserved) != (seen.mark, seen.unserved)

    @property
    def mark(self) -> str:
        """Another one whenever the job has moved."""
        moved = f"{self.position}-{self.state.value}"
        return f"{moved}-{self.progress.done:g}-{self.progress.total:g}" if self.of_group and self.progress else moved

    def public(self) -> dict[str, Any]:
        """The update that a browser gets, as plain JSON values. Tracebacks and arguments stay at home."""
        progress = self.progress

        return {
            "job": str(self.job_id),
            "position": self.position,
            "state": self.state.value,
            "final": self.final,
            "stopping": self.stopping,
            "reason": self.reason and self.reason.value,
            "progress": progress and progress.as_dict(),
            "description": self.description,
            "message": self.message,
            "meta": self.meta,
            "logs": self.logs,
            "values": self.values,
        }


def look(source: Source, id: UUID, after: int = 0) -> LiveUpdate:
    """The job now, with the events after that position. Raises ``JobNotFound``."""
    (followed,) = source.broker.follow([Reading(id, after)], EVENTS)

    if followed is None:
        raise JobNotFound(f"job {id} is not kept")

    of_group = total_progress_of(source.broker, followed.job) if followed.job.task == GROUP_TASK else None
    return _update(Sight(followed.job, after, followed.events, of_group), source)


class Watch:
    """Yields an update now and whenever the job changes, until it is final. Iterate with ``for`` or ``async for``.

    ``after`` resumes: events up to that position are not repeated. ``pulse`` yields the job again, unmoved, after that many
    quiet seconds (5 at most), for those who have to show that they are alive. Raises ``JobNotFound`` when the job is not kept.
    """

    def __init__(self, source: Source, id: UUID | str, after: int = 0, pulse: float | None = None) -> None:
        self._source = source
        self._id = as_id(id)
        self._after = after
        self._pulse = pulse

    def __iter__(self) -> Iterator[LiveUpdate]:
        refuse_on_loop("for … in app.watch(…)", "use async for … in app.watch(…)")
        waiter = ThreadWaiter(self._id, follows=True, after=self._after)
        seen = None

        with self._source.lookout.serving(waiter):
            while seen is None or not seen.over:
                waiter.wait(min(self._patience(), LONGEST_LOOK))
                update = _warned(self._next(waiter), seen, waiter.unserved)

                if update is not None and (self._pulse is not None or update.differs(seen)):
                    yield update

                seen = update

    async def __aiter__(self) -> AsyncGenerator[LiveUpdate, None]:
        waiter = LoopWaiter(self._id, follows=True, after=self._after)
        seen = None

        with self._source.lookout.serving(waiter):
            while seen is None or not seen.over:
                await waiter.wait(self._patience())
                update = _warned(self._next(waiter), seen, waiter.unserved)

                if update is not None and (self._pulse is not None or update.differs(seen)):
                    yield update

                seen = update

    def _patience(self) -> float:
        """Seconds to wait for news."""
        return math.inf if self._pulse is None else min(self._pulse, LONGEST_LOOK)

    def _next(self, waiter: Waiter) -> LiveUpdate | None:
        """The update since this was asked before, None when there was none."""
        sight = waiter.take()

        if sight is None:
            return None

        if sight.after != waiter.after:  # read before the last update was taken
            self._source.lookout.look(waiter)
            return None

        update = _update(sight, self._source)
        waiter.after = self._after = update.position

        if update.full:
            self._source.lookout.look(waiter)

        return update


class Stream:
    """The values that a job emits, as they come; ends with the job."""

    def __init__(self, source: Source, id: UUID, after: int = 0) -> None:
        self.position = after
        self._watch = Watch(source, id, after)

    def __iter__(self) -> Iterator[Any]:
        for update in self._watch:
            for self.position, value in zip(update.positions, update.values, strict=True):
                yield value

            self.position = update.position

    async def __aiter__(self) -> AsyncIterator[Any]:
        async with aclosing(self._watch.__aiter__()) as updates:
            async for update in updates:
                for self.position, value in zip(update.positions, update.values, strict=True):
                    yield value

                self.position = update.position


def _warned(update: LiveUpdate | None, seen: LiveUpdate | None, unserved: str) -> LiveUpdate | None:
    """The news, or what was seen last, with what is known of workers."""
    if update is None and seen is not None and seen.unserved != unserved:
        update = replace(seen, logs=(), values=(), positions=())

    if update is None or update.state not in WAITING_STATES:
        return update or seen

    return replace(update, unserved=unserved) if unserved else update


def _update(sight: Sight, source: Source) -> LiveUpdate:
    job = source.handle(sight.job)
    of_group = sight.job.task == GROUP_TASK
    last = sight.events[-1].position if sight.full else sight.job.position
    values = _of(sight.events, EventKind.VALUE)

    return LiveUpdate(
        job_id=job.id,
        position=max(last, sight.after),
        state=job.row.state,
        final=job.row.state.final,
        stopping=sight.job.cancel_requested and not job.row.state.final,
        reason=job.reason,
        progress=sight.of_group if of_group else job.progress,
        of_group=of_group,
        description=job.description,
        message=job.message,
        meta=job.meta,
        logs=tuple(_of(sight.events, EventKind.LOG).values()),
        values=tuple(values.values()),
        positions=tuple(values),
    )


def _of(events: Sequence[LiveEvent], kind: EventKind) -> dict[int, Any]:
    """The events of this kind by their positions; what cannot be read is passed over."""
    read = {event.position: read_or(decode, event.data, UNREADABLE) for event in events if event.kind is kind}
    return {position: value for position, value in read.items() if value is not UNREADABLE}
