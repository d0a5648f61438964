"""Steps of a flow: the result that a job is fed comes from the broker when the job starts, not before."""

from __future__ import annotations

from uuid import UUID

from cherga.client.app import QueueTasks
from cherga.client.grouping import result_of
from cherga.client.task import Task
from cherga.words.errors import ResultExpired
from cherga.words.job import ClaimedJob


def fed_payload(app: QueueTasks, task: Task[..., object], job: ClaimedJob, feed: UUID) -> bytes:
    """The job's arguments with the result it waits for in the first place.

    Raises ``ResultExpired`` when that is not kept, ``InvalidArguments`` when it does not fit.
    """
    (row,) = app.broker.get([feed])

    if row is None:
        raise ResultExpired(f"job {feed}, whose result job {job.id} ({job.task}) is to be given, is not kept any more")

    return task.signature.feed(job.payload, result_of(app.broker, row))
