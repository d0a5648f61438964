"""Children whose parent is given up: those that are unfinished are cancelled, in pages.

The note in ``orphans`` is part of the write that gives the parent up and goes with the last page, so that nothing that
happens to the parent afterwards stops it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cherga.brokers.sqlite.endings import cancel
from cherga.brokers.sqlite.held import select_held
from cherga.brokers.sqlite.rows import read_reason
from cherga.brokers.sqlite.spoilt import read_text
from cherga.brokers.sqlite.write import Write
from cherga.doors.broker import Topic
from cherga.words.job import Reason

_RECORD = """
with recursive given_up (id) as (
    select unhex(value) from json_each(?1)
    union
    select j.id from given_up cross join jobs as j indexed by jobs_by_parent on j.parent = given_up.id
    where j.state = 4 and j.cancel = 1
)
insert or ignore into orphans (parent, rank, reason, message)
select id, (select ifnull(max(rank), 0) + 1 from orphans), ?2, ?3 from given_up
where exists (select 1 from jobs indexed by jobs_by_parent where parent = given_up.id and state <= 4 and cancel = 0)
returning parent
"""
"""A running child that was marked before has no page of its own: those below it are reached through it."""

_CHILDREN = "indexed by jobs_by_parent where parent = ? and state <= 4 and cancel = 0 limit ?"

_write_json = msgspec.json.Encoder().encode


def give_up(write: Write, parents: Sequence[bytes], reason: Reason, message: str | None) -> None:
    """Record that the unfinished children of these jobs are to be cancelled; those that have none are passed over."""
    if parents:
        packed = _write_json([id.hex() for id in parents]).decode()
        write.given_up += [id for (id,) in write.rows(_RECORD, (packed, reason.value, message))]
        write.bells.topics.add(Topic.DUE)


def cancel_recorded(write: Write, limit: int) -> int:
    """Carry out what is recorded, the oldest first; return how many children that reached."""
    reached = 0

    while reached < limit:
        parent = write.value("select parent from orphans order by rank limit 1")

        if parent is None:
            break

        reached += cancel_page(write, parent, limit - reached)

    return reached


def cancel_page(write: Write, parent: bytes, limit: int) -> int:
    """Cancel at most ``limit`` children; forget the record when those were all."""
    row = write.row("select cast(reason as blob), cast(message as blob) from orphans where parent = ?", (parent,))

    if row is None:
        return 0

    reason, message = read_reason(row[0]) or Reason.UPSTREAM, None if row[1] is None else read_text(row[1])
    children = list(select_held(write, _CHILDREN, (parent, limit + 1)))
    page = children[:limit]

    for held in page:
        cancel(write, held, reason, message)

    if len(children) <= limit:
        write.run("delete from orphans where parent = ?", (parent,))

    give_up(write, [held.packed_id for held in page], reason, message)
    return len(page)
