"""Cancelling: what has not begun ends here and is told here; what runs is asked to stop, and its worker tells the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from cherga.client.signals import Event, Signals
from cherga.doors.broker import FullBroker
from cherga.words.job import JobRow, JobState


class CancelSource(Protocol):
    """The parts of an application that cancelling needs."""

    @property
    def broker(self) -> FullBroker: ...
    @property
    def on(self) -> Signals: ...


def cancel(source: CancelSource, ids: Sequence[UUID], message: str | None = None, family: bool = False) -> list[UUID]:
    """Cancel these jobs, and tell it of those that had not begun. Returns those that it touched. ``family``: see below."""
    touched, events = cancel_untold(source, ids, message, family)
    tell(source, events)
    return touched


def cancel_untold(
    source: CancelSource, ids: Sequence[UUID], message: str | None, family: bool = False
) -> tuple[list[UUID], list[Event]]:
    """The same, with what there is to tell left to the caller; ``family``: their children too."""
    touched = source.broker.move(ids, JobState.CANCELLED, message, family)
    rows = source.broker.get(touched) if touched and source.on.cancelled.handlers else []
    return touched, [_event(row) for row in rows if row is not None and _ended_unbegun(row)]


def tell(source: CancelSource, events: Sequence[Event]) -> None:
    """Tell these ends to whoever listens here."""
    for event in events:
        source.on.cancelled.send(event)


def _ended_unbegun(row: JobRow) -> bool:
    """True for a job that was cancelled before it ran: one that ran was marked first, and keeps the mark."""
    return row.state is JobState.CANCELLED and not row.cancel_requested


def _event(row: JobRow) -> Event:
    return Event("cancelled", row.id, row.task, row.state, row.attempt)
