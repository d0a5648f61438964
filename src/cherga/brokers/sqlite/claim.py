"""Handing out ready jobs.

A claim looks once at the heads of all lanes that hold ready jobs, keeps the open ones, takes the best of them, and reads
what it took. However many jobs stand in closed lanes, they are never looked at.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

import msgspec
from msgspec import Struct

from cherga.brokers.sqlite.lanes import Lane
from cherga.brokers.sqlite.taken import fail_malformed, read_taken
from cherga.brokers.sqlite.uniques import release_queued
from cherga.brokers.sqlite.write import Write
from cherga.words.job import ClaimAnswer, ClaimedJob, ClaimWish

NOTHING = ClaimAnswer([])

ANY_READY = "select exists (select 1 from jobs indexed by jobs_ready where state = 2)"

_LOOK = """
with recursive
    filled (lane) as (
        select min(lane) from jobs indexed by jobs_ready where state = 2
        union all
        select (select min(lane) from jobs indexed by jobs_ready where state = 2 and lane > filled.lane)
        from filled where lane is not null
    )
select
    (select number from sessions where id = ? and death is null),
    (select json_group_array(json(scope)) from pauses),
    (select json_group_array(lane) from filled where lane is not null),
    exists (select 1 from uniques indexed by uniques_queued where hold = 'queued')
"""

_HEADS_OF_ONE = """
select json_group_array(sequence) from (
    select sequence from jobs indexed by jobs_ready
    where state = 2 and lane = ?1 and (expires_at is null or expires_at > ?2) order by rank, place limit ?3
)
"""

_HEADS_OF_MANY = """
select json_group_array(sequence) from (
    select j.sequence from json_each(?1) as l cross join jobs as j on j.sequence in (
        select sequence from jobs indexed by jobs_ready
        where state = 2 and lane = l.value and (expires_at is null or expires_at > ?2) order by rank, place limit ?3
    ) order by j.rank, j.place limit ?3
)
"""

_SORTED = """
select json_group_array(sequence) from (
    select sequence from jobs where sequence in (select value from json_each(?)) order by rank, place
)
"""

_TAKE = """
update jobs set
    state = 4, session = ?1, token = random(), attempt = attempt + 1, claims = claims + 1, position = position + 1,
    reason = null, started_at = ?2, first_started_at = ifnull(first_started_at, ?2)
where sequence in (select value from json_each(?3))
"""

_read_scopes = msgspec.json.Decoder(list[tuple[str | None, str | None]]).decode
_read_numbers = msgspec.json.Decoder(list[int]).decode
_write_numbers = msgspec.json.Encoder().encode


class Look(Struct, frozen=True):
    """What a claim finds before it takes anything."""

    session: int
    lanes: dict[int, Lane]
    """The lanes with ready jobs that are not paused, by number."""
    queued_keys: bool
    """Whether any job holds a unique key only while it is queued."""


def claim(write: Write, wish: ClaimWish, plain: dict[int, int]) -> ClaimAnswer:
    """Take up to ``limit`` jobs for the session; an unregistered one gets nothing.

    Those whose end will be a change of their own row alone are noted in ``plain``, token and lane.
    """
    look = _look(write, wish)

    if look is None:
        return NOTHING

    known = {number: lane for number, lane in look.lanes.items() if lane.task in wish.tasks}
    unknown = frozenset(lane.task for lane in look.lanes.values() if lane.task not in wish.tasks)
    suspects = {number: lane for number, lane in known.items() if lane.suspect}
    others = {number: lane for number, lane in known.items() if not lane.suspect}
    chosen = _choose(write, wish, suspects, min(1, wish.limit)) if wish.alone else []
    chosen = chosen or _choose(write, wish, others, wish.limit)
    jobs = _take(write, look, chosen, plain) if chosen else []
    return ClaimAnswer(jobs, _still_waiting(write, suspects), unknown)


def _look(write: Write, wish: ClaimWish) -> Look | None:
    session, scopes, numbers, queued_keys = write.row(_LOOK, (wish.session,))

    if session is None:
        return None

    paused = frozenset(_read_scopes(scopes))
    lanes: dict[int, Lane] = {}

    for number in _read_numbers(numbers):
        lane = write.lanes.get(write.db, number)

        if lane is None:
            _fail_lane(write, number)
        elif _is_open(lane, wish, paused):
            lanes[number] = lane

    return Look(session, lanes, bool(queued_keys))


def _fail_lane(write: Write, number: int) -> None:
    """Somebody wrote a lane that does not exist: nothing says what task these jobs are of."""
    for (sequence,) in write.rows("select sequence from jobs where state = 2 and lane = ? limit 100", (number,)):
        fail_malformed(write, sequence)


def _is_open(lane: Lane, wish: ClaimWish, paused: frozenset[tuple[str | None, str | None]]) -> bool:
    if wish.queues and lane.queue not in wish.queues:
        return False

    if not paused:
        return True

    scopes = {(None, None), (lane.queue, None), (None, lane.task), (lane.queue, lane.task)}
    return paused.isdisjoint(scopes)


def _choose(write: Write, wish: ClaimWish, lanes: dict[int, Lane], limit: int) -> list[int]:
    """Sequences of the jobs to take, best first."""
    if not lanes or limit <= 0:
        return []

    if not wish.queues:
        return _heads(write, lanes, limit)

    by_queue = [[number for number, lane in lanes.items() if lane.queue == queue] for queue in wish.queues]

    if any(wish.weights):
        return _choose_by_weight(write, lanes, by_queue, wish.weights, limit)

    return _choose_in_order(write, by_queue, limit)


def _choose_in_order(write: Write, by_queue: Sequence[Sequence[int]], limit: int) -> list[int]:
    chosen: list[int] = []

    for numbers in by_queue:
        if len(chosen) < limit:
            chosen += _heads(write, numbers, limit - len(chosen))

    return chosen


def _choose_by_weight(
    write: Write, lanes: dict[int, Lane], by_queue: Sequence[Sequence[int]], weights: Sequence[int], limit: int
) -> list[int]:
    """Each queue gets its share of the limit, and the others what it cannot use; best first among all that are chosen."""
    shared: dict[int, None] = {}

    for numbers, share in zip(by_queue, share_out(limit, weights), strict=True):
        shared.update(dict.fromkeys(_heads(write, numbers, share)))

    if len(shared) < limit:
        shared.update(dict.fromkeys(_heads(write, lanes, 2 * limit)))

    return _in_order(write, list(shared)[:limit])


def share_out(limit: int, weights: Sequence[int], chance: Callable[[int], int] = random.randrange) -> list[int]:
    """The limit split by weight. What does not divide falls to queues by chance, so that over time each gets its share."""
    total = sum(weights)
    shares = [limit * weight // total for weight in weights]
    tickets = [place for place, weight in enumerate(weights) for _ in range(weight)]

    for _ in range(limit - sum(shares)):
        shares[tickets[chance(total)]] += 1

    return shares


def _in_order(write: Write, sequences: Sequence[int]) -> list[int]:
    chosen = _write_numbers(sequences).decode()
    return _read_numbers(write.value(_SORTED, (chosen,)))


def _heads(write: Write, numbers: Iterable[int], limit: int) -> list[int]:
    lanes = list(numbers)

    if not lanes:
        return []

    if len(lanes) == 1:
        found = write.value(_HEADS_OF_ONE, (lanes[0], write.now, limit))
    else:
        found = write.value(_HEADS_OF_MANY, (_write_numbers(lanes).decode(), write.now, limit))

    return _read_numbers(found)


def _take(write: Write, look: Look, chosen: Sequence[int], plain: dict[int, int]) -> list[ClaimedJob]:
    sequences = _write_numbers(chosen).decode()
    write.run(_TAKE, (look.session, write.now, sequences))

    if look.queued_keys:
        release_queued(write, sequences)

    jobs = read_taken(write, chosen, plain)
    write.bells.jobs += [job.id for job in jobs]
    return jobs


def _still_waiting(write: Write, suspects: Iterable[int]) -> bool:
    """Whether one of these lanes still holds ready jobs."""
    return any(
        write.value("select exists (select 1 from jobs indexed by jobs_ready where state = 2 and lane = ?)", (number,))
        for number in suspects
    )
