"""Questions of a dashboard or a command line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import apsw
import msgspec

from cherga.brokers.sqlite.holds import read_scopes, write_scope
from cherga.brokers.sqlite.leases import BOOT_ID, read_info
from cherga.brokers.sqlite.rows import CODES, COLUMNS, FAILED, RUNNING, STATES, to_row
from cherga.brokers.sqlite.spoilt import read_text
from cherga.brokers.sqlite.sweeps import PATIENCE, read_last
from cherga.brokers.sqlite.write import Write
from cherga.doors.broker import Topic
from cherga.rules.progress import share_done
from cherga.words.inspection import Family, JobFilter, TaskCount
from cherga.words.job import JobRow, JobState
from cherga.words.session import WorkerInfo
from cherga.words.shared import PauseScope

_SELECT = f"select {COLUMNS} from jobs as j left join lanes as l on l.number = j.lane"

_COUNTS = """
select cast(l.queue as blob), cast(l.task as blob), c.state, total(c.count) as total
from counters c join lanes l on l.number = c.lane
group by l.queue, l.task, c.state having total > 0 order by l.queue, l.task, c.state
"""

_WORKERS = """
select s.number, cast(s.id as blob), s.info, s.expires - ?1,
    (select count(*) from jobs indexed by jobs_running where session = s.number and state = 4)
from sessions as s where s.boot = ?2 and s.expires > ?1 and s.death is null order by s.number
"""

_CHILDREN = """
select p.parent, j.state, count(*) from (select unhex(value) as parent from json_each(?)) as p
cross join jobs as j indexed by jobs_by_parent on j.parent = p.parent group by 1, 2
"""

_CHILDREN_RUNNING = f"""
select p.parent, j.progress from (select unhex(value) as parent from json_each(?)) as p
cross join jobs as j indexed by jobs_by_parent on j.parent = p.parent
where j.state = {RUNNING} and j.progress is not null
"""

_COUNTS_FOR = """
? in (select 'queue:' || queue union all select 'task:' || task union all
select value from json_each(iif(json_valid(limits), limits, '[]')))
"""

_AWAITED_BY = "j.sequence in (select parent from edges where child = (select sequence from jobs where id = ?))"

_HOLDS = "j.sequence = (select sequence from uniques where key = ? and coalesce(expires, 9e999) > ?)"

_ENDS = "j.sequence in (select sequence from jobs indexed by jobs_by_id where substr(hex(id), ?) = ?)"
"""The index is read from end to end, which is less than the table is."""

_write_json = msgspec.json.Encoder().encode


def select_rows(db: apsw.Connection, clauses: str, bindings: Sequence[Any]) -> list[JobRow]:
    """The jobs that these clauses find; the table is called ``j``."""
    rows = (to_row(raw) for raw in db.execute(f"{_SELECT} {clauses}", bindings))
    return [row for row in rows if row is not None]


def get(db: apsw.Connection, ids: Sequence[UUID]) -> list[JobRow | None]:
    """The jobs in the order asked for."""
    packed = _write_json([id.hex for id in ids]).decode()
    rows = select_rows(db, "where j.id in (select unhex(value) from json_each(?))", (packed,))
    found = {row.id: row for row in rows}
    return [found.get(id) for id in ids]


def find(db: apsw.Connection, where: JobFilter, limit: int, before: int | None, now: float) -> list[JobRow]:
    """A page of jobs, newest first."""
    clauses, bindings = _restrict(where, before, now)
    restriction = " and ".join(clauses) or "true"
    return select_rows(db, f"where {restriction} order by j.sequence desc limit ?", (*bindings, limit))


def counts(db: apsw.Connection) -> list[TaskCount]:
    """The number of jobs in each state, from the counters: nothing is scanned."""
    rows = db.execute(_COUNTS)
    return [TaskCount(read_text(q), read_text(t), STATES[state], int(count)) for q, t, state, count in rows if state in STATES]


def families(db: apsw.Connection, ids: Sequence[UUID]) -> list[Family]:
    """The children of each of these jobs, taken together."""
    packed = _write_json([id.hex for id in dict.fromkeys(ids)]).decode()
    counts: dict[bytes, dict[JobState, int]] = defaultdict(dict)
    shares: dict[bytes, float] = defaultdict(float)

    for parent, state, count in db.execute(_CHILDREN, (packed,)):
        known = STATES.get(state, JobState.FAILED)
        counts[parent][known] = counts[parent].get(known, 0) + count
        shares[parent] += count if known.final else 0.0

    for parent, progress in db.execute(_CHILDREN_RUNNING, (packed,)):
        shares[parent] += share_done(JobState.RUNNING, progress)

    return [Family(counts.get(id.bytes, {}), shares.get(id.bytes, 0.0)) for id in ids]


def workers(db: apsw.Connection, uptime: float) -> list[WorkerInfo]:
    """The sessions whose lease has not ended, oldest first. One whose processes are gone ends soon, whatever its lease is."""
    cut = read_last(db).cut
    rows = db.execute(_WORKERS, (uptime, BOOT_ID))
    alive = [
        WorkerInfo(
            session=read_info(info, read_text(id)),
            expires_in=min(left, max(0.0, cut[number] + PATIENCE - uptime)) if number in cut else left,
            running=running,
        )
        for number, id, info, left, running in rows
    ]
    return sorted(alive, key=lambda worker: worker.session.started_at)


def pause(write: Write, scope: PauseScope, paused: bool) -> None:
    """Close or open the lanes of this scope."""
    key = write_scope(scope)

    if paused:
        write.run("insert or ignore into pauses (scope) values (?)", (key,))
    else:
        write.run("delete from pauses where scope = ?", (key,))
        write.bells.topics.add(Topic.READY)


def list_paused(db: apsw.Connection) -> list[PauseScope]:
    """The pauses that hold now."""
    rows = db.execute("select cast(scope as blob) from pauses order by scope")
    return read_scopes(scope for (scope,) in rows)


def _restrict(where: JobFilter, before: int | None, now: float) -> tuple[list[str], list[Any]]:
    clauses: list[str] = []
    bindings: list[Any] = []

    if where.id_begins:
        clauses.append("j.id between ? and ?")
        bindings += (bytes.fromhex(where.id_begins.ljust(32, end)) for end in "0f")

    if where.id_ends:
        clauses.append(_ENDS)
        bindings += (-len(where.id_ends), where.id_ends.upper())

    if where.owner is not None:
        clauses.append("j.owner = ?")
        bindings.append(where.owner)

    if where.parent is not None:
        clauses.append("j.parent = ?")
        bindings.append(where.parent.bytes)

    if where.awaited_by is not None:
        clauses.append(_AWAITED_BY)
        bindings.append(where.awaited_by.bytes)

    if where.holds is not None:
        clauses.append(_HOLDS)
        bindings += (where.holds, now)

    if where.unfinished:
        clauses.append(f"j.state <= {RUNNING}")  # word for word as in the index

    if before is not None:
        clauses.append("j.sequence < ?")
        bindings.append(before)

    if where.states:
        clauses.append(_in_states([CODES[state] for state in where.states]))

    lanes = _lane_clauses(where)

    if lanes:
        clauses.append(f"+j.lane in (select number from lanes where {' and '.join(lanes)})")
        bindings += lanes.values()

    return clauses, bindings


def _lane_clauses(where: JobFilter) -> dict[str, str]:
    """The condition on the lane, with the values to bind."""
    clauses: dict[str, str] = {}

    if where.queue is not None:
        clauses["queue = ?"] = where.queue

    if where.task is not None:
        clauses["task = ?"] = where.task

    if where.limit is not None:
        clauses[_COUNTS_FOR] = where.limit

    return clauses


def _in_states(codes: Sequence[int]) -> str:
    """Few jobs run, and few end badly: these have indexes. All others are soonest found by going back from the newest."""
    if codes == [RUNNING]:
        return "j.sequence in (select sequence from jobs indexed by jobs_running where state = 4)"

    if min(codes) >= FAILED:
        return f"{_one_of('j.state', codes)} and j.state >= {FAILED}"

    return _one_of("+j.state", codes)


def _one_of(column: str, numbers: Sequence[int]) -> str:
    return f"{column} in ({', '.join(map(str, sorted(numbers)))})"
