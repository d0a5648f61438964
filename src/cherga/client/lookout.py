"""The lookout: one thread per application that hears of changes, and reads jobs, for all who wait.

No waiter has a thread, a descriptor or a read of its own. The thread and its listener are there while anybody waits, and for a
little longer.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from uuid import UUID
from weakref import WeakSet

from cherga.client import loading
from cherga.client.relatives import total_progress_of
from cherga.client.waiters import EVENTS, LONGEST_LOOK, Sight, Waiter
from cherga.doors.broker import FullBroker, JobListener
from cherga.rules.obstacles import Home, unserved
from cherga.words.clock import Clock
from cherga.words.errors import BrokerError, BrokerUnavailable, JobNotFound
from cherga.words.job import JobRow
from cherga.words.push import GROUP_TASK
from cherga.words.report import Reading

logger = logging.getLogger("cherga.client")

GROUP_LOOK = 0.5
"""Seconds between two looks at a group that is followed: its members, not itself, tell how far it is."""
GROUP_SHARE = 0.25
"""Share of the thread's time that looks at groups may take."""
LINGER = 1.0
"""Seconds that the thread stays when nobody waits any more."""
PARTING = 0.25
"""Seconds after which those who were shown an end have left."""
REST = 0.0001
"""Seconds for each job between two looks at all of them, where nobody knows which have changed."""
PAGE = 100
"""Jobs read in one call."""
UNSERVED_AFTER = 2.0
"""Seconds of waiting after which it is asked whether any worker would run the jobs waited for, and from then on as often."""


class Lookout:
    """Looks after the jobs that anybody waits for here. In a forked child it begins anew."""

    def __init__(self, broker: Callable[[], FullBroker], clock: Callable[[], Clock], home: Callable[[], Home] = Home) -> None:
        self._broker = broker
        self._clock = clock
        self._home = home
        self.begin()
        _lookouts.add(self)

    def begin(self) -> None:
        """Know of nobody."""
        self._starting = threading.RLock()
        self._thread: threading.Thread | None = None
        self._watch: _Watch | None = None
        self._asked: deque[Waiter] = deque()
        self._left: deque[Waiter] = deque()

    @contextmanager
    def serving(self, waiter: Waiter) -> Iterator[None]:
        """Within this the waiter is shown its job."""
        if loading.thread is not None:
            loading.refuse("waits for a job")

        try:
            self.look(waiter)
            yield
        finally:
            # No lock: a coroutine may be ended by the garbage collector, at any point of any thread.
            waiter.left = True
            self._left.append(waiter)

    def look(self, waiter: Waiter) -> None:
        """Let the waiter be shown its job as soon as possible. Waits for nothing."""
        self._asked.append(waiter)

        with self._starting:
            if self._thread is None:
                self._start()

        if (watch := self._watch) is not None:
            watch.wake()

    def close(self) -> None:
        """Give everything back. Whoever still waits is served anew, from the broker that the application has then."""
        if (watch := self._watch) is not None:
            watch.end()
            watch.ended.wait(LONGEST_LOOK)

    def _start(self) -> None:
        thread = self._thread = threading.Thread(target=self._run, name="cherga-lookout", daemon=True)

        try:
            thread.start()
        except BaseException:
            self._thread = None
            raise

    def _run(self) -> None:
        me = threading.current_thread()

        while self._thread is me:
            try:
                self._serve()
            except BaseException as error:  # nobody may be left waiting for a thread that cannot go on
                self._fail(error)

            self._end_unless_needed()

    def _serve(self) -> None:
        """The service from the opening of a listener until it is no longer needed."""
        with ExitStack() as stack:
            broker, ended = self._broker(), threading.Event()
            stack.callback(ended.set)
            listener = stack.enter_context(broker.listen_to_jobs())
            watch = self._watch = _Watch(broker, listener, self._clock(), self._home, self._asked, self._left, ended)

            try:
                watch.run()
            finally:
                self._watch = None
                self._asked.extend(watch.waiters())

    def _fail(self, error: BaseException) -> None:
        logger.debug("jobs cannot be looked at: %s", error)

        while self._asked:
            self._asked.popleft().fail(
                error if isinstance(error, Exception) else BrokerUnavailable(f"the wait ended: {error!r}")
            )

    def _end_unless_needed(self) -> None:
        with self._starting:
            for _ in range(len(self._asked)):
                if not (waiter := self._asked.popleft()).left:
                    self._asked.append(waiter)

            if not self._asked:
                self._left.clear()
                self._thread = None


class _Watch:
    """A listener's time: whom it serves, and what is to be looked at next."""

    def __init__(
        self,
        broker: FullBroker,
        listener: JobListener,
        clock: Clock,
        home: Callable[[], Home],
        asked: deque[Waiter],
        left: deque[Waiter],
        ended: threading.Event,
    ) -> None:
        self.ended = ended
        """Set once everything was given back."""
        self._broker = broker
        self._listener = listener
        self._clock = clock
        self._home = home
        self._asked = asked
        self._left = left
        self._over = False
        self._waiters: dict[UUID, dict[Waiter, None]] = {}
        self._due: OrderedDict[UUID, None] = OrderedDict()
        """To be looked at now, the most urgent first."""
        self._looked: OrderedDict[UUID, float] = OrderedDict()
        """The times when each was looked at, the longest ago first."""
        self._groups: dict[UUID, None] = {}
        """Unfinished groups that are followed."""
        self._groups_at = 0.0
        self._any_changed = False
        self._all_at = 0.0
        """The time when all may be looked at again, where nobody knows which have changed."""
        self._idle_since = clock.monotonic()
        self._parting = False
        """Somebody was shown an end."""
        self._unserved_at: float | None = None
        """The time to ask for workers; None while nobody waits."""
        self._told: set[str] = set()

    def wake(self) -> None:
        """Somebody asks for a look. From any thread."""
        self._listener.wake()

    def end(self) -> None:
        """Stop as soon as possible. From any thread."""
        self._over = True
        self._listener.wake()

    def waiters(self) -> list[Waiter]:
        """The waiters that are served, all of them."""
        return [waiter for waiters in self._waiters.values() for waiter in waiters]

    def run(self) -> None:
        """Until nobody has waited for some time, or it is ended."""
        while not self._over:
            self._take_in()
            self._take_leave()
            self._note_changes()
            self._note_overdue(self._clock.monotonic())
            self._look_at(self._next_page())
            self._look_for_workers(self._clock.monotonic())

            if self._idle():
                return

            self._listener.wait(self._patience(self._clock.monotonic()))

    # --- who waits

    def _take_in(self) -> None:
        new: list[UUID] = []

        while self._asked:
            waiter = self._asked.popleft()

            if waiter.left:
                continue

            if waiter.id not in self._waiters:
                self._waiters[waiter.id] = {}
                new.append(waiter.id)

            self._waiters[waiter.id][waiter] = None
            self._due[waiter.id] = None

        if new:
            self._listener.add(new)

    def _take_leave(self) -> None:
        alone: list[UUID] = []

        while self._left:
            waiter = self._left.popleft()
            waiters = self._waiters.get(waiter.id, {})
            waiters.pop(waiter, None)

            if not waiters and self._waiters.pop(waiter.id, None) is not None:
                alone.append(waiter.id)

        for id in alone:
            self._due.pop(id, None)
            self._looked.pop(id, None)
            self._groups.pop(id, None)

        if alone:
            self._listener.discard(alone)

    def _idle(self) -> bool:
        now = self._clock.monotonic()

        if self._waiters:
            self._idle_since = now

        return now - self._idle_since >= LINGER

    # --- what to look at

    def _note_changes(self) -> None:
        changed = self._listener.changed()

        if changed is None:
            self._any_changed = True
            return

        for id in changed:
            self._due[id] = None
            self._due.move_to_end(id, last=False)

    def _note_overdue(self, now: float) -> None:
        if self._any_changed and now >= self._all_at:
            self._any_changed = False
            self._all_at = now + REST * len(self._looked)
            self._due.update(dict.fromkeys(self._looked))

        if self._groups and now >= self._groups_at:
            self._due.update(self._groups)

        for id, looked in self._looked.items():
            if now - looked < LONGEST_LOOK or len(self._due) >= PAGE:
                break

            self._due[id] = None

    def _next_page(self) -> list[UUID]:
        return [self._due.popitem(last=False)[0] for _ in range(min(PAGE, len(self._due)))]

    def _patience(self, now: float) -> float:
        """Seconds until there is something to look at, whoever rings."""
        if self._due:
            return 0.0

        times = [now + LONGEST_LOOK if self._waiters else self._idle_since + LINGER]

        if self._looked:
            times.append(next(iter(self._looked.values())) + LONGEST_LOOK)

        if self._groups:
            times.append(self._groups_at)

        if self._any_changed:
            times.append(self._all_at)

        if self._unserved_at is not None:
            times.append(self._unserved_at)

        if self._parting:
            times.append(now + PARTING)
            self._parting = False

        return max(0.0, min(times) - now)

    # --- whether anybody works on it

    def _look_for_workers(self, now: float) -> None:
        """Ask now and then, while anybody waits, whether a worker would run what is waited for."""
        if not self._waiters:
            self._unserved_at = None
        elif self._unserved_at is None:
            self._unserved_at = now + UNSERVED_AFTER
        elif now >= self._unserved_at:
            self._unserved_at = now + UNSERVED_AFTER
            self._warn([(waiter, row) for waiter in self.waiters() if (row := waiter.waits_for) is not None])

    def _warn(self, waiting: Sequence[tuple[Waiter, JobRow]]) -> None:
        """Tell those who follow when no worker would, and the log, once."""
        if not waiting:
            return

        try:
            workers, now = self._broker.workers(), self._clock.now()
        except BrokerError:
            return

        reasons: dict[tuple[str, str], str] = {}
        home = self._home()

        for waiter, row in waiting:
            place = (row.queue, row.task)

            if place not in reasons:
                reasons[place] = unserved(row, workers, now, home)

            waiter.warn(reasons[place])

        for (queue, task), reason in reasons.items():
            self._log(f"a job of task {task} in queue {queue} of {home.place} is waited for: {reason}" if reason else "")

    def _log(self, words: str) -> None:
        if words and words not in self._told:
            self._told.add(words)
            logger.warning("%s", words, extra={"action": "wait.unserved"})

    # --- looking

    def _look_at(self, page: Sequence[UUID]) -> None:
        now = self._clock.monotonic()
        ids = [id for id in page if id in self._waiters]

        for id in ids:
            self._looked[id] = now
            self._looked.move_to_end(id)

        try:
            self._show(ids)
        except Exception as error:
            for waiter in [waiter for id in ids for waiter in self._waiters[id]]:
                waiter.fail(error)

        if not self._groups.keys().isdisjoint(ids):
            self._groups_at = now + max(GROUP_LOOK, (self._clock.monotonic() - now) / GROUP_SHARE)

    def _show(self, ids: Sequence[UUID]) -> None:
        """Read these jobs in one call for those who want no more than the row, and in another for those who follow."""
        waiters = [waiter for id in ids for waiter in self._waiters[id]]
        # What a waiter knows is read once: it may get to know more meanwhile.
        followers = {waiter: Reading(waiter.id, waiter.after) for waiter in waiters if waiter.follows}
        sights = self._read([waiter.id for waiter in waiters if not waiter.follows])
        streams = self._follow(list(dict.fromkeys(followers.values())))

        for waiter in waiters:
            self._tell(waiter, streams.get(followers[waiter]) if waiter.follows else sights.get(waiter.id))

    def _read(self, ids: Sequence[UUID]) -> dict[UUID, Sight]:
        wanted = list(dict.fromkeys(ids))
        rows = self._broker.get(wanted) if wanted else []
        return {row.id: Sight(row) for row in rows if row is not None}

    def _follow(self, readings: Sequence[Reading]) -> dict[Reading, Sight]:
        found = self._broker.follow(readings, EVENTS) if readings else []
        groups = {one.job.id: one.job for one in found if one is not None and one.job.task == GROUP_TASK}
        self._groups.update((id, None) for id, row in groups.items() if not row.state.final)
        progress = {id: total_progress_of(self._broker, row) for id, row in groups.items()}

        return {
            reading: Sight(one.job, reading.after, one.events, progress.get(reading.id))
            for reading, one in zip(readings, found, strict=True)
            if one is not None
        }

    def _tell(self, waiter: Waiter, sight: Sight | None) -> None:
        if waiter.gone:
            self._left.append(waiter)
        elif sight is None:
            waiter.fail(JobNotFound(f"job {waiter.id} is not kept"))
        else:
            waiter.offer(sight)
            self._parting |= sight.job.state.final


_lookouts: WeakSet[Lookout] = WeakSet()


def _begin_anew() -> None:
    for lookout in list(_lookouts):
        lookout.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
