"""The way of async callers to a synchronous broker: one thread that coalesces what arrives, and a few for short calls."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import ParamSpec, TypeVar

from cherga.words.clock import SystemClock
from cherga.words.errors import BrokerUnavailable, EnqueueUnknown
from cherga.words.later import asyncio, futures
from cherga.words.push import NewJob, PushAnswer

P = ParamSpec("P")
T = TypeVar("T")
Push = Callable[[Sequence[Sequence[NewJob]]], list[PushAnswer]]
Outcome = PushAnswer | Exception
"""The answer to a push; an error as a value, so that nobody has to fetch it when its caller has gone away meanwhile."""

MOST_GROUPS = 250
"""Groups that a loop hands over in one piece. Pieces that wait are pushed together, but fewer than twice as many groups."""


class Asked:
    """The jobs that one coroutine pushes, and the future of its loop in which it waits for the answer."""

    __slots__ = ("future", "group", "loop", "withdrawn")

    def __init__(self, group: Sequence[NewJob]) -> None:
        self.group = group
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Outcome] = self.loop.create_future()
        self.withdrawn = False
        """True when its caller has gone away."""

    @property
    def open(self) -> bool:
        """True when anybody still waits for it."""
        return not (self.withdrawn or self.future.done())

    def answer(self, outcome: Outcome) -> None:
        """Say what came of it; on its loop."""
        if self.open:
            self.future.set_result(outcome)

    async def wait(self, timeout: float) -> Outcome:
        """The answer; ``TimeoutError`` as a value when there is none within ``timeout`` seconds."""
        timer = self.loop.call_later(timeout, self.answer, TimeoutError())

        try:
            return await self.future
        finally:
            self.withdrawn = True
            timer.cancel()


class Submitter:
    """Serves the async twins. Threads start at the first use and again after a fork."""

    def __init__(self, push: Push) -> None:
        self._push = push
        self._lock = threading.Lock()
        self._pid = 0
        self._gathered: dict[asyncio.AbstractEventLoop, list[Asked]] = {}
        """Pushes that are asked for in this turn of each loop: the thread is woken once for all of it."""

    async def push(self, group: Sequence[NewJob], timeout: float) -> PushAnswer:
        """Push a group together with whatever else is waiting, in one round trip.

        Raises ``EnqueueUnknown`` when no answer came within ``timeout`` seconds. What still waits when its caller goes away is
        never stored.
        """
        self._start()
        asked = Asked(group)
        began = SystemClock.monotonic()
        self._gather(asked)
        outcome = await asked.wait(timeout)

        if isinstance(outcome, PushAnswer):
            return outcome

        if isinstance(outcome, TimeoutError) or (
            isinstance(outcome, BrokerUnavailable) and SystemClock.monotonic() - began >= timeout
        ):
            raise unanswered(group, timeout) from outcome

        if isinstance(outcome, EnqueueUnknown):  # it is told to all whose groups were pushed together
            raise EnqueueUnknown(str(outcome), group[0].id) from outcome

        raise outcome

    def _gather(self, asked: Asked) -> None:
        gathered = self._gathered.get(asked.loop)

        if gathered is not None:
            gathered.append(asked)
            return

        self._gathered[asked.loop] = [asked]
        asked.loop.call_soon(self._hand_over, asked.loop)

        for loop in list(self._gathered):
            if loop.is_closed():  # before it came to hand over
                self._gathered.pop(loop, None)

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        self._start()  # again, if it was closed since
        gathered = self._gathered.pop(loop, [])

        for first in range(0, len(gathered), MOST_GROUPS):
            self._inbox.put(gathered[first : first + MOST_GROUPS])

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """Run a short broker call off the event loop."""
        self._start()
        return asyncio.wrap_future(self._calls.submit(function, *args, **kwargs))

    def close(self) -> None:
        """End the threads; the next use starts them again."""
        with self._lock:
            if self._pid != os.getpid():
                return

            self._pid = 0
            self._inbox.put(None)
            self._calls.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        if self._pid == os.getpid():
            return

        with self._lock:
            if self._pid == os.getpid():
                return

            if self._pid:  # forked: what was gathered is the parent's
                self._gathered = {}

            self._inbox: SimpleQueue[list[Asked] | None] = SimpleQueue()
            self._calls = futures.ThreadPoolExecutor(4, "cherga-call")
            threading.Thread(target=self._run, args=(self._inbox,), name="cherga-submit", daemon=True).start()
            self._pid = os.getpid()

    def _run(self, inbox: SimpleQueue[list[Asked] | None]) -> None:
        while (batch := inbox.get()) is not None:
            self._submit(_with_waiting(batch, inbox))

    def _submit(self, batch: Sequence[Asked]) -> None:
        wanted = [asked for asked in batch if asked.open]
        outcomes: Sequence[Outcome]

        try:
            outcomes = self._push([asked.group for asked in wanted]) if wanted else ()
        except Exception as error:
            outcomes = [error] * len(wanted)
        except BaseException as error:  # what wants to end this thread must end neither it nor the loops of its callers
            ended = BrokerUnavailable(f"the enqueue was ended by {type(error).__name__}; try again")
            outcomes = [ended] * len(wanted)

        _tell(list(zip(wanted, outcomes, strict=True)))


def _tell(answered: Sequence[tuple[Asked, Outcome]]) -> None:
    """Wake each loop once, for all its callers."""
    for loop in {asked.loop for asked, _ in answered}:
        with suppress(RuntimeError):  # closed meanwhile
            loop.call_soon_threadsafe(_answer, [each for each in answered if each[0].loop is loop])


def _answer(answered: Sequence[tuple[Asked, Outcome]]) -> None:
    for asked, outcome in answered:
        asked.answer(outcome)


def unanswered(jobs: Sequence[NewJob], timeout: float) -> EnqueueUnknown:
    """The error of an enqueue whose time is over."""
    again = f"enqueueing it again with using(id={str(jobs[0].id)!r})" if len(jobs) == 1 else "enqueueing each again with its id"
    return EnqueueUnknown(
        f"the broker did not answer within {timeout} seconds; the job may or may not be stored, and {again} is safe", jobs[0].id
    )


def _with_waiting(batch: list[Asked], inbox: SimpleQueue[list[Asked] | None]) -> list[Asked]:
    """The batch together with what else has arrived meanwhile."""
    while len(batch) < MOST_GROUPS:
        try:
            more = inbox.get_nowait()
        except Empty:
            break

        if more is None:
            inbox.put(None)
            break

        batch += more

    return batch
