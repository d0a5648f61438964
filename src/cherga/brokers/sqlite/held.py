"""A job as a write transaction holds it in hand, and what an attempt costs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from msgspec import Struct, structs

from cherga.brokers.sqlite.rows import Ties, read_head, unpack_ties
from cherga.brokers.sqlite.write import Write
from cherga.rules.attempts import Counters, with_attempt
from cherga.words.job import Attempt
from cherga.words.push import JobHead

_HELD = """
select sequence, id, state, lane, attempt, crashes, interruptions, traits, cancel, pending, token, run_at, started_at,
    expires_at, ties, head, attempts from jobs
"""


class Held(Struct, frozen=True):
    """The facts about a job that a change of state needs."""

    sequence: int
    packed_id: bytes
    state: int
    lane: int
    attempt: int
    crashes: int
    interruptions: int
    traits: int
    cancel: int
    pending: int
    token: int | None
    run_at: float | None
    started_at: float | None
    expires_at: float | None
    packed_ties: bytes | None
    packed_head: bytes | None
    history: bytes | None

    @property
    def id(self) -> UUID:
        """The job's id, all zeros for one that cannot be read."""
        return UUID(bytes=self.packed_id.ljust(16, b"\0")[:16])

    @property
    def ties(self) -> Ties:
        """Its unique key and limit keys."""
        return unpack_ties(self.packed_ties)

    @property
    def head(self) -> JobHead:
        """The values that were set at enqueue."""
        return read_head(self.packed_head)

    @property
    def counters(self) -> Counters:
        """The attempts that it has been through."""
        return Counters(self.attempt, self.crashes, self.interruptions)

    def counted(self, counters: Counters) -> Held:
        """The job with these counters."""
        return structs.replace(self, **structs.asdict(counters))

    def fenced(self) -> Held:
        """The job without its token: the attempt that had it can write nothing any more."""
        return structs.replace(self, token=None)

    def remembering(self, attempt: Attempt | None) -> Held:
        """The job with this attempt added to its history."""
        return self if attempt is None else structs.replace(self, history=with_attempt(self.history, attempt))


def find_held(write: Write, sequence: int) -> Held | None:
    """The job of that sequence; None when it is not kept."""
    return next(select_held(write, "where sequence = ?", (sequence,)), None)


def select_held(write: Write, where: str, bindings: Sequence[Any]) -> Iterator[Held]:
    """The jobs that a ``where`` clause finds, all read before the first is returned."""
    return iter([Held(*row) for row in write.rows(f"{_HELD} {where}", bindings)])
