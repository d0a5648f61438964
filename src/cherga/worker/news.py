"""News: what the broker did with jobs by itself (expired, given up, lost with their process), told by a worker.

The supervisor finds the dead, but loads no user code; so the broker keeps a notice of each such job until a worker that knows
its task has told it: a line in the log, the handlers of ``app.on``, the job's callback. A worker that dies over it leaves the
notice to another one: each is told at least once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from functools import partial
from queue import Empty, SimpleQueue

from cherga.doors.broker import FullBroker, Topic
from cherga.words.errors import BrokerError
from cherga.words.job import JobRow, JobState
from cherga.words.notice import Notice
from cherga.worker.turns import Turns

logger = logging.getLogger("cherga.worker")

PAGE = 100

Tell = Callable[[Notice, JobRow | None, Callable[[], None]], None]
"""Tells a notice, at once or later, of a job that has failed with what is kept of it, and then calls the last."""


class News:
    """The thread that waits for notices and passes them on to ``tell``. ``session`` and ``tasks`` say whose they are."""

    def __init__(
        self, broker: FullBroker, session: Callable[[], str], tasks: Callable[[], Collection[str]], tell: Tell, patience: float
    ) -> None:
        self._broker = broker
        self._session = session
        self._tasks = tasks
        self._tell = tell
        self._patience = patience
        """Seconds between two looks, should a wake-up have been lost."""
        self._listener = broker.listen([Topic.NEWS])
        self._told: SimpleQueue[int] = SimpleQueue()
        self._open: set[int] = set()
        self._taken: list[Notice] = []
        """Ours to tell, and not begun."""
        self._lock = threading.Lock()
        self._turns = Turns("news", self._live)

    def start(self) -> None:
        """Begin to listen."""
        self._turns.start()

    def over(self) -> bool:
        """True when there is nothing to tell; what there is is being told from here on."""
        return not self.turn() and not self._open

    def turn(self) -> int:
        """Forget what was told, and have told what is new; return how much that was."""
        with self._lock:
            return self._turn()

    def _turn(self) -> int:
        self._forget()
        self._taken += self._broker.notices(self._session(), self._tasks(), PAGE)
        ended = [each.id for each in self._taken if each.state is JobState.FAILED]
        rows = dict(zip(ended, self._broker.get(ended), strict=True)) if ended else {}
        taken, self._taken = self._taken, []

        for notice in taken:
            if notice.number not in self._open:
                self._open.add(notice.number)
                self._tell(notice, rows.get(notice.id), partial(self._done, notice.number))

        return len(taken)

    def stop(self, timeout: float) -> None:
        """End the thread: nothing more is begun."""
        self._turns.end()
        self._listener.wake()
        self._turns.join(timeout)

    def close(self) -> None:
        """Forget what was told since; the rest is left to other workers."""
        self._listener.close()
        self._guard(self._forget)

    def _live(self) -> None:
        self._guard(self._tell_all)
        self._listener.wait(self._patience)

    def _tell_all(self) -> None:
        while self.turn() >= PAGE:
            pass

    def _done(self, number: int) -> None:
        """On whichever thread has told it."""
        self._told.put(number)
        self._listener.wake()

    def _forget(self) -> None:
        numbers: list[int] = []

        try:
            while True:
                numbers.append(self._told.get_nowait())
        except Empty:
            pass

        if numbers:
            self._broker.told(numbers)
            self._open.difference_update(numbers)

    def _guard(self, work: Callable[[], object]) -> None:
        """A broker that is away is asked again at the next turn; what it has not forgotten is told again."""
        try:
            work()
        except BrokerError as error:
            logger.warning("news not heard: %s", error, extra={"action": "news.retry"})
