"""Leaving: held jobs go to the broker once their transaction has committed. What it does not take then is tried again.

The row that the jobs are about is committed already, so nothing here may fail its caller: what goes wrong with the broker is
logged with the ids of the jobs.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from cherga.client.departure import At, Hold, HoldingApplication
from cherga.client.handle import Job
from cherga.client.mishaps import tell
from cherga.words.errors import EnqueueRefused
from cherga.words.push import NewJob

logger = logging.getLogger("cherga.departure")

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
IDS_SHOWN = 20

T = TypeVar("T")
Outcome = list[Job[Any]] | EnqueueRefused


class Await(Protocol):
    """Gives what an awaitable gives, to a caller who is no coroutine but is run by a loop."""

    def __call__(self, awaitable: Awaitable[T], /) -> T: ...


class LeavingApplication(HoldingApplication, Protocol):
    """The parts of an application that leaving needs."""

    after_send: Any

    def store_held(self, groups: Sequence[Sequence[NewJob]]) -> list[Outcome]: ...
    async def astore_held(self, groups: Sequence[Sequence[NewJob]]) -> list[Outcome]: ...


class Batch(Struct, frozen=True):
    """Enqueues whose transaction has committed, and what to do with those that are stored."""

    holds: list[Hold]
    done: Callable[[list[Hold]], None]


class Leaving:
    """Pushes the held jobs of one application."""

    def __init__(self, app: LeavingApplication) -> None:
        self._app = app
        self._late: list[Batch] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._hurry = threading.Event()

    def send(
        self, holds: Sequence[Hold], done: Callable[[list[Hold]], None] = lambda stored: None, wait: Await | None = None
    ) -> None:
        """Push these. ``wait``: the caller is run by a loop, which must not be held up.

        What the broker does not take is kept, logged, and pushed again by a thread of this process until it is taken.
        """
        batch = Batch([hold for hold in holds if hold.waits], done)

        if not batch.holds:
            return

        with ExitStack() as stack:
            stack.callback(self._keep, batch)

            for hold in batch.holds:
                hold.at = At.BROKER

            try:
                groups = [hold.jobs for hold in batch.holds]
                outcomes = self._app.store_held(groups) if wait is None else wait(self._app.astore_held(groups))
            except Exception as error:
                _tell_late(batch.holds, error)
                return

            stack.pop_all()

        handles = self._settle(batch, outcomes)

        if handles and self._app.after_send is not None:
            after = self._app.after_send
            after.sent(handles) if wait is None else wait(after.asent(handles))

    def hurry(self) -> None:
        """Push what is late now, and not some time later."""
        self._hurry.set()

    def give_up(self) -> list[Hold]:
        """Try no more; the enqueues that the broker has not taken."""
        with self._lock:
            batches, self._late = self._late, []

        self.hurry()
        return [hold for batch in batches for hold in batch.holds]

    @property
    def late(self) -> list[Hold]:
        """The enqueues that the broker has not taken yet."""
        with self._lock:
            return [hold for batch in self._late for hold in batch.holds]

    def _settle(self, batch: Batch, outcomes: Sequence[Outcome]) -> list[Job[Any]]:
        stored: list[Hold] = []

        for hold, outcome in zip(batch.holds, outcomes, strict=True):
            if isinstance(outcome, EnqueueRefused):
                _tell_refused(hold, outcome)
            else:
                hold.stored(outcome)
                stored.append(hold)

        batch.done(stored)
        return [handle for hold in stored for handle in hold.handles]

    # --- what is late

    def _keep(self, batch: Batch) -> None:
        with self._lock:
            self._late.append(batch)

            if self._thread is None or not self._thread.is_alive():
                atexit.unregister(self._tell_lost)
                atexit.register(self._tell_lost)
                self._thread = threading.Thread(target=self._try_again, name="cherga-late", daemon=True)
                self._thread.start()

    def _try_again(self) -> None:
        wait = FIRST_WAIT

        while True:
            self._hurry.wait(wait)
            self._hurry.clear()
            wait = min(2 * wait, LONGEST_WAIT)

            with self._lock:
                batches, self._late = self._late, []

                if not batches:
                    self._thread = None
                    return

            for batch in batches:
                self._send_late(batch)

    def _send_late(self, batch: Batch) -> None:
        try:
            outcomes = self._app.store_held([hold.jobs for hold in batch.holds])
        except Exception as error:
            logger.debug("the broker still does not take jobs that are committed: %s", error)

            with self._lock:
                self._late.append(batch)
        else:
            self._settle(batch, outcomes)
            logger.warning(
                "jobs that were late have been stored: %s", shown_ids(batch.holds), extra={"action": "departure.late"}
            )

    def _tell_lost(self) -> None:
        if lost := [hold for hold in self.late if hold.waits and not hold.outbox]:
            logger.critical(
                "this process ends with jobs that the broker has not taken, though their transactions have committed: %s; "
                "enqueue them again (when='outbox' would have kept them)",
                shown_ids(lost),
                extra={"action": "departure.lost"},
            )


def _tell_late(holds: Sequence[Hold], error: Exception) -> None:
    kept = all(hold.outbox for hold in holds)
    message = "jobs are late: their transaction has committed, but the broker did not take them (%s): %s; %s"
    hope = (
        "they stand in the outbox, from which any worker takes them"
        if kept
        else "this process tries again for as long as it lives (with when='outbox' they would survive its end)"
    )
    tell(logger, message, error, shown_ids(holds), hope, error=error, extra={"action": "departure.late"})


def _tell_refused(hold: Hold, refused: EnqueueRefused) -> None:
    logger.error(
        "a job was refused after its transaction had committed (%s): %s; %s",
        refused,
        shown_ids([hold]),
        "its row stays in the outbox and is tried again" if hold.outbox else "it is dropped",
        extra={"action": "departure.refused"},
    )

    if not hold.outbox:
        hold.drop(f"the broker refused it: {refused}")


def shown_ids(holds: Sequence[Hold]) -> str:
    """Task and id of these jobs, of the first of them where they are many."""
    ids = [f"{job.task} {job.id}" for hold in holds for job in hold.jobs]
    more = f" and {len(ids) - IDS_SHOWN} more" if len(ids) > IDS_SHOWN else ""
    return ", ".join(ids[:IDS_SHOWN]) + more
