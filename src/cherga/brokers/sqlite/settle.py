"""Writing what became of attempts.

Most jobs end at their first attempt, hold no key and are awaited by nobody: those are written together, few statements for
many. All others are looked at one by one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import msgspec

from cherga.brokers.sqlite.endings import Ending, Return, end, forget, put_back
from cherga.brokers.sqlite.held import Held, find_held
from cherga.brokers.sqlite.push import push_groups
from cherga.brokers.sqlite.releases import release_ended
from cherga.brokers.sqlite.rows import CANCELLED, CODES, ENTANGLED, HAS_EVENTS, HAS_HISTORY, RUNNING
from cherga.brokers.sqlite.write import Write
from cherga.words.job import Charge, JobState, Reason, Settled, Settlement

_PLAIN = f"""
update jobs set
    state = ?1, finished_at = ?2, prune_at = ?2 + ?3, reason = new.column3, result = new.column4,
    message = iif(?1 = 7, ifnull(new.column5, message), new.column5),
    progress = ifnull(new.column6, progress), meta = ifnull(new.column7, meta),
    attempts = new.column8, traits = traits | iif(new.column8 is null, 0, {HAS_HISTORY}),
    position = position + 1
from (values """
_PLAIN_ROW = "(?, ?, ?, ?, ?, ?, ?, ?)"
_PLAIN_TAIL = f""") as new
where jobs.sequence = new.column1 and jobs.token = new.column2 and jobs.state = {RUNNING} and jobs.traits & {ENTANGLED} = 0
"""

_FORGET = """
delete from jobs where sequence in (
    select j.sequence from (values """
_FORGET_ROW = "(?, ?)"
_FORGET_TAIL = f""") as new cross join jobs as j on j.sequence = new.column1 and j.token = new.column2
    where j.state = {RUNNING} and j.traits & {ENTANGLED | HAS_EVENTS} = 0
)
"""
_REMEMBER = "insert or replace into forgotten (sequence, token, at) values "

_pack = msgspec.msgpack.Encoder().encode


class NotPlain(Exception):
    """Something else has touched one of the jobs that were to be written together."""


def settle_together(write: Write, settlements: Sequence[Settlement], plain: dict[int, int]) -> list[Settled]:
    """Write all; those claimed as ``plain`` (their lanes by token) few statements for many.

    ``NotPlain`` when one of these turns out to be another's by now, or to be awaited: then nothing may be kept of this.
    """
    batches: dict[tuple[JobState, float], list[Settlement]] = defaultdict(list)
    rest: list[int] = []

    for place, settlement in enumerate(settlements):
        if settlement.token in plain and _is_plain(settlement):
            batches[settlement.to, settlement.keep].append(settlement)
        else:
            rest.append(place)

    for (to, keep), batch in batches.items():
        if keep > 0:
            _end_plain(write, CODES[to], keep, batch, plain)
        else:
            _forget_plain(write, batch, plain)

    answers = [Settled.WRITTEN] * len(settlements)

    for place in rest:
        answers[place] = _settle(write, settlements[place])

    release_ended(write)
    return answers


def settle_singly(write: Write, settlements: Sequence[Settlement]) -> list[Settled]:
    """Write each after a look at its job."""
    answers = [_settle(write, settlement) for settlement in settlements]
    release_ended(write)
    return answers


def _is_plain(settlement: Settlement) -> bool:
    return settlement.to.final and settlement.charge is Charge.ATTEMPT and not settlement.children


def _end_plain(write: Write, to: int, keep: float, batch: Sequence[Settlement], plain: dict[int, int]) -> None:
    rows = [
        (
            one.sequence,
            one.token,
            one.reason and one.reason.value,
            one.result,
            one.message,
            one.progress,
            one.meta,
            one.attempt and _pack((one.attempt,)),
        )
        for one in batch
    ]

    if write.run_chunks(_PLAIN, _PLAIN_ROW, _PLAIN_TAIL, (to, write.now, keep), rows) != len(rows):
        raise NotPlain

    for lane, number in Counter([plain[one.token] for one in batch]).items():
        write.count(lane, RUNNING, -number)
        write.count(lane, to, number)

    write.bells.jobs += [one.id for one in batch]


def _forget_plain(write: Write, batch: Sequence[Settlement], plain: dict[int, int]) -> None:
    """Those that are not to be kept are deleted in the write that ends them."""
    rows = [(one.sequence, one.token) for one in batch]

    if write.run_chunks(_FORGET, _FORGET_ROW, _FORGET_TAIL, (), rows) != len(rows):
        raise NotPlain

    write.run_chunks(_REMEMBER, "(?, ?, ?)", "", (), [(*row, write.now) for row in rows])

    for lane, number in Counter([plain[one.token] for one in batch]).items():
        write.count(lane, RUNNING, -number)

    write.bells.jobs += [one.id for one in batch]


def _settle(write: Write, settlement: Settlement) -> Settled:
    held = find_held(write, settlement.sequence)

    if held is None:
        return _recall(write, settlement)

    if held.token != settlement.token:
        return Settled.REFUSED

    if held.state != RUNNING:
        return Settled.WRITTEN

    ended = _move_on(write, held.charged(settlement.charge).remembering(settlement.attempt), settlement)
    push_groups(write, settlement.children)

    if ended and settlement.keep <= 0:
        forget(write, held.sequence)

    return Settled.WRITTEN


def _move_on(write: Write, held: Held, settlement: Settlement) -> bool:
    """True when the job has ended."""
    if settlement.to.final:
        end(write, held, _ending(settlement, CODES[settlement.to], settlement.reason))
    elif held.cancel:  # asked for after the worker had decided to try again
        end(write, held, _ending(settlement, CANCELLED, Reason.ASKED))
    else:
        put_back(write, held, _return(settlement))

    return settlement.to.final or bool(held.cancel)


def _ending(settlement: Settlement, to: int, reason: Reason | None) -> Ending:
    return Ending(
        to=to,
        reason=reason,
        message=settlement.message,
        result=settlement.result,
        progress=settlement.progress,
        meta=settlement.meta,
        kept=settlement.keep,
    )


def _return(settlement: Settlement) -> Return:
    return Return(
        delay=(settlement.delay or 0.0) if settlement.to is JobState.SCHEDULED else None,
        reason=settlement.reason,
        message=settlement.message,
        progress=settlement.progress,
        meta=settlement.meta,
    )


def _recall(write: Write, settlement: Settlement) -> Settled:
    token = write.value("select token from forgotten where sequence = ?", (settlement.sequence,))
    return Settled.WRITTEN if token == settlement.token else Settled.REFUSED
