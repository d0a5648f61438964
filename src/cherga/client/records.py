"""Jobs as plain values that JSON can say: for answers of an application, and for ``--json``."""

from __future__ import annotations

from typing import Any

import msgspec

from cherga.client.snapshot import Snapshot
from cherga.rules.codec import decode
from cherga.rules.reading import read_or
from cherga.rules.times import iso
from cherga.words.job import JobError

Record = dict[str, Any]


def job_record(job: Snapshot) -> Record:
    """A job as a list shows it."""
    row = job.row

    return {
        "id": str(job.id),
        "task": job.task_name,
        "state": job.status.value,
        "reason": job.reason and job.reason.value,
        "queue": job.queue,
        "priority": job.priority,
        "owner": job.owner,
        "description": job.description,
        "tags": list(job.tags),
        "arguments": job.arguments,
        "attempt": job.attempt,
        "crashes": job.crashes,
        "interruptions": job.interruptions,
        "cancel_requested": row.cancel_requested,
        "enqueued_at": iso(row.enqueued_at),
        "run_at": iso(row.run_at),
        "started_at": iso(row.started_at),
        "finished_at": iso(row.finished_at),
        "progress": job.progress and job.progress.as_dict(),
        "message": job.message,
        "error": error_record(job.error, traceback=False),
    }


def public_record(job: Snapshot) -> Record:
    """The same with parent, metadata and result, all of it values that JSON can say; others are given as their text."""
    record = job_record(job) | {
        "parent": job.parent and str(job.parent),
        "meta": job.meta,
        "result": read_or(decode, job.row.result, None),
    }
    plain: Record = msgspec.json.decode(msgspec.json.encode(record, enc_hook=str))
    return plain


def error_record(error: JobError | None, traceback: bool) -> Record | None:
    """A remote error."""
    if error is None:
        return None

    record = {"type": error.type, "message": error.message}
    return record | {"traceback": error.traceback} if traceback else record
