"""The cost of an attempt for its job, and the memory of it. Pure."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from cherga.rules.options import MOST
from cherga.rules.reading import read_or
from cherga.words.job import ATTEMPTS_KEPT, Attempt, Reason
from cherga.words.settlement import Charge

_pack = msgspec.msgpack.Encoder().encode
_read_history = msgspec.msgpack.Decoder(list[Attempt]).decode


class Counters(Struct, frozen=True):
    """The attempts that a job has been through. Its claim has counted this one already."""

    attempt: int
    crashes: int
    interruptions: int

    def charged(self, charge: Charge) -> Counters:
        """The counters after this charge."""
        match charge:
            case Charge.ATTEMPT:
                return self
            case Charge.REFUND | Charge.LOSS:
                return Counters(max(0, self.attempt - 1), self.crashes, self.interruptions)
            case Charge.INTERRUPTION:
                return Counters(max(0, self.attempt - 1), self.crashes, _next(self.interruptions))
            case Charge.CRASH:
                return Counters(self.attempt, _next(self.crashes), self.interruptions)


def _next(number: int) -> int:
    """The next number after one that may have been spoilt where it is stored."""
    return min(max(number, 0), MOST) + 1


def losses_in(history: bytes | None) -> int:
    """The number of remembered attempts that ended because a whole worker vanished."""
    if history is None:
        return 0

    return sum(attempt.reason is Reason.LOST for attempt in read_or(_read_history, history, []))


def with_attempt(history: bytes | None, attempt: Attempt) -> bytes:
    """The packed history with one attempt more: the last ten are kept. One that cannot be read begins anew."""
    if history is None:
        return _pack((attempt,))

    return _pack([*read_or(_read_history, history, []), attempt][-ATTEMPTS_KEPT:])
