"""Steps of a flow: the result that a job is fed comes from the broker when the job starts, not before."""

from __future__ import annotations

from uuid import UUID

import msgspec

from cherga.client.app import QueueTasks
from cherga.client.grouping import as_stored, result_of, stand_ins
from cherga.client.task import Task
from cherga.words.claim import ClaimedJob
from cherga.words.errors import InvalidArguments, ResultExpired
from cherga.words.job import JobRow
from cherga.words.push import JobHead

_read_head = msgspec.msgpack.Decoder(JobHead).decode


def fed_payload(app: QueueTasks, task: Task[..., object], job: ClaimedJob, feed: UUID) -> bytes:
    """The job's arguments with the result it waits for in the first place.

    Raises ``ResultExpired`` when that is not kept, ``InvalidArguments`` when it does not fit.
    """
    row = _feeding_row(app, job, feed)

    try:
        return task.signature.feed(job.payload, result_of(app.broker, row, app.read_result))
    except InvalidArguments:  # where nothing says what they are, objects go on as plain data
        return task.signature.feed(job.payload, result_of(app.broker, row, as_stored))


def _feeding_row(app: QueueTasks, job: ClaimedJob, feed: UUID) -> JobRow:
    """The job that feeds this one, or that held its unique key when both were to be stored."""
    (row,) = app.broker.get([feed])

    if row is None and job.head is not None and (keys := _read_head(job.head).keys):
        row = stand_ins(app.broker, job.id, keys).get(0)

    if row is None:
        raise ResultExpired(f"job {feed}, whose result job {job.id} ({job.task}) is to be given, is not kept any more")

    return row
