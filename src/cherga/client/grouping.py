"""``GroupJob``: one handle on the members of a group, and how results are gathered from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

from cherga.client.cancelling import cancel_untold, tell
from cherga.client.handle import Job, Source
from cherga.client.relatives import family_of, rows_of, total_progress_of
from cherga.client.signals import Event
from cherga.client.snapshot import AsPushed
from cherga.doors.broker import FullBroker
from cherga.rules.codec import decode_whole
from cherga.rules.options import Duration, short_text
from cherga.rules.reading import read_or
from cherga.words.errors import ResultExpired
from cherga.words.inspection import JobFilter
from cherga.words.job import JobRow, JobState, Progress
from cherga.words.push import GROUP_TASK, JobHead

R = TypeVar("R")

_read_head = msgspec.msgpack.Decoder(JobHead).decode


class GroupJob(Job[list[R]], Generic[R]):
    """The job that waits for all members; it has ended when they have. ``callback`` is the job of ``then``."""

    __slots__ = ("callback",)

    def __init__(
        self, row: JobRow | AsPushed, source: Source, callback: Job[Any] | None = None, existing: bool = False
    ) -> None:
        super().__init__(row, source, existing)
        self.callback = callback
        """The job of ``then``, on the handle that ``enqueue`` returned."""

    @property
    def progress(self) -> Progress:
        """The number of jobs of the group that have ended, with the share that is done of those that run; read live."""
        return total_progress_of(self._source.broker, self.row) or Progress(0.0)

    def members(self) -> list[Job[Any]]:
        """The jobs that stand for the members, in their order: of a chain its last one, of a group in it its ``GroupJob``."""
        return [self._source.handle(row) for row in member_rows(self._source.broker, self.row)]

    def results(self, timeout: Duration | None = None) -> list[R]:
        """Wait for the end, and return the members' results in their order; None for one that did not succeed.

        Raises as ``result`` does: ``JobCancelled`` when a member failed that the group's policy does not forgive.
        """
        self.await_end(timeout)
        return self._finished()

    def result(self, timeout: Duration | None = None) -> list[R]:
        """The same as ``results``."""
        return self.results(timeout)

    def cancel(self, message: str | None = None) -> bool:
        """Cancel the group with every member that has not ended; those that run are asked to stop. False when all had."""
        any_left, events = self._cancel_untold(_checked(message))
        tell(self._source, events)
        return any_left

    async def aresults(self, timeout: Duration | None = None) -> list[R]:
        """The async twin of ``results``."""
        await self.aawait_end(timeout)
        return await self._source.submitter.call(self._finished)

    async def aresult(self, timeout: Duration | None = None) -> list[R]:
        """The same as ``aresults``."""
        return await self.aresults(timeout)

    async def acancel(self, message: str | None = None) -> bool:
        """The async twin of ``cancel``."""
        any_left, events = await self._source.submitter.call(self._cancel_untold, _checked(message))
        tell(self._source, events)
        return any_left

    async def amembers(self) -> list[Job[Any]]:
        """The async twin of ``members``."""
        return await self._source.submitter.call(self.members)

    async def aprogress(self) -> Progress:
        """The async twin of ``progress``."""
        return await self._source.submitter.call(lambda: self.progress)

    def _cancel_untold(self, message: str | None) -> tuple[bool, list[Event]]:
        """True when anything had not ended, and the events to tell. Where a member failed, others may run on."""
        counts = family_of(self._source.broker, self.id).counts
        touched, events = cancel_untold(self._source, [self.id], message, family=True)
        return bool(touched) or any(count and not state.final for state, count in counts.items()), events

    def _value(self) -> list[R]:
        return [self._result_of(row) for row in member_rows(self._source.broker, self.row)]

    def _result_of(self, row: JobRow) -> Any:
        """The result as the member's own handle gives it, of the type that its task returns."""
        return self._source.handle(row)._finished() if row.state is JobState.SUCCEEDED else None


Read = Callable[[str, bytes], Any]
"""Reads what a task of this name has returned."""


def as_stored(task: str, data: bytes) -> Any:
    """A result without a look at what the task says about it."""
    return decode_whole(data)


def result_of(broker: FullBroker, row: JobRow, read: Read) -> Any:
    """The value that the job hands on: its result, or those of its members, None for one that did not succeed.

    Raises ``ResultExpired`` when it is not kept.
    """
    if row.task == GROUP_TASK:
        return [_result_if_any(broker, member, read) for member in member_rows(broker, row)]

    if row.state is not JobState.SUCCEEDED:
        raise ResultExpired(f"job {row.id} ({row.task}) is {row.state}: it has no result to hand on; run it again first")

    if row.result is None:
        raise ResultExpired(f"job {row.id} ({row.task}) succeeded, but its result is not kept")

    return read(row.task, row.result)


def member_rows(broker: FullBroker, group: JobRow) -> list[JobRow]:
    """The rows of the members, in their order, those too that stand in for one. They are kept as long as the group is."""
    found = {place: row for row in rows_of(broker, JobFilter(parent=group.id)) if (place := _head(row).member) is not None}
    head = _head(group)
    missing = {place: key for place, key in head.keys.items() if place not in found}

    if missing:
        found |= stand_ins(broker, group.id, missing)

    if kept := {place: id for place, id in head.ids.items() if place not in found}:
        found |= _kept_before(broker, kept)

    return [found[place] for place in sorted(found)]


def _kept_before(broker: FullBroker, ids: dict[int, UUID]) -> dict[int, JobRow]:
    """The jobs that were kept under the ids of members already: they are members of another group, or of none."""
    rows = broker.get(list(ids.values()))
    return {place: row for place, row in zip(ids, rows, strict=True) if row is not None}


def stand_ins(broker: FullBroker, waiting: UUID, keys: dict[int, str]) -> dict[int, JobRow]:
    """The jobs that hold, or held, these unique keys, of those that the waiting job waits for."""
    holders = {row.unique.key: row for row in rows_of(broker, JobFilter(awaited_by=waiting)) if row.unique}
    return {place: holders[key] for place, key in keys.items() if key in holders}


def _result_if_any(broker: FullBroker, row: JobRow, read: Read) -> Any:
    return result_of(broker, row, read) if row.state is JobState.SUCCEEDED else None


def _head(row: JobRow) -> JobHead:
    return read_or(_read_head, row.head or None, JobHead())


def _checked(message: str | None) -> str | None:
    return None if message is None else short_text(message, "message")
