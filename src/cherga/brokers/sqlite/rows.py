"""Rows of the table: state numbers, trait bits, packed columns and the way back to a ``JobRow``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from cherga.rules.reading import read_or
from cherga.words.job import JobRow, JobState, Reason
from cherga.words.push import JobHead
from cherga.words.unique import Unique, UniqueWhile

SCHEDULED, READY, BLOCKED, RUNNING, SUCCEEDED, FAILED, CANCELLED = range(1, 8)

STATES = {
    SCHEDULED: JobState.SCHEDULED,
    READY: JobState.READY,
    BLOCKED: JobState.BLOCKED,
    RUNNING: JobState.RUNNING,
    SUCCEEDED: JobState.SUCCEEDED,
    FAILED: JobState.FAILED,
    CANCELLED: JobState.CANCELLED,
}
CODES = {state: code for code, state in STATES.items()}
FIRST_FINAL = SUCCEEDED
ID_BYTES = 16

HOLDS_KEY = 1
"""Holds, or may take again, a unique key."""
AWAITED = 2
"""Other jobs wait, or waited, for this one."""
WAITS = 4
"""The job waits, or waited, for other jobs."""
HAS_HISTORY = 8
"""Attempts have ended before."""
HAS_EVENTS = 16
"""Log lines or stream values are kept."""

ENTANGLED = HOLDS_KEY | AWAITED | WAITS | HAS_HISTORY
"""The end of such a job is more than a change of its own row."""


class Ties(Struct, frozen=True, array_like=True, omit_defaults=True):
    """The ties of a job to others, in one packed column that most jobs leave empty."""

    unique: Unique | None = None
    limit_keys: tuple[str, ...] = ()


NO_TIES = Ties()

_pack = msgspec.msgpack.Encoder().encode
_read_ties = msgspec.msgpack.Decoder(Ties).decode
_read_head = msgspec.msgpack.Decoder(JobHead).decode


def pack_ties(unique: Unique | None, limit_keys: tuple[str, ...]) -> bytes | None:
    """The column, None when there is nothing to tie."""
    return _pack(Ties(unique, limit_keys)) if unique is not None or limit_keys else None


def unpack_ties(packed: bytes | None) -> Ties:
    """The ties in the column; none when it cannot be read."""
    if packed is None:
        return NO_TIES

    return read_or(_read_ties, packed, NO_TIES)


def read_head(packed: bytes | None) -> JobHead:
    """The head; an empty one when it cannot be read."""
    if not packed:
        return EMPTY_HEAD

    return read_or(_read_head, packed, EMPTY_HEAD)


def check_head(packed: bytes) -> None:
    """Raise ``msgspec.DecodeError`` when the head cannot be read."""
    _read_head(packed)


EMPTY_HEAD = JobHead()

COLUMNS = """
    j.sequence, j.id, cast(l.task as blob), cast(l.queue as blob), -j.rank, j.state,
    cast(j.reason as blob), cast(j.owner as blob), cast(j.message as blob),
    j.payload, j.head, j.ties, j.parent, j.pending, j.attempt, j.claims, j.crashes, ifnull(l.suspect, 0), j.interruptions,
    cast(ifnull(
        (select id from sessions where number = j.session), (select id from past_sessions where number = j.session)
    ) as blob),
    j.token, j.cancel,
    j.enqueued_at, j.run_at, j.ready_at, j.first_started_at, j.started_at, j.finished_at, j.expires_at, j.prune_at, j.position,
    j.progress, j.meta, j.result, j.attempts
"""
"""Columns that ``to_row`` reads, from ``jobs as j left join lanes as l on l.number = j.lane``. Free texts come as bytes, so
that one that is not UTF-8 spoils no list."""


def to_row(raw: tuple[Any, ...]) -> JobRow | None:
    """The job in a row of ``COLUMNS``; None when it has no id that could name it. Other faults are tolerated."""
    sequence, id, task, queue, priority, state, reason, owner, message, payload, head, packed, parent, *rest = raw
    pending, attempt, claims, crashes, suspect, interruptions, session, token, cancel, *last = rest

    if len(id) != ID_BYTES:
        return None

    ties = unpack_ties(packed)
    return JobRow(
        id=UUID(bytes=id),
        sequence=sequence,
        task=_read_text(task) or "",
        queue=_read_text(queue) or "",
        priority=priority,
        state=STATES.get(state, JobState.FAILED),
        reason=read_reason(reason) if state in STATES else Reason.MALFORMED,
        owner=_read_text(owner),
        message=_read_text(message),
        payload=payload,
        head=head,
        unique=ties.unique,
        limit_keys=ties.limit_keys,
        parent=UUID(bytes=parent) if parent is not None and len(parent) == ID_BYTES else None,
        pending=pending,
        attempt=attempt,
        claims=claims,
        crashes=crashes,
        suspect=suspect,
        interruptions=interruptions,
        session=_read_text(session),
        token=token,
        cancel_requested=bool(cancel),
        **dict(zip(_LAST_FIELDS, last, strict=True)),
    )


_LAST_FIELDS = (
    "enqueued_at",
    "run_at",
    "ready_at",
    "first_started_at",
    "started_at",
    "finished_at",
    "expires_at",
    "prune_at",
    "position",
    "progress",
    "meta",
    "result",
    "attempts",
)


def _read_text(stored: bytes | None) -> str | None:
    return None if stored is None else stored.decode(errors="replace")


def read_reason(stored: bytes | None) -> Reason | None:
    """The reason of that name; ``malformed`` where there is none."""
    return None if stored is None else _REASONS.get(stored, Reason.MALFORMED)


_REASONS = {reason.value.encode(): reason for reason in Reason}


def holds_key_until_final(unique: Unique | None) -> bool:
    """True when the final write of a job has a key to release."""
    return unique is not None and unique.hold is UniqueWhile.UNFINISHED
