"""Jobs on pages: lists, elements and tokens. A broker that cannot be used costs a page its jobs, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from cherga.client.app import QueueTasks
from cherga.client.grouping import GroupJob
from cherga.client.handle import Job
from cherga.client.ids import as_id
from cherga.web.live import LiveEndpoint
from cherga.web.markup import write_progress, write_script, write_unknown

Address = Callable[[str, str], str]
"""The address of a live page, from its name and the id of a job, empty for a file."""


class PageJobs(list[Job[Any]]):
    """Jobs for a page, newest first."""

    unavailable = False
    """True when the broker could not be used, so that the list says nothing about the jobs there are."""


def _nothing() -> PageJobs:
    found = PageJobs()
    found.unavailable = True
    return found


class Helpers:
    """The functions that templates call. Addresses come from the framework."""

    def __init__(self, app: QueueTasks, endpoint: LiveEndpoint) -> None:
        self._app = app
        self._endpoint = endpoint

    def token(self, job: Job[Any] | UUID | str, cancel: bool = False) -> str:
        """A token that admits whoever holds it to the progress of this job, and with ``cancel`` lets them cancel it."""
        return self._endpoint.issue(_id_of(job), cancel)

    def progress(
        self,
        job: Job[Any] | UUID | str | None,
        address: Address,
        attributes: Mapping[str, Any],
        content: str | None = None,
        cancel: bool = False,
        asks: bool = True,
    ) -> str:
        """The element about a job, given by its handle or its id. Nothing for a job that is not kept.

        Without ``asks`` nothing is read from the broker, and a handle is needed.
        While the broker cannot be used, the element says so, and finds its job again when it can.
        """
        if job is None:
            return ""

        id = _id_of(job)
        src, token = address("live", str(id)), self._endpoint.issue(id, cancel)

        if isinstance(job, Job) and not (asks and isinstance(job, GroupJob)):
            return write_progress(job, src, token, attributes, content, asks=False)

        return self._endpoint.outage.ask(
            lambda: self._look_and_write(job, src, token, attributes, content),
            write_unknown(id, src, token, attributes, content),
        )

    def _look_and_write(
        self, job: Job[Any] | UUID | str, src: str, token: str, attributes: Mapping[str, Any], content: str | None
    ) -> str:
        found = job if isinstance(job, Job) else self._app.get(job)
        return write_progress(found, src, token, attributes, content) if found is not None else ""

    def script(self, address: Address, attributes: Mapping[str, Any]) -> str:
        """The tags that load the element's script and its usual look."""
        return write_script(address("element", ""), address("look", ""), attributes)

    def jobs(self, **where: Any) -> PageJobs:
        """The jobs that match, as ``jobs`` of the application finds them; none while the broker cannot be used."""
        return self._endpoint.outage.ask(lambda: PageJobs(self._app.jobs(**where)), _nothing())

    async def ajobs(self, **where: Any) -> PageJobs:
        """The async twin of ``jobs``."""
        found = await self._endpoint.outage.aask(lambda: self._app.ajobs(**where), None)
        return _nothing() if found is None else PageJobs(found)


def _id_of(job: Job[Any] | UUID | str) -> UUID:
    return job.id if isinstance(job, Job) else as_id(job)
