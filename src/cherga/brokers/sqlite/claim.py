"""Handing out ready jobs.

A claim looks once at the heads of all lanes that hold ready jobs, keeps the open ones, takes the best of them, and reads
what it took. However many jobs stand in closed lanes, they are never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import msgspec
from msgspec import Struct

from cherga.brokers.sqlite.choosing import Choice, PlainChoice, choose
from cherga.brokers.sqlite.declared import RULES_VERSION, Rules
from cherga.brokers.sqlite.holds import bring_back, read_scopes
from cherga.brokers.sqlite.lanes import FILLED, KEYED, Lane, Lanes
from cherga.brokers.sqlite.offers import Picker
from cherga.brokers.sqlite.stands import Stand, find_stands
from cherga.brokers.sqlite.taken import fail_malformed, read_taken
from cherga.brokers.sqlite.uniques import release_queued
from cherga.brokers.sqlite.write import Write
from cherga.rules.deaths import may_take_suspects
from cherga.rules.pausing import concerns
from cherga.words.claim import ClaimAnswer, ClaimedJob, ClaimWish
from cherga.words.shared import PauseScope

NOTHING = ClaimAnswer([])

_READY_LANES = f"""
with recursive {FILLED}
select json_group_array(lane), exists (select 1 from pauses) from filled where lane is not null
"""

_LOOK = f"""
with recursive {FILLED}
select
    (select number from sessions where id = ? and death is null),
    (select json_group_array(hex(scope)) from pauses),
    (select json_group_array(lane) from filled where lane is not null),
    exists (select 1 from uniques indexed by uniques_queued where hold = 'queued'),
    {RULES_VERSION}
"""

# Numbers are masked where they are raised, here and elsewhere: one that cannot be right breaks no batch.
_TAKE = """
update jobs set
    state = 4, session = ?1, token = random(), attempt = (attempt & 0x7fffffff) + 1,
    claims = (claims & 0xffffffffffff) + 1, position = (position & 0xffffffffffff) + 1,
    reason = null, started_at = ?2, first_started_at = ifnull(first_started_at, ?2)
where sequence in (select value from json_each(?3))
"""

_OCCUPIED = """
select
    (select count(*) from sessions where death is null),
    (
        select count(distinct session) from jobs indexed by jobs_running
        where state = 4 and session in (select number from sessions where death is null and number <> ?) and lane in (
            select c.lane from counters as c indexed by counters_running cross join lanes as l on l.number = c.lane
            where c.state = 4 and c.count > 0 and l.suspect > 0
        )
    )
"""

_read_scopes = msgspec.json.Decoder(list[str]).decode
_read_numbers = msgspec.json.Decoder(list[int]).decode
_write_numbers = msgspec.json.Encoder().encode


class Look(Struct, frozen=True):
    """The facts that a claim finds before it takes anything."""

    session: int
    lanes: dict[int, Lane]
    """The lanes with ready jobs that are not paused, by number; of those with limit keys none."""
    keyed: bool
    """True when jobs with limit keys are ready, or held by a pause with arguments."""
    scopes: list[PauseScope]
    """The pauses that hold."""
    rules: Rules
    queued_keys: bool
    """True when any job holds a unique key only while it is queued."""

    @property
    def holds(self) -> bool:
        """True when any pause is for certain arguments."""
        return any(scope.arguments is not None for scope in self.scopes)


def nothing_for(db: apsw.Connection, lanes: Lanes, wish: ClaimWish) -> ClaimAnswer | None:
    """The answer to a claim that would take nothing; None when that cannot be told by the lanes alone."""
    numbers, paused = db.execute(_READY_LANES).get

    if numbers == "[]":
        return NOTHING

    ready = [lanes.known(number) for number in _read_numbers(numbers)]

    if paused or any(lane is None or lane.suspect or _is_wished(lane, wish) for lane in ready):
        return None

    return ClaimAnswer(
        [], unknown=frozenset(lane.task for lane in ready if lane and lane.task not in wish.tasks and _is_open(lane, wish, ()))
    )


def claim(write: Write, wish: ClaimWish, plain: dict[int, int]) -> ClaimAnswer:
    """Take up to ``limit`` jobs for the session; an unregistered one gets nothing.

    Those whose end will be a change of their own row alone are noted in ``plain``, token and lane.
    """
    look = _look(write, wish)

    if look is None:
        return NOTHING

    found = _open_stands(write, wish, look) if look.keyed else []
    unknown = frozenset(lane.task for lane in [*look.lanes.values(), *found] if lane.task not in wish.tasks)
    lanes = {number: lane for number, lane in look.lanes.items() if lane.task in wish.tasks}
    stands = [lane for lane in found if lane.task in wish.tasks]

    if any(lane.suspect for lane in (*lanes.values(), *stands)) and not _may_take_suspects(write, look.session):
        lanes = {number: lane for number, lane in lanes.items() if not lane.suspect}
        stands = [lane for lane in stands if not lane.suspect]

    choice = _make_choice(write, look, lanes, stands, wish.limit)
    chosen = choice.pick_suspects(wish.limit) if wish.alone else []
    chosen = chosen or choose(write, wish, choice)
    again_in = choice.finish()
    jobs = _take(write, look, chosen, plain) if chosen else []
    return ClaimAnswer(jobs, choice.suspect_waits(), unknown, again_in)


def _may_take_suspects(write: Write, session: int) -> bool:
    return may_take_suspects(*write.row(_OCCUPIED, (session,)))


def _look(write: Write, wish: ClaimWish) -> Look | None:
    found = _find_ready(write, wish)

    if found is None or not found.keyed or not bring_back(write, found.scopes, wish.limit):
        return found

    return _find_ready(write, wish)


def _find_ready(write: Write, wish: ClaimWish) -> Look | None:
    session, paused, numbers, queued_keys, version = write.row(_LOOK, (wish.session,))

    if session is None:
        return None

    scopes = read_scopes(map(bytes.fromhex, _read_scopes(paused))) if paused != "[]" else []
    found = _read_numbers(numbers)
    keyed = bool(found) and found[-1] >= KEYED
    lanes = _open_lanes(write, wish, scopes, found[:-1] if keyed else found)
    return Look(session, lanes, keyed, scopes, write.rules.read(write.db, version), bool(queued_keys))


def _open_lanes(write: Write, wish: ClaimWish, scopes: Sequence[PauseScope], numbers: Sequence[int]) -> dict[int, Lane]:
    lanes: dict[int, Lane] = {}
    write.lanes.trim()

    for number in numbers:
        lane = write.lanes.get(write.db, number)

        if lane is None:
            _fail_lane(write, number)
        elif _is_open(lane, wish, scopes):
            lanes[number] = lane

    return lanes


def _fail_lane(write: Write, number: int) -> None:
    """Somebody wrote a lane that does not exist: nothing says what task these jobs are of."""
    for (sequence,) in write.rows("select sequence from jobs where state = 2 and lane = ? limit 100", (number,)):
        fail_malformed(write, sequence)


def _is_open(lane: Lane, wish: ClaimWish, paused: Sequence[PauseScope]) -> bool:
    if wish.queues and lane.queue not in wish.queues:
        return False

    return not any(scope.arguments is None and concerns(scope, lane.queue, lane.task) for scope in paused)


def _is_wished(lane: Lane, wish: ClaimWish) -> bool:
    return lane.task in wish.tasks and _is_open(lane, wish, ())


def _open_stands(write: Write, wish: ClaimWish, look: Look) -> list[Lane]:
    return [lane for lane in find_stands(write) if _is_open(lane, wish, look.scopes)]


def _make_choice(write: Write, look: Look, lanes: dict[int, Lane], stands: Sequence[Lane], limit: int) -> Choice:
    """The plain choice, unless limits, turns or pauses with arguments have a say."""
    if not stands and not look.holds and not (look.rules.in_force and any(map(look.rules.names, lanes.values()))):
        return PlainChoice(write, lanes)

    by_stand = {lane: Stand(lane, keyed=True) for lane in stands}

    for number, lane in lanes.items():
        place = Lane(lane.queue, lane.task, (), lane.suspect)
        by_stand.setdefault(place, Stand(place)).plain.append(number)

    return Picker(write, look.rules, look.scopes, list(by_stand.values()), limit)


def _take(write: Write, look: Look, chosen: Sequence[int], plain: dict[int, int]) -> list[ClaimedJob]:
    sequences = _write_numbers(chosen).decode()
    write.run(_TAKE, (look.session, write.now, sequences))

    if look.queued_keys:
        release_queued(write, sequences)

    jobs = read_taken(write, chosen, plain)
    write.bells.jobs += [job.id for job in jobs]
    return jobs
