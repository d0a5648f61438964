"""``GroupJob``: one handle on the members of a group, and how results are gathered from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from cherga.client.handle import Job, Source
from cherga.doors.broker import FullBroker
from cherga.rules.codec import decode
from cherga.rules.options import Duration
from cherga.words.errors import ResultExpired
from cherga.words.job import GROUP_TASK, Family, JobFilter, JobHead, JobRow, JobState, Progress

PAGE = 500

_read_head = msgspec.msgpack.Decoder(JobHead).decode


class GroupJob(Job[list[Any]]):
    """The job that waits for all members; it has ended when they have. ``callback`` is the job of ``then``."""

    __slots__ = ("callback",)

    def __init__(self, row: JobRow, source: Source, callback: Job[Any] | None = None) -> None:
        super().__init__(row, source)
        self.callback = callback

    @property
    def family(self) -> Family:
        """How many members stand where, read live."""
        return self._source.broker.families([self.id])[0]

    @property
    def progress(self) -> Progress:
        """How many members have ended, and how far the others are; read live."""
        family = self.family
        return Progress(family.done, float(family.total))

    def members(self) -> list[Job[Any]]:
        """The jobs that stand for the members, in their order."""
        return [Job(row, self._source) for row in member_rows(self._source.broker, self._row)]

    def results(self, timeout: Duration | None = None) -> list[Any]:
        """Wait for the end, and return the members' results in their order; None for one that did not succeed.

        Raises as ``result`` does: ``JobCancelled`` when a member failed that the group's policy does not forgive.
        """
        self.await_end(timeout)
        self._finished()
        return gather(self._source.broker, self._row)

    def result(self, timeout: Duration | None = None) -> list[Any]:
        """The same as ``results``."""
        return self.results(timeout)

    def cancel(self, message: str | None = None) -> bool:
        """Cancel the group with every member that has not ended. False when all had."""
        return bool(self._source.broker.move([self.id], JobState.CANCELLED, message, family=True))

    async def aresults(self, timeout: Duration | None = None) -> list[Any]:
        """The async twin of ``results``."""
        await self.aawait_end(timeout)
        self._finished()
        return await self._source.submitter.call(gather, self._source.broker, self._row)

    async def aresult(self, timeout: Duration | None = None) -> list[Any]:
        """The same as ``aresults``."""
        return await self.aresults(timeout)

    async def acancel(self, message: str | None = None) -> bool:
        """The async twin of ``cancel``."""
        return await self._source.submitter.call(self.cancel, message)

    async def amembers(self) -> list[Job[Any]]:
        """The async twin of ``members``."""
        return await self._source.submitter.call(self.members)

    async def aprogress(self) -> Progress:
        """The async twin of ``progress``."""
        return await self._source.submitter.call(lambda: self.progress)

    def _value(self) -> list[Any]:
        """A group keeps no result of its own."""
        return []


def gather(broker: FullBroker, row: JobRow) -> list[Any]:
    """The results of a group's members in their order, groups inside it as lists; None for one that did not succeed."""
    return [_result(broker, member) for member in member_rows(broker, row)]


def result_of(broker: FullBroker, row: JobRow) -> Any:
    """What the job hands on: its result, or those of its members. Raises ``ResultExpired`` when it is not kept."""
    if row.task == GROUP_TASK:
        return gather(broker, row)

    if row.result is None:
        raise ResultExpired(f"job {row.id} ({row.task}) {row.state}, but its result is not kept")

    return decode(row.result)


def member_rows(broker: FullBroker, group: JobRow) -> list[JobRow]:
    """The rows of the members, in their order. They are kept as long as the group is."""
    found = {place: row for row in _children(broker, group) if (place := _place(row)) is not None}
    return [found[place] for place in sorted(found)]


def _result(broker: FullBroker, row: JobRow) -> Any:
    return result_of(broker, row) if row.state is JobState.SUCCEEDED else None


def _children(broker: FullBroker, group: JobRow) -> Iterator[JobRow]:
    before: int | None = None

    while True:
        page = broker.find(JobFilter(parent=group.id), PAGE, before)
        yield from page

        if len(page) < PAGE:
            return

        before = page[-1].sequence


def _place(row: JobRow) -> int | None:
    try:
        return _read_head(row.head).member if row.head else None
    except (msgspec.DecodeError, TypeError):
        return None
