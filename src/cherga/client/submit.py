"""How async callers reach a synchronous broker: one thread that coalesces what arrives, and a few for short calls."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import ParamSpec, TypeVar

from cherga.words.clock import SystemClock
from cherga.words.errors import BrokerUnavailable, EnqueueUnknown
from cherga.words.push import NewJob, PushAnswer

P = ParamSpec("P")
T = TypeVar("T")
Push = Callable[[Sequence[Sequence[NewJob]]], list[PushAnswer]]
Waiting = tuple[Sequence[NewJob], "Future[PushAnswer]"]

MOST_GROUPS = 500


class Submitter:
    """Serves the async twins. Threads start at the first use and again after a fork."""

    def __init__(self, push: Push) -> None:
        self._push = push
        self._lock = threading.Lock()
        self._pid = 0

    async def push(self, group: Sequence[NewJob], timeout: float) -> PushAnswer:
        """Push a group together with whatever else is waiting, in one round trip.

        Raises ``EnqueueUnknown`` when no answer came within ``timeout`` seconds. What still waits when its caller goes away is
        never stored.
        """
        self._start()
        answer: Future[PushAnswer] = Future()
        began = SystemClock.monotonic()
        self._inbox.put((group, answer))

        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(answer)), timeout)
        except (TimeoutError, BrokerUnavailable) as error:
            if isinstance(error, BrokerUnavailable) and SystemClock.monotonic() - began < timeout:
                raise

            raise unanswered(group, timeout) from error
        finally:
            answer.cancel()

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

            self._inbox: SimpleQueue[Waiting | None] = SimpleQueue()
            self._calls = ThreadPoolExecutor(4, "cherga-call")
            threading.Thread(target=self._run, args=(self._inbox,), name="cherga-submit", daemon=True).start()
            self._pid = os.getpid()

    def _run(self, inbox: SimpleQueue[Waiting | None]) -> None:
        while (first := inbox.get()) is not None:
            self._submit([first, *_waiting(inbox)])

    def _submit(self, batch: list[Waiting]) -> None:
        wanted = [(group, future) for group, future in batch if future.set_running_or_notify_cancel()]

        try:
            answers = self._push([group for group, _ in wanted]) if wanted else []
        except Exception as error:
            _fail(wanted, error)
        except BaseException as error:  # what wants to end this thread must end neither it nor the loops of its callers
            _fail(wanted, BrokerUnavailable(f"the enqueue was ended by {type(error).__name__}; try again"))
        else:
            for (_, future), answer in zip(wanted, answers, strict=True):
                future.set_result(answer)


def _fail(batch: Sequence[Waiting], error: Exception) -> None:
    for _, future in batch:
        future.set_exception(error)


def unanswered(jobs: Sequence[NewJob], timeout: float) -> EnqueueUnknown:
    """The error of an enqueue whose time is over."""
    again = f"enqueueing it again with using(id={str(jobs[0].id)!r})" if len(jobs) == 1 else "enqueueing each again with its id"
    return EnqueueUnknown(
        f"the broker did not answer within {timeout} seconds; the job may or may not be stored, and {again} is safe", jobs[0].id
    )


def _waiting(inbox: SimpleQueue[Waiting | None]) -> list[Waiting]:
    """What else has arrived meanwhile."""
    more: list[Waiting] = []

    while len(more) < MOST_GROUPS:
        try:
            item = inbox.get_nowait()
        except Empty:
            break

        if item is None:
            inbox.put(None)
            break

        more.append(item)

    return more
