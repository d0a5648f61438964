"""Settlements and reports that workers write about their attempts. Nothing is written without the current token."""

from __future__ import annotations

from collections import deque
from typing import Any

from msgspec.structs import asdict

from cherga.brokers.memory.ending import end, end_unasked, make_ready, make_ready_at, release_page
from cherga.brokers.memory.families import cancel_orphans
from cherga.brokers.memory.pushing import push_group
from cherga.brokers.memory.store import Store
from cherga.rules.attempts import Counters, with_attempt
from cherga.rules.keeping import bounded
from cherga.words.job import JobRow, JobState, Reason
from cherga.words.report import EVENTS_KEPT, LiveEvent, Report
from cherga.words.settlement import Charge, Settled, Settlement


def settle(store: Store, settlement: Settlement, now: float) -> Settled:
    """Write the settlement if its token is the current one."""
    row = store.rows.get(settlement.id)

    if row is None:
        return Settled.WRITTEN if settlement.token in store.forgotten else Settled.REFUSED

    if row.token != settlement.token:
        return Settled.REFUSED

    if row.state is not JobState.RUNNING:
        return Settled.WRITTEN  # the token outlives its attempt until the next claim: this is a repeated call

    if settlement.charge is Charge.REFUND and settlement.to is JobState.READY:
        store.book.take_start_back(row)

    kept = store.kinship.is_kept(row.id)
    after = _move_on(store, row, settlement, now)

    for group in settlement.children:
        push_group(store, group, now)

    release_page(store, row.id, now)
    cancel_orphans(store, now)

    if settlement.to.final and settlement.keep <= 0 and not kept:
        store.forget(after)

    return Settled.WRITTEN


def report(store: Store, report: Report) -> bool:
    """Store what a running job tells if its token is the current one."""
    row = store.rows.get(report.id)

    if row is None or row.state is not JobState.RUNNING or row.token != report.token:
        return False

    position = row.position

    for kind, data in report.events:
        position += 1
        _stream(store, row).append(LiveEvent(position, kind, data))

    store.change(row, position=position, **_last_values(report))
    return True


def counters_of(row: JobRow) -> Counters:
    """The attempts that the job has been through."""
    return Counters(row.attempt, row.crashes, row.interruptions)


def _move_on(store: Store, row: JobRow, settlement: Settlement, now: float) -> JobRow:
    fields = _new_values(row, settlement)

    if settlement.to.final:
        fields |= {"reason": settlement.reason, "result": settlement.result}
        return end(store, row, settlement.to, now, bounded(settlement.keep), **fields)

    if row.cancel_requested:  # asked for after the worker had decided
        return end_unasked(store, row, JobState.CANCELLED, Reason.ASKED, now, **fields | {"message": row.message})

    if settlement.to is JobState.SCHEDULED:
        at = now + (settlement.delay or 0.0)
        return make_ready_at(store, row, at, now, session=None, reason=settlement.reason, **fields)

    return make_ready(store, row, now, session=None, reason=settlement.reason, **fields)


def _new_values(row: JobRow, settlement: Settlement) -> dict[str, Any]:
    values = asdict(counters_of(row).charged(settlement.charge)) | _last_values(settlement)
    values["message"] = settlement.message or (row.message if settlement.to is JobState.CANCELLED else None)

    if settlement.charge is Charge.CRASH:
        values["suspect"] = 1  # who writes that down has run it apart

    if settlement.attempt:
        values["attempts"] = with_attempt(row.attempts, settlement.attempt)

    return values


def _last_values(source: Settlement | Report) -> dict[str, Any]:
    values = {"progress": source.progress, "meta": source.meta}
    return {name: value for name, value in values.items() if value is not None}


def _stream(store: Store, row: JobRow) -> deque[LiveEvent]:
    return store.streams.setdefault(row.id, deque(maxlen=EVENTS_KEPT))
