"""The settler: buffers what jobs tell and what became of them, writes it in batches, and retries until it is written."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from cherga.client.context import Context
from cherga.doors.broker import Broker
from cherga.words.clock import Clock
from cherga.words.errors import BrokerError
from cherga.words.report import Report
from cherga.words.settlement import Settled, Settlement
from cherga.worker.calls import BatchContext
from cherga.worker.slots import SlotTable

logger = logging.getLogger("cherga.worker")

LONGEST_PAUSE = 5.0
BATCH = 1000
_STOP = object()

T = TypeVar("T")
Item = Settlement | Context | object


class Settler:
    """One thread. ``settle`` and ``touch`` only put something down; order of one job's writes is kept."""

    def __init__(
        self, broker: Broker, clock: Clock, interval: float, slots: SlotTable, heard: Callable[[list[Report]], object] = len
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._interval = interval
        self._heard = heard
        self._slots = slots
        self._inbox: SimpleQueue[Item] = SimpleQueue()
        self._late: deque[Context] = deque()
        self._given_up = threading.Event()
        self._expected: dict[int, Callable[[bool], None]] = {}
        self._thread = threading.Thread(target=self._run, name="cherga-settler", daemon=True)
        self.settle: Callable[[Settlement], None] = self._inbox.put
        """Put down a settlement; returns at once."""
        self.unwritten = 0
        """Settlements taken out of the inbox and not yet written."""

    def start(self) -> None:
        self._thread.start()

    def touch(self, context: Context) -> None:
        """The job has something to tell; stored soon, at most once an interval."""
        if not context.queued:
            context.queued = True
            self._inbox.put(context)

    def flush(self, context: Context) -> None:
        """Let the job's last log lines go out before its settlement."""
        if context.events:
            context.reported_at = 0.0
            context.queued = True
            self._inbox.put(context)

    def expect(self, token: int, answered: Callable[[bool], None]) -> None:
        """Call this, once, with whether the settlement under this claim token was written; on the settler's thread."""
        self._expected[token] = answered

    @property
    def idle(self) -> bool:
        """Nothing waits to be written."""
        return self._inbox.empty() and not self.unwritten

    def stop(self, timeout: float | None = None) -> bool:
        """Write what is there, then end. False when the broker did not take everything within ``timeout`` seconds."""
        self._inbox.put(_STOP)
        self._thread.join(timeout)
        self._given_up.set()
        return not self._thread.is_alive()

    def _run(self) -> None:
        stopping = False

        while not stopping:
            items = self._gather()
            stopping = _STOP in items
            settlements = [item for item in items if type(item) is Settlement]
            self.unwritten = len(settlements)

            if len(settlements) < len(items) or self._late:
                self._report(items, final=stopping)

            self._settle(settlements)
            self.unwritten = 0
            self._slots.beat()

    def _gather(self) -> list[Item]:
        """Wait for something to write, then take all that is there."""
        items: list[Item] = []

        try:
            items.append(self._inbox.get(timeout=self._patience()))

            while len(items) < BATCH:
                items.append(self._inbox.get_nowait())
        except Empty:
            pass

        return items

    def _patience(self) -> float | None:
        """Seconds until the first report that came too early is due."""
        if not self._late:
            return None

        return max(0.0, self._late[0].reported_at + self._interval - self._clock.monotonic())

    def _report(self, items: list[Item], final: bool) -> None:
        touched = [item for item in items if isinstance(item, Context)]
        now = self._clock.monotonic()
        due = [context for context in (*self._late, *touched) if final or now - context.reported_at >= self._interval]
        self._late = deque(context for context in (*self._late, *touched) if context not in due)
        reports = [report for context in due for report in _reports_of(context, now)]

        if reports:
            self._tell(reports)
            self._heard(reports)

    def _tell(self, reports: list[Report]) -> None:
        """Progress is worth repeating, but never the end of the settler."""
        try:
            self._write(lambda: self._broker.report(reports), f"{len(reports)} reports")
        except Exception:
            logger.exception("%d reports cannot be written", len(reports), extra={"action": "report.failed"})

    def _settle(self, settlements: list[Settlement]) -> None:
        if not settlements:
            return

        try:
            answers = self._write(lambda: self._broker.settle(settlements), f"{len(settlements)} settlements")
        except Exception:
            self._settle_apart(settlements)
            return

        if Settled.REFUSED in answers:
            _log_refused(settlements, answers)

        if self._expected:
            self._answer(settlements, answers)

    def _answer(self, settlements: list[Settlement], answers: list[Settled]) -> None:
        # Without answers the settler has given up.
        for settlement, answer in zip(settlements, answers, strict=False):
            if (answered := self._expected.pop(settlement.token, None)) is not None:
                answered(answer is Settled.WRITTEN)

    def _settle_apart(self, settlements: list[Settlement]) -> None:
        """One that the broker chokes on must not hold up the others: it is found by halving, and left to the reaper."""
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

            if self._given_up.wait(pause):
                return []

            pause = min(LONGEST_PAUSE, pause * 2)


def _reports_of(context: Context, now: float) -> list[Report]:
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
