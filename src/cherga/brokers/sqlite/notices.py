"""Notices of what the broker did with jobs by itself: kept until a worker has told them.

A notice is one session's to tell for as long as that lives; then it is anybody's again. So each is told at least once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import apsw
import msgspec
from msgspec.structs import replace

from cherga.brokers.sqlite.held import Held
from cherga.brokers.sqlite.rows import STATES
from cherga.brokers.sqlite.write import Write
from cherga.rules.notices import NOTICES_KEPT, TOLD_WITHIN, is_news
from cherga.rules.reading import read_or
from cherga.words.job import JobError, JobState, Reason
from cherga.words.notice import Notice
from cherga.words.push import NewJob

_FREE = """
select number, packed from notices
where (task = '' or task in (select value from json_each(?1)))
and (session is null or session not in (select number from sessions where death is null))
order by number limit ?2
"""

_TAKE = "update notices set session = ?1 where number in (select value from json_each(?2))"

_FORGET = "delete from notices where number in (select value from json_each(?))"

_OLD = """
delete from notices where number in (select number from notices where at < ?1 order by number limit ?2)
or number <= (select max(number) from notices) - ?3
"""

_pack = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(Notice).decode
_write_json = msgspec.json.Encoder().encode


def note(write: Write, held: Held, to: int, reason: Reason | None, message: str | None, error: JobError | None = None) -> None:
    """Let a worker tell what became of the job, if anybody wants to hear of it."""
    lane = write.lanes.get(write.db, held.lane)
    task, state = "" if lane is None else lane.task, STATES[to]
    counters = {"attempt": held.attempt, "crashes": held.crashes}

    if held.cancel and message is None:  # the words of who asked stand in the row
        message = write.value("select message from jobs where sequence = ?", (held.sequence,))

    _add(write, Notice(id=held.id, task=task, state=state, reason=reason, message=message, error=error, **counters))


def note_stillborn(write: Write, job: NewJob, reason: Reason, message: str | None) -> None:
    """The same of a job that was cancelled in the moment it was stored."""
    _add(write, Notice(id=job.id, task=job.task, state=JobState.CANCELLED, reason=reason, message=message))


def _add(write: Write, notice: Notice) -> None:
    if is_news(notice.task, notice.state, notice.reason):
        write.notices.append((notice.task, write.now, _pack(notice)))


def any_notice(db: apsw.Connection) -> bool:
    """True when anything is to be told."""
    return bool(db.execute("select exists (select 1 from notices)").get)


def take(write: Write, session: str, tasks: Collection[str], limit: int) -> list[Notice]:
    """The oldest notices of these tasks that nobody is telling, for this session to tell. What cannot be read goes."""
    mine = write.value("select number from sessions where id = ? and death is null", (session,))

    if mine is None:
        return []

    rows = write.rows(_FREE, (_write_json(list(tasks)).decode(), limit))
    found = {number: read_or(_read, packed, None) for number, packed in rows}
    write.run(_TAKE, (mine, _write_json(list(found)).decode()))
    told(write, [number for number, notice in found.items() if notice is None])
    return [replace(notice, number=number) for number, notice in found.items() if notice is not None]


def told(write: Write, numbers: Sequence[int]) -> None:
    """Forget these."""
    if numbers:
        write.run(_FORGET, (_write_json(list(numbers)).decode(),))


def forget_old(write: Write, limit: int) -> None:
    """Forget what nobody has told for long, and the oldest of too many."""
    write.run(_OLD, (write.now - TOLD_WITHIN, limit, NOTICES_KEPT))
