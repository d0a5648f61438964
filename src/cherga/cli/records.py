"""Records of jobs, queues and workers for ``--json``."""

from __future__ import annotations

from typing import Any

import msgspec

from cherga.cli.values import unpack
from cherga.client.handle import Job
from cherga.client.records import Record, error_record, job_record
from cherga.client.snapshot import worker_of
from cherga.rules.times import iso
from cherga.words.inspection import Family
from cherga.words.job import Attempt
from cherga.words.session import WorkerInfo


def full_record(job: Job[Any], family: Family) -> Record:
    """The whole of what is kept about a job, with how many of its children stand where."""
    row = job.row

    return job_record(job) | {
        "parent": job.parent and str(job.parent),
        "children": {state.value: count for state, count in family.counts.items()},
        "unique": row.unique and row.unique.key,
        "waits_for": row.pending,
        "worker": worker_of(row.session) or None,
        "expires_at": iso(row.expires_at),
        "kept_until": iso(row.prune_at),
        "first_started_at": iso(row.first_started_at),
        "headers": job.head.headers,
        "overrides": msgspec.to_builtins(job.head.overrides),
        "meta": job.meta,
        "error": error_record(job.error, traceback=True),
        "attempts": [attempt_record(attempt) for attempt in job.attempts],
        "result": unpack(row.result),
    }


def attempt_record(attempt: Attempt) -> Record:
    """An attempt that is over."""
    return {
        "number": attempt.number,
        "worker": attempt.worker,
        "started_at": iso(attempt.started_at),
        "finished_at": iso(attempt.finished_at),
        "reason": attempt.reason and attempt.reason.value,
        "error": error_record(attempt.error, traceback=True),
    }


def worker_record(worker: WorkerInfo) -> Record:
    """A session that is alive."""
    session = worker.session

    return {
        "session": session.id,
        "worker": session.worker,
        "host": session.host,
        "pid": session.pid,
        "queues": list(session.queues),
        "concurrency": session.concurrency,
        "running": worker.running,
        "release": session.release,
        "started_at": iso(session.started_at or None),
        "lease_ends_in": round(worker.expires_in, 3),
    }
