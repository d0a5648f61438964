"""A job as a write transaction holds it in hand, and what an attempt costs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct, structs

from cherga.brokers.sqlite.rows import Ties, read_head, unpack_ties
from cherga.brokers.sqlite.write import Write
from cherga.words.job import ATTEMPTS_KEPT, Attempt
from cherga.words.push import JobHead
from cherga.words.settlement import Charge

_HELD = """
select sequence, id, state, lane, attempt, crashes, interruptions, traits, cancel, pending, token, run_at, started_at,
    expires_at, ties, head, attempts from jobs
"""

_pack = msgspec.msgpack.Encoder().encode
_read_history = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class Held(Struct, frozen=True):
    """What a change of state needs to know of a job."""

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
        """What was set at enqueue."""
        return read_head(self.packed_head)

    def charged(self, charge: Charge) -> Held:
        """The job with this attempt charged."""
        match charge:
            case Charge.ATTEMPT:
                return self
            case Charge.REFUND:
                return structs.replace(self, attempt=max(0, self.attempt - 1))
            case Charge.INTERRUPTION:
                return structs.replace(self, attempt=max(0, self.attempt - 1), interruptions=self.interruptions + 1)
            case Charge.CRASH:
                return structs.replace(self, crashes=self.crashes + 1)

    def fenced(self) -> Held:
        """The job without its token: the attempt that had it can write nothing any more."""
        return structs.replace(self, token=None)

    def remembering(self, attempt: Attempt | None) -> Held:
        """The job with this attempt added to its history."""
        return self if attempt is None else structs.replace(self, history=append_attempt(self.history, attempt))


def find_held(write: Write, sequence: int) -> Held | None:
    """The job of that sequence; None when it is not kept."""
    return next(select_held(write, "where sequence = ?", (sequence,)), None)


def select_held(write: Write, where: str, bindings: Sequence[Any]) -> Iterator[Held]:
    """The jobs that a ``where`` clause finds, all read before the first is returned."""
    return iter([Held(*row) for row in write.rows(f"{_HELD} {where}", bindings)])


def append_attempt(history: bytes | None, attempt: Attempt) -> bytes:
    """The packed history with one attempt more; only the last ten are kept."""
    if history is None:
        return _pack((attempt,))

    try:
        kept = _read_history(history)
    except msgspec.DecodeError:
        kept = []

    return _pack([*kept, attempt][-ATTEMPTS_KEPT:])
