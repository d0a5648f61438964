"""Unique keys: what becomes of a job that finds its key held. Pure."""

from __future__ import annotations

from enum import Enum, auto
from uuid import UUID

from msgspec import Struct

from cherga.words.job import WAITING_STATES, JobState
from cherga.words.unique import OnConflict, Unique, UniqueWhile


class Rival(Struct, frozen=True):
    """The job that holds a key, or the one that gets it next."""

    id: UUID
    task: str
    state: JobState
    hold: UniqueWhile


class Meeting(Enum):
    """The ways in which two jobs with one unique key get along."""

    REFUSED = auto()
    """The new one is refused, and its group with it."""
    ANSWERED = auto()
    """The rival stands for the new one."""
    REPLACED = auto()
    """The rival stands for it, and takes over everything from it. Only a job of the same task can."""
    FOLLOWED = auto()
    """The new one is stored behind the rival, which runs. Only a job of the same task can be."""


def meet(unique: Unique, rival: Rival) -> Meeting:
    """The outcome for a job with this key."""
    match unique.conflict:
        case OnConflict.REFUSE:
            return Meeting.REFUSED
        case OnConflict.REPLACE | OnConflict.LATEST if rival.state in WAITING_STATES:
            return Meeting.REPLACED
        case OnConflict.LATEST if _will_let_go(unique, rival):
            return Meeting.FOLLOWED
        case _:
            return Meeting.ANSWERED


def _will_let_go(unique: Unique, rival: Rival) -> bool:
    """True when the rival runs, and its end frees the key: a period goes on after it."""
    return rival.state is JobState.RUNNING and UniqueWhile.PERIOD not in (unique.hold, rival.hold)
