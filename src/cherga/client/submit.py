"""The way of async callers to a synchronous broker: one thread that coalesces what arrives, and a few for short calls."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import ParamSpec, TypeVar
from weakref import WeakSet

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

    __slots__ = ("future", "group", "withdrawn")

    def __init__(self, group: Sequence[NewJob], future: asyncio.Future[Outcome]) -> None:
        self.group = group
        self.future = future
        self.withdrawn = False
        """True when its caller has gone away."""

    @property
    def open(self) -> bool:
        """True when anybody still waits for it."""
        return not (self.withdrawn or self.future.done())


class Gathered:
    """Pushes that are asked for in one turn of a loop: handed over, answered and, when it takes too long, given up together."""

    __slots__ = ("_timer", "asked", "began", "loop", "timeout")

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float, asked: list[Asked]) -> None:
        self.loop = loop
        self.timeout = timeout
        self.began = SystemClock.monotonic()
        self.asked = asked
        self._timer = loop.call_later(timeout, self.answer, ())

    def parted(self) -> list[Gathered]:
        """The same in portions."""
        if len(self.asked) <= MOST_GROUPS:
            return [self]

        self._timer.cancel()
        starts = range(0, len(self.asked), MOST_GROUPS)
        return [Gathered(self.loop, self.timeout, self.asked[first : first + MOST_GROUPS]) for first in starts]

    def answer(self, answered: Sequence[tuple[Asked, Outcome]]) -> None:
        """Say what came of them, and that it is not known of all others; on their loop."""
        self._timer.cancel()

        for asked, outcome in answered:
            if asked.open:
                asked.future.set_result(outcome)

        for asked in self.asked if len(answered) < len(self.asked) else ():
            if asked.open:
                asked.future.set_result(TimeoutError())

    def unanswered(self, group: Sequence[NewJob], outcome: Exception) -> Exception:
        """The error of one of them, whose outcome this is."""
        late = isinstance(outcome, BrokerUnavailable) and SystemClock.monotonic() - self.began >= self.timeout

        if late or isinstance(outcome, TimeoutError):
            return unanswered(group, self.timeout)

        # It is told to all whose groups were pushed together.
        return EnqueueUnknown(str(outcome), group[0].id) if isinstance(outcome, EnqueueUnknown) else outcome


class Submitter:
    """Serves the async twins. Threads start at the first use and again after a fork."""

    def __init__(self, push: Push) -> None:
        self._push = push
        self.begin()
        _submitters.add(self)

    def begin(self) -> None:
        """Know of no threads, and of nobody who asks."""
        self._lock = threading.Lock()
        self._running = False
        self._gathered: dict[asyncio.AbstractEventLoop, Gathered] = {}
        """What is asked for in this turn of each loop: the thread is woken once for all of it."""

    async def push(self, group: Sequence[NewJob], timeout: float) -> PushAnswer:
        """Push a group together with whatever else is waiting, in one round trip.

        Raises ``EnqueueUnknown`` when no answer came within ``timeout`` seconds. What still waits when its caller goes away is
        never stored.
        """
        loop = asyncio.get_running_loop()
        asked = Asked(group, loop.create_future())
        gathered = self._gather(asked, loop, timeout)

        try:
            outcome = await asked.future
        finally:
            asked.withdrawn = True

        if isinstance(outcome, PushAnswer):
            return outcome

        error = gathered.unanswered(group, outcome)
        raise error from (None if error is outcome else outcome)

    def _gather(self, asked: Asked, loop: asyncio.AbstractEventLoop, timeout: float) -> Gathered:
        gathered = self._gathered.get(loop)

        if gathered is None:
            gathered = self._gathered[loop] = Gathered(loop, timeout, [asked])
            loop.call_soon(self._hand_over, loop)
            self._forget_closed()
        else:
            gathered.asked.append(asked)

        return gathered

    def _forget_closed(self) -> None:
        for loop in list(self._gathered):
            if loop.is_closed():  # before it came to hand over
                self._gathered.pop(loop, None)

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        gathered = self._gathered.pop(loop, None)

        if gathered is None:  # forked in between: it was the parent's
            return

        self._start()

        for portion in gathered.parted():
            self._inbox.put(portion)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """Run a short broker call off the event loop."""
        self._start()
        return asyncio.wrap_future(self._calls.submit(function, *args, **kwargs))

    def close(self) -> None:
        """End the threads; the next use starts them again."""
        with self._lock:
            if self._running:
                self._running = False
                self._inbox.put(None)
                self._calls.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        if self._running:
            return

        with self._lock:
            if not self._running:
                self._inbox: SimpleQueue[Gathered | None] = SimpleQueue()
                self._calls = futures.ThreadPoolExecutor(4, "cherga-call")
                threading.Thread(target=self._run, args=(self._inbox,), name="cherga-submit", daemon=True).start()
                self._running = True

    def _run(self, inbox: SimpleQueue[Gathered | None]) -> None:
        while (gathered := inbox.get()) is not None:
            self._submit(_with_waiting(gathered, inbox))

    def _submit(self, portions: Sequence[Gathered]) -> None:
        wanted = [[asked for asked in gathered.asked if asked.open] for gathered in portions]
        outcomes = iter(self._outcomes([asked.group for some in wanted for asked in some]))

        for gathered, some in zip(portions, wanted, strict=True):
            answered = list(zip(some, outcomes, strict=False))

            with suppress(RuntimeError):  # the loop is closed meanwhile
                gathered.loop.call_soon_threadsafe(gathered.answer, answered)

    def _outcomes(self, groups: Sequence[Sequence[NewJob]]) -> Sequence[Outcome]:
        try:
            return self._push(groups) if groups else ()
        except Exception as error:
            return [error] * len(groups)
        except BaseException as error:  # what wants to end this thread must end neither it nor the loops of its callers
            return [BrokerUnavailable(f"the enqueue was ended by {type(error).__name__}; try again")] * len(groups)


def unanswered(jobs: Sequence[NewJob], timeout: float) -> EnqueueUnknown:
    """The error of an enqueue whose time is over."""
    again = f"enqueueing it again with using(id={str(jobs[0].id)!r})" if len(jobs) == 1 else "enqueueing each again with its id"
    return EnqueueUnknown(
        f"the broker did not answer within {timeout} seconds; the job may or may not be stored, and {again} is safe", jobs[0].id
    )


def _with_waiting(gathered: Gathered, inbox: SimpleQueue[Gathered | None]) -> list[Gathered]:
    """The groups together with what else has arrived meanwhile."""
    portions, groups = [gathered], len(gathered.asked)

    while groups < MOST_GROUPS:
        try:
            more = inbox.get_nowait()
        except Empty:
            break

        if more is None:
            inbox.put(None)
            break

        portions.append(more)
        groups += len(more.asked)

    return portions


_submitters: WeakSet[Submitter] = WeakSet()


def _begin_anew() -> None:
    for submitter in list(_submitters):
        submitter.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
