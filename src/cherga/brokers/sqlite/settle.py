"""Writing what became of attempts.

Most jobs end at their first attempt, hold no key and are awaited by nobody: those are written together, few statements for
many, and so are those with such ties (``together.py``). All others are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

from cherga.brokers.sqlite.endings import Ending, Return, end, forget, put_back
from cherga.brokers.sqlite.held import Held, find_held
from cherga.brokers.sqlite.push import push_groups
from cherga.brokers.sqlite.rates import take_start_back
from cherga.brokers.sqlite.releases import release_ended
from cherga.brokers.sqlite.rows import CANCELLED, CODES, RUNNING
from cherga.brokers.sqlite.together import end_plain, end_tied
from cherga.brokers.sqlite.write import Write
from cherga.rules.keeping import bounded
from cherga.words.job import FINAL_STATES, JobState, Reason
from cherga.words.settlement import Charge, Settled, Settlement


def settle_together(write: Write, settlements: Sequence[Settlement], plain: dict[int, int]) -> list[Settled]:
    """Write all; the lanes of those claimed as ``plain`` are known by token.

    ``NotPlain`` when one of these turns out to be another's by now, or to be awaited: then nothing may be kept of this.
    """
    written = _end_simple(write, settlements, plain)
    answers = [Settled.WRITTEN if place in written else _settle(write, one) for place, one in enumerate(settlements)]
    release_ended(write)
    return answers


def _end_simple(write: Write, settlements: Sequence[Settlement], plain: dict[int, int]) -> set[int]:
    """Write together what can be; return the places of these."""
    simple = [
        place
        for place, one in enumerate(settlements)
        if one.to in FINAL_STATES and one.charge is Charge.ATTEMPT and not one.children
    ]
    untied = [place for place in simple if settlements[place].token in plain]
    tied = [place for place in simple if settlements[place].token not in plain] if len(untied) < len(simple) else []
    end_plain(write, [settlements[place] for place in untied], plain)
    ended = end_tied(write, [settlements[place] for place in tied])
    return {*untied, *compress(tied, ended)}


def _settle(write: Write, settlement: Settlement) -> Settled:
    held = find_held(write, settlement.sequence)

    if held is None:
        return _recall(write, settlement)

    if held.token != settlement.token:
        return Settled.REFUSED

    if held.state != RUNNING:
        return Settled.WRITTEN

    if settlement.charge is Charge.REFUND and settlement.to is JobState.READY:
        take_start_back(write, held)

    _move_on(write, held.counted(held.counters.charged(settlement.charge)).remembering(settlement.attempt), settlement)
    push_groups(write, settlement.children)

    if settlement.to.final and settlement.keep <= 0:
        forget(write, [held.sequence])

    return Settled.WRITTEN


def _move_on(write: Write, held: Held, settlement: Settlement) -> None:
    if settlement.to.final:
        end(write, held, _ending(settlement))
    elif held.cancel:  # asked for after the worker had decided to try again
        progress, meta = settlement.progress, settlement.meta
        end(write, held, Ending(to=CANCELLED, reason=Reason.ASKED, progress=progress, meta=meta))
    else:
        put_back(write, held, _return(settlement))


def _ending(settlement: Settlement) -> Ending:
    return Ending(
        to=CODES[settlement.to],
        reason=settlement.reason,
        message=settlement.message,
        result=settlement.result,
        progress=settlement.progress,
        meta=settlement.meta,
        kept=bounded(settlement.keep),
    )


def _return(settlement: Settlement) -> Return:
    return Return(
        suspect=1 if settlement.charge is Charge.CRASH else None,
        delay=(settlement.delay or 0.0) if settlement.to is JobState.SCHEDULED else None,
        reason=settlement.reason,
        message=settlement.message,
        progress=settlement.progress,
        meta=settlement.meta,
    )


def _recall(write: Write, settlement: Settlement) -> Settled:
    token = write.value("select token from forgotten where sequence = ?", (settlement.sequence,))
    return Settled.WRITTEN if token == settlement.token else Settled.REFUSED
