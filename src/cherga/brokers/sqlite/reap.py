"""Ending sessions that are dead, and freeing their jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from cherga.brokers.sqlite.endings import Ending, Return, end, put_back
from cherga.brokers.sqlite.held import Held, select_held
from cherga.brokers.sqlite.leases import is_of_another_boot, read_info
from cherga.brokers.sqlite.lifelines import Lifelines
from cherga.brokers.sqlite.notices import note
from cherga.brokers.sqlite.rates import take_start_back
from cherga.brokers.sqlite.releases import release_ended
from cherga.brokers.sqlite.rows import CODES
from cherga.brokers.sqlite.spoilt import read_text
from cherga.brokers.sqlite.sweeps import Sweep, note_sweep
from cherga.brokers.sqlite.write import Write
from cherga.rules.deaths import Victim, fate_of, runs_once
from cherga.rules.reading import read_or
from cherga.words.job import JobState
from cherga.words.session import Death
from cherga.words.settlement import Charge

LONGEST_LEASE = 2 * 86_400.0
"""Seconds. No heartbeat has written a lease that ends later than this."""

_RUNNING_IN = "indexed by jobs_running where state = 4 and session = ? limit ?"

_pack = msgspec.msgpack.Encoder().encode
_read_tokens = msgspec.json.Decoder(list[int | None]).decode
_read_death = msgspec.msgpack.Decoder(Death).decode


class Session(Struct, frozen=True):
    """A stored session."""

    number: int
    id: str
    boot: str
    expires: float
    inode: int | None
    info: bytes
    death: bytes | None


class Reaped(Struct, frozen=True):
    """The jobs that were freed, and the sessions that are still kept."""

    freed: list[UUID]
    kept: set[str]


def reap(write: Write, deaths: Sequence[Death], limit: int, lifelines: Lifelines) -> Reaped:
    """End the sessions named and those provably dead. A session goes with its last job, perhaps in a later call.

    One whose lifeline is cut is given ``PATIENCE``: only who started its process knows whether it was told to end.
    """
    named = {death.session: death for death in deaths}
    sessions = list(_sessions(write))
    sweep = note_sweep(write, [session.number for session in sessions if lifelines.is_cut(session.id, session.inode)])
    reaped = Reaped([], set())

    for session in sessions:
        death = _known_death(session) or _new_death(write, session, named.get(session.id), sweep, lifelines)

        if death is None or not _end(write, session, death, limit - len(reaped.freed), reaped.freed):
            reaped.kept.add(session.id)

    release_ended(write)
    return reaped


def _sessions(write: Write) -> Iterator[Session]:
    rows = write.rows(
        "select number, cast(id as blob), cast(boot as blob), expires, inode, info, death from sessions order by number"
    )
    return (Session(number, read_text(id), read_text(boot), *rest) for number, id, boot, *rest in rows)


def _known_death(session: Session) -> Death | None:
    return None if session.death is None else read_or(_read_death, session.death, Death(session.id))


def _new_death(write: Write, session: Session, named: Death | None, sweep: Sweep, lifelines: Lifelines) -> Death | None:
    """The death, if the session has ended, and what had begun. A black box does not outlive its machine's power."""
    restarted = is_of_another_boot(session.boot, session.expires, sweep.at, write.settings.lease)
    death = named or _find_death(session, sweep, restarted)
    return death if death is None or restarted else death.knowing(lifelines.read_box(session.id, session.inode))


def _find_death(session: Session, sweep: Sweep, restarted: bool) -> Death | None:
    lapsed = not sweep.is_patient() and not sweep.at < session.expires <= sweep.at + LONGEST_LEASE
    dead = lapsed or restarted or sweep.is_gone(session.number)
    return Death(session.id, lost=True) if dead else None


def _end(write: Write, session: Session, death: Death, limit: int, freed: list[UUID]) -> bool:
    """Free at most ``limit`` jobs of the session, and delete it when those were all; False when it is still kept."""
    worker = read_info(session.info, session.id).worker
    death = death if death.company else replace(death, company=_count_begun(write, session, death))
    jobs = list(select_held(write, _RUNNING_IN, (session.number, limit + 1)))

    for held in jobs[:limit]:
        _free(write, held, death, worker)
        freed.append(held.id)

    if len(jobs) > limit:
        write.run("update sessions set death = ? where number = ?", (_pack(death), session.number))
    else:
        write.run(
            "insert or replace into past_sessions (number, id, ended) values (?, ?, ?)", (session.number, session.id, write.now)
        )
        write.run("delete from sessions where number = ?", (session.number,))

    return len(jobs) <= limit


def _count_begun(write: Write, session: Session, death: Death) -> int:
    running = write.value(f"select json_group_array(token) from jobs {_RUNNING_IN}", (session.number, -1))
    return sum(_began(token, death) for token in _read_tokens(running))


def _free(write: Write, held: Held, death: Death, worker: str) -> None:
    fate = fate_of(_victim(write, held, death, worker), write.settings, write.now)
    freed = held.fenced().counted(fate.counters).remembering(fate.attempt)

    if fate.charge is Charge.REFUND:
        take_start_back(write, held)

    error = fate.attempt.error if fate.attempt else None

    if fate.to.final:
        end(write, freed, Ending(to=CODES[fate.to], reason=fate.reason, message=fate.message, error=error))
    else:
        note(write, freed, CODES[fate.to], fate.reason, None, error)
        delay = fate.delay if fate.to is JobState.SCHEDULED else None
        put_back(write, freed, Return(delay=delay, suspect=fate.suspect, reason=fate.reason))


def _began(token: int | None, death: Death) -> bool:
    return death.started is None or token in death.started


def _victim(write: Write, held: Held, death: Death, worker: str) -> Victim:
    lane = write.lanes.get(write.db, held.lane)
    return Victim(
        counters=held.counters,
        began=_began(held.token, death),
        orderly=death.orderly,
        lost=death.lost,
        company=death.company,
        suspect=lane.suspect if lane else 0,
        cancelling=bool(held.cancel),
        once=runs_once(held.token, held.head, death),
        worker=worker,
        started_at=held.started_at,
        history=held.history,
    )
