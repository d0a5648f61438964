"""Dependants: when a job has ended, those that wait for it go on, or are cancelled, in pages.

A job's end and the release of its first page are one write; so is the note in ``releases``, when more are left for a later
``promote``. The note goes only with the last page, so no instant exists at which a release can be lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cherga.brokers.sqlite.endings import Ending, end, end_group, is_group
from cherga.brokers.sqlite.held import Held, select_held
from cherga.brokers.sqlite.orphans import cancel_page, give_up
from cherga.brokers.sqlite.rows import BLOCKED, CANCELLED, READY, SCHEDULED, STATES, SUCCEEDED
from cherga.brokers.sqlite.write import Write
from cherga.doors.broker import Topic
from cherga.rules.edges import upstream
from cherga.words.job import JobState, Reason
from cherga.words.push import EdgePolicy

PAGE = 100

Open = tuple[int, int, str]
"""An edge not yet released: parent, child, policy."""

_OPEN_EDGES = """
select json_group_array(json_array(e.parent, e.child, e.policy))
from json_each(?1) as ended cross join edges as e on e.parent = ended.value and e.child in (
    select child from edges where parent = ended.value and released = 0 limit ?2
)
"""

_MARK_RELEASED = "update edges set released = 1 from (values "
_MARK_RELEASED_TAIL = ") as new where edges.parent = new.column1 and edges.child = new.column2"

_WAIT_ON = "update jobs set pending = new.column2 from (values "
_WAIT_ON_TAIL = ") as new where jobs.sequence = new.column1"

_LET_GO = """
update jobs set pending = 0, state = ?1, place = iif(?1 = 2, ?2 + new.key, place), ready_at = iif(?1 = 2, ?3, null),
    position = (position & 0xffffffffffff) + 1
from json_each(?4) as new where jobs.sequence = new.value
"""

_NOTE = """
insert or replace into releases (parent, ended) select new.value ->> 0, new.value ->> 1 from json_each(?) as new
where exists (select 1 from edges where parent = new.value ->> 0 and released = 0)
"""

_NOTED = "select parent, ended from releases order by rowid limit ?"

_WAITING = f"where sequence in (select value from json_each(?)) and state = {BLOCKED}"

_read_edges = msgspec.json.Decoder(list[Open]).decode
_write_json = msgspec.json.Encoder().encode


def release_ended(write: Write) -> None:
    """Release a page of dependants for each job that ended in this transaction, and of those cancelled by that; cancel a
    page of children of each that was given up."""
    _release_pages(write)
    given_up, write.given_up = write.given_up, []

    for parent in given_up:  # who is given up by that waits for ``promote``
        cancel_page(write, parent, PAGE)

    _release_pages(write)
    _note(write, write.ended)
    write.ended, write.given_up = {}, []


def release_recorded(write: Write, limit: int) -> int:
    """Carry out what is recorded, the oldest first; return how many dependants moved on."""
    moved = 0

    while moved < limit:
        page = min(PAGE, limit - moved)
        noted = dict(write.rows(_NOTED, ((limit - moved) // page,)))

        if not noted:
            break

        moved += _release(write, noted, page)

    return moved


def _release_pages(write: Write) -> None:
    left = PAGE * len(write.ended)

    while write.ended and left > 0:
        chosen = list(write.ended.items())[: max(1, left // PAGE)]

        for parent, _ in chosen:
            del write.ended[parent]

        left -= _release(write, dict(chosen), min(left, PAGE))


def _release(write: Write, ended: Mapping[int, int], page: int) -> int:
    """Release at most ``page`` dependants of each of these; note which have more of them."""
    edges = _read_edges(write.value(_OPEN_EDGES, (_write_json(list(ended)).decode(), page + 1)))
    by_parent: dict[int, list[Open]] = defaultdict(list)

    for edge in edges:
        by_parent[edge[0]].append(edge)

    more = {parent: ended[parent] for parent, found in by_parent.items() if len(found) > page}
    now = [edge for found in by_parent.values() for edge in found[:page]]
    write.run_chunks(_MARK_RELEASED, "(?, ?)", _MARK_RELEASED_TAIL, (), [(parent, child) for parent, child, _ in now])
    _go_on(write, now, ended)
    _forget(write, ended.keys() - more.keys())
    _note(write, more)
    return len(now)


def _go_on(write: Write, edges: Iterable[Open], ended: Mapping[int, int]) -> None:
    """Each child once, whichever of its parents have ended."""
    by_child: dict[int, list[Open]] = defaultdict(list)

    for edge in edges:
        by_child[edge[1]].append(edge)

    if not by_child:
        return

    free: list[Held] = []
    waiting: list[tuple[int, int]] = []

    for held in list(select_held(write, _WAITING, (_write_json(list(by_child)).decode(),))):
        over = by_child[held.sequence]
        broken = _find_broken(over, ended)

        if broken is not None:
            _break(write, held, broken[2], ended[broken[0]])
        elif held.pending > len(over):
            waiting.append((held.sequence, held.pending - len(over)))
        else:
            free.append(held)

    write.run_chunks(_WAIT_ON, "(?, ?)", _WAIT_ON_TAIL, (), waiting)
    _let_go(write, free)


def _find_broken(edges: Sequence[Open], ended: Mapping[int, int]) -> Open | None:
    """The edge because of which the job will not run; the one with the most consequences."""
    broken = [edge for edge in edges if edge[2] != EdgePolicy.ENDED and ended[edge[0]] != SUCCEEDED]
    return max(broken, key=lambda edge: edge[2] == EdgePolicy.TOGETHER, default=None)


def _break(write: Write, held: Held, policy: str, ended: int) -> None:
    message = upstream(STATES.get(ended, JobState.FAILED))
    end(write, held, Ending(to=CANCELLED, reason=Reason.UPSTREAM, message=message))

    if policy == EdgePolicy.TOGETHER:
        give_up(write, [held.packed_id], Reason.UPSTREAM, message)


def _let_go(write: Write, free: Sequence[Held]) -> None:
    ready: list[Held] = []
    later: list[Held] = []

    for held in free:
        if is_group(write, held):
            end_group(write, held)
        elif held.run_at is not None and held.run_at > write.now:
            later.append(held)
        else:
            ready.append(held)

    _move(write, ready, READY, Topic.READY)
    _move(write, later, SCHEDULED, Topic.DUE)


def _move(write: Write, jobs: Sequence[Held], to: int, topic: str) -> None:
    if not jobs:
        return

    place = write.take_numbers(len(jobs)) if to == READY else 0
    write.run(_LET_GO, (to, place, write.now, _write_json([held.sequence for held in jobs]).decode()))
    write.bells.topics.add(topic)
    write.bells.jobs += [held.packed_id for held in jobs]

    for held in jobs:
        write.count(held.lane, BLOCKED, -1)
        write.count(held.lane, to, 1)


def _note(write: Write, ended: Mapping[int, int]) -> None:
    """Leave the rest of these jobs' dependants to ``promote``."""
    if ended:
        write.run(_NOTE, (_write_json(list(ended.items())).decode(),))
        write.bells.topics.add(Topic.DUE)


def _forget(write: Write, parents: Iterable[int]) -> None:
    write.run("delete from releases where parent in (select value from json_each(?))", (_write_json(list(parents)).decode(),))
