"""Seats: how many streams are open in this process, in all and for one job."""

from __future__ import annotations

import threading
from uuid import UUID
from weakref import WeakSet


class Seat:
    """The right to hold one stream open. It is given back by ``leave``, and when nobody holds it any more."""

    __slots__ = ("__weakref__", "_seats", "job")

    def __init__(self, seats: Seats, job: UUID) -> None:
        self._seats = seats
        self.job = job

    def leave(self) -> None:
        """Give the seat back; twice is once."""
        self._seats.free(self)


class Seats:
    """Hands out seats up to a limit. Safe to use from any thread."""

    def __init__(self, per_job: int) -> None:
        self._per_job = per_job
        self._lock = threading.Lock()
        # Weak: a response that was dropped without being closed must not cost a seat for ever.
        self._taken: WeakSet[Seat] = WeakSet()

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, job: UUID, limit: int) -> Seat | None:
        """A seat, None when all are taken."""
        with self._lock:
            if not self.any_left(job, limit):
                return None

            seat = Seat(self, job)
            self._taken.add(seat)
            return seat

    def any_left(self, job: UUID, limit: int) -> bool:
        """True when ``take`` would succeed now."""
        return len(self._taken) < limit and sum(seat.job == job for seat in self._taken) < self._per_job

    def free(self, seat: Seat) -> None:
        """Somebody else may have this seat."""
        with self._lock:
            self._taken.discard(seat)
