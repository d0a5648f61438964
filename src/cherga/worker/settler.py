"""The settler: buffers what jobs tell and what became of them, writes it in batches, and retries until it is written."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar

from cherga.client.context import NOT_YET, Context
from cherga.doors.broker import Broker
from cherga.words.clock import Clock
from cherga.words.errors import BrokerError
from cherga.words.report import Report
from cherga.words.settlement import Settled, Settlement
from cherga.worker.calls import BatchContext
from cherga.worker.slots import Pulse, SlotTable
from cherga.worker.turns import Turns

logger = logging.getLogger("cherga.worker")

LONGEST_PAUSE = 5.0
BATCH = 1000
LONGEST_CLAIM = 0.05
"""Seconds that a claim under way holds up what is to be written."""
_STOP = object()

T = TypeVar("T")
Item = Settlement | Context | object


class Settler:
    """The thread that writes. ``settle`` and ``touch`` only put something down; order of one job's writes is kept."""

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        interval: float,
        slots: SlotTable,
        heard: Callable[[list[Report]], object] = len,
        longest: float | None = None,
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._interval = interval
        self._heard = heard
        self._longest = longest
        """Seconds of waiting after which a sign of life is due."""
        self._once = slots.once
        self._beat = partial(slots.beat, Pulse.SETTLER)
        self._items: list[Item] = []
        self._inbox: SimpleQueue[Item] = SimpleQueue()
        self._late: deque[Context] = deque()
        self._given_up = threading.Event()
        self._expected: dict[int, Callable[[bool], None]] = {}
        self._turns = Turns("settler", self._turn, self._beat)
        self.settle: Callable[[Settlement], None] = self._inbox.put
        """Put down a settlement; returns at once."""
        self.unwritten = 0
        """Settlements taken out of the inbox and not yet written."""
        self.may_write = threading.Event()
        """Not set while somebody claims: of two writers the one comes first without whom nothing would run."""
        self.may_write.set()
        self.awaited = False
        """Somebody claims no more until something is written."""
        self.ring: Callable[[], None] = _nobody
        """Tells whoever waits so."""
        self.note_written: Callable[[int], object] = abs
        """Hears how many settlements were written together."""

    def start(self) -> None:
        self._turns.start()

    def touch(self, context: Context) -> None:
        """The job has something to tell; stored soon, at most once an interval."""
        if not context.queued:
            context.queued = True
            self._inbox.put(context)

    def flush(self, context: Context) -> None:
        """Let the job's last log lines go out before its settlement."""
        if context.events:
            context.reported_at = NOT_YET
            context.queued = True
            self._inbox.put(context)

    def expect(self, token: int, answered: Callable[[bool], None]) -> None:
        """Call this, once, with whether the settlement under this claim token was written; on the settler's thread."""
        self._expected[token] = answered

    @property
    def backlog(self) -> int:
        """Jobs that have ended and are not yet written, or a few more."""
        return self._inbox.qsize() + self.unwritten

    @property
    def idle(self) -> bool:
        """True when nothing waits to be written."""
        return self._inbox.empty() and not self.unwritten

    def stop(self, timeout: float | None = None) -> bool:
        """Write what is there, then end. False when the broker did not take everything within ``timeout`` seconds."""
        self._inbox.put(_STOP)
        ended = self._turns.join(timeout)
        self._given_up.set()
        self._turns.end()
        return ended

    def divert(self) -> list[Settlement]:
        """Write nothing more from now on: settlements are kept in this list."""
        kept: list[Settlement] = []
        self.settle = kept.append
        return kept

    def left(self) -> list[Settlement]:
        """After the end: what could not be written."""
        items = list(self._items)

        with suppress(Empty):
            while True:
                items.append(self._inbox.get_nowait())

        return [item for item in items if type(item) is Settlement]

    def _turn(self) -> None:
        """Write what there is. What a turn that fails leaves behind is the next one's."""
        if not self._items:
            self._gather()

        stopping = _STOP in self._items
        settlements = [item for item in self._items if type(item) is Settlement]
        self.unwritten = len(settlements)

        if len(settlements) < len(self._items) or self._late:
            self._report(self._items, final=stopping)

        self._settle(settlements)
        self._items.clear()
        self.unwritten = 0

        if settlements:
            self.note_written(len(settlements))

        if self.awaited:
            self.awaited = False
            self.ring()

        if stopping:
            self._turns.end()

    def _gather(self) -> None:
        """Wait for something to write, then take all that is there."""
        items = self._items

        with suppress(Empty):
            items.append(self._inbox.get(timeout=self._patience()))
            self.unwritten = 1
            self.may_write.wait(LONGEST_CLAIM)
            self.unwritten = min(BATCH, self._inbox.qsize() + 1)

            while len(items) < BATCH:
                items.append(self._inbox.get_nowait())

    def _patience(self) -> float | None:
        """Seconds until the first report that came too early is due, or a sign of life is."""
        if not self._late:
            return self._longest

        left = max(0.0, self._late[0].reported_at + self._interval - self._clock.monotonic())
        return left if self._longest is None else min(left, self._longest)

    def _report(self, items: list[Item], final: bool) -> None:
        """Progress is worth repeating, but never the end of the settler, nor of what is to be settled."""
        touched = [item for item in items if isinstance(item, Context)]
        now = self._clock.monotonic()
        due: list[Context] = []
        late: deque[Context] = deque()

        for context in (*self._late, *touched):
            is_due = final or now - context.reported_at >= self._interval
            (due if is_due else late).append(context)

        self._late = late

        if reports := [report for context in due for report in _reports_of(context, now)]:
            self._tell(reports)

    def _tell(self, reports: list[Report]) -> None:
        try:
            self._write(lambda: self._broker.report(reports), f"{len(reports)} reports")
        except Exception:
            logger.exception("%d reports cannot be written", len(reports), extra={"action": "report.failed"})

        _guarded(self._heard, reports)

    def _settle(self, settlements: list[Settlement]) -> None:
        if not settlements:
            return

        try:
            answers = self._write(lambda: self._broker.settle(settlements), f"{len(settlements)} settlements")
        except MemoryError:  # none of them is to blame: the next turn tries again
            raise
        except Exception:
            self._settle_apart(settlements)
            return

        if answers and self._once:
            self._once.let_go(settlement.token for settlement in settlements)

        if Settled.REFUSED in answers:
            _guarded(_log_refused, settlements, answers)

        if self._expected:
            self._answer(settlements, answers)

    def _answer(self, settlements: list[Settlement], answers: list[Settled]) -> None:
        # Without answers the settler has given up.
        for settlement, answer in zip(settlements, answers, strict=False):
            if (answered := self._expected.pop(settlement.token, None)) is not None:
                _guarded(answered, answer is Settled.WRITTEN)

    def _settle_apart(self, settlements: list[Settlement]) -> None:
        """Settle by halves: what the broker chokes on is found, left to the reaper, and holds up no other."""
        if len(settlements) > 1:
            middle = len(settlements) // 2
            self._settle(settlements[:middle])
            self._settle(settlements[middle:])
            return

        logger.exception(
            "job %s: the outcome cannot be written; the job is freed when this worker ends",
            settlements[0].id,
            extra={"action": "settle.failed", "job_id": str(settlements[0].id)},
        )
        self._answer(settlements, [Settled.REFUSED])

    def _write(self, write: Callable[[], list[T]], what: str) -> list[T]:
        """Call until the broker takes it, or until ``stop`` gives up. Only a broker that is away is worth a repetition."""
        pause = 0.05

        while True:
            try:
                return write()
            except BrokerError as error:
                logger.warning("%s not written yet: %s", what, error, extra={"action": "settle.retry"})
                self._beat()

            if self._given_up.wait(pause):
                return []

            pause = min(LONGEST_PAUSE, pause * 2)


def _guarded(call: Callable[..., object], *args: object) -> None:
    """Callbacks beside the writing cost nothing that was, or is to be, written."""
    try:
        call(*args)
    except BaseException:
        logger.exception("the settler could not tell of what it wrote", extra={"action": "settle.untold"})


def _nobody() -> None:
    """Tell nobody: nobody waits."""


def _reports_of(context: Context, now: float) -> list[Report]:
    try:
        return _read(context, now)
    except Exception:
        logger.exception("job %s: what it tells cannot be read", context.job_id, extra={"action": "report.failed"})
        return []


def _read(context: Context, now: float) -> list[Report]:
    # Marked as not queued before the values are read: what the job sets from here on is put down again.
    context.queued = False
    context.reported_at = now
    progress, meta = context.take_unsent()
    events = context.take_events()

    if progress is None and meta is None and not events:
        return []

    jobs = context.jobs if type(context) is BatchContext else (context.job,)
    return [Report(job.id, job.sequence, job.token, progress, meta, events) for job in jobs]


def _log_refused(settlements: list[Settlement], answers: list[Settled]) -> None:
    for settlement, answer in zip(settlements, answers, strict=True):
        if answer is Settled.REFUSED:
            logger.warning(
                "job %s: the outcome %r was refused, for this attempt no longer owns the job",
                settlement.id,
                settlement.to.value,
                extra={"action": "settle.refused", "job_id": str(settlement.id)},
            )
