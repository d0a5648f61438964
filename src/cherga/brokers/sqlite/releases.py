"""Dependants: when a job has ended, those that wait for it go on, or are cancelled, in pages.

The end of a job and the note in ``releases`` are one write; the pages follow, in the same call or in any later ``promote``.
The note goes only with the last page, so no instant exists at which a release can be lost.
"""

from __future__ import annotations

from cherga.brokers.sqlite.endings import Ending, end
from cherga.brokers.sqlite.held import Held, find_held
from cherga.brokers.sqlite.rows import BLOCKED, CANCELLED, READY, SCHEDULED, STATES, SUCCEEDED
from cherga.brokers.sqlite.write import Write
from cherga.doors.broker import Topic
from cherga.words.job import EdgePolicy, Reason

PAGE = 100

_ONE_LESS = "update jobs set pending = max(0, pending - 1) where sequence = ? returning pending"

_RELEASE = """
update jobs set pending = 0, state = ?, place = ifnull(?, place), ready_at = ?, position = position + 1 where sequence = ?
"""


def release_ended(write: Write) -> None:
    """Release a page of dependants for each job that ended in this transaction, and of those cancelled by that."""
    left = PAGE * len(write.ended)

    for sequence in write.ended:  # grows while it is gone through
        if left <= 0:
            write.bells.topics.add(Topic.DUE)
            return

        left -= release_from(write, sequence, min(left, PAGE))


def release_recorded(write: Write, limit: int) -> int:
    """Carry out what is recorded, the oldest first; return how many dependants moved on."""
    moved = 0

    while moved < limit:
        parent = write.value("select parent from releases order by rowid limit 1")

        if parent is None:
            break

        moved += release_from(write, parent, limit - moved)

    return moved


def release_from(write: Write, parent: int, limit: int) -> int:
    """Release at most ``limit`` dependants of an ended job; forget the record when those were all."""
    ended = write.value("select ended from releases where parent = ?", (parent,))

    if ended is None:
        return 0

    edges = write.rows("select child, policy from edges where parent = ? and released = 0 limit ?", (parent, limit + 1))

    for child, policy in edges[:limit]:
        write.run("update edges set released = 1 where parent = ? and child = ?", (parent, child))
        held = find_held(write, child)

        if held is not None and held.state == BLOCKED:
            _release(write, held, parent, ended, policy)

    if len(edges) <= limit:
        write.run("delete from releases where parent = ?", (parent,))
    else:
        write.bells.topics.add(Topic.DUE)

    return len(edges[:limit])


def _release(write: Write, held: Held, parent: int, ended: int, policy: str) -> None:
    if policy == EdgePolicy.SUCCEEDED and ended != SUCCEEDED:
        message = f"a job that it waited for {STATES[ended]}"
        end(write, held, Ending(to=CANCELLED, reason=Reason.UPSTREAM, message=message))
        return

    pending = write.value(_ONE_LESS, (held.sequence,))

    if pending == 0:
        _let_go(write, held)


def _let_go(write: Write, held: Held) -> None:
    to = SCHEDULED if held.run_at is not None and held.run_at > write.now else READY
    place = write.take_numbers(1) if to == READY else None
    write.run(_RELEASE, (to, place, write.now if to == READY else None, held.sequence))
    write.count(held.lane, BLOCKED, -1)
    write.count(held.lane, to, 1)
    write.bells.jobs.append(held.packed_id)
    write.bells.topics.add(Topic.READY if to == READY else Topic.DUE)
