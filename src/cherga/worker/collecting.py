"""Collecting: jobs of a batch task wait here for company, until they are enough or the first has waited long enough."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from cherga.client.app import QueueTasks
from cherga.client.batches import Batching
from cherga.client.task import Task
from cherga.rules.limits import task_limit
from cherga.words.clock import Clock
from cherga.words.job import Reason
from cherga.words.limits import LimitRule
from cherga.words.outcomes import Cancelled
from cherga.worker.assignment import Assignment
from cherga.worker.calls import Call
from cherga.worker.claimer import Lane
from cherga.worker.deadlines import NEVER, Deadlines
from cherga.worker.executor import Executor
from cherga.worker.loop import LoopRunner
from cherga.worker.runners import NOT_WAITED_FOR
from cherga.worker.threads import ThreadRunner


class Desk(Struct, frozen=True):
    """The parts that the collectors of one engine share."""

    executor: Executor
    deadlines: Deadlines
    clock: Clock
    left: Callable[[], int] = lambda: 0
    """The number of jobs that they may still take."""


class Collector:
    """The runner of one batch task: makes calls out of its jobs and hands them to the runner of its kind.

    It takes jobs only while a slot is free for their call, or would be soon; one call may wait for a slot.
    """

    def __init__(self, batching: Batching, inner: ThreadRunner | LoopRunner, desk: Desk) -> None:
        self.ahead = None
        self.lent = 0
        self.due = NEVER
        """The time when those that wait start in any case, on the monotonic clock."""
        self._batching = batching
        self._inner = inner
        self._desk = desk
        self._waiting: list[Assignment] = []
        self._latest: Call | None = None
        self._lock = threading.Lock()

    @property
    def refill_below(self) -> int:
        return self._inner.refill_below

    @refill_below.setter
    def refill_below(self, number: int) -> None:
        # The slots are the inner runner's, who is told by its own lane when nobody waits for them.
        if number != NOT_WAITED_FOR:
            self._inner.refill_below = max(self._inner.refill_below, number)

    def start(self) -> None:
        """The inner runner starts with its first call."""

    def submit(self, assignments: Sequence[Assignment]) -> None:
        with self._lock:
            # A suspect has to be alone.
            groups = [[each] for each in assignments if each.job.crashes]
            self._waiting += [each for each in assignments if not each.job.crashes]
            groups += self._full()
            self._set_due()

            if self.due <= self._desk.clock.monotonic():
                groups += self._all()

        self._start_calls(groups)
        self._desk.deadlines.watch(self.due)

    def in_hand(self) -> int:
        return len(self._waiting)

    def room(self) -> int:
        return max(0, min(self._batching.most - len(self._waiting), self._desk.left())) if self._may_start() else 0

    def waiting(self) -> int:
        """None that anybody should give back: they wait by the task's own wish."""
        return 0

    def take_back(self) -> list[Assignment]:
        with self._lock:
            self.due = NEVER
            taken, self._waiting = self._waiting, []

        return taken

    def let_go(self) -> list[Assignment]:
        return []

    def hurry(self) -> None:
        self.flush(NEVER)

    def cancel(self, assignment: Assignment) -> bool:
        return False

    def remove(self, token: int) -> Assignment | None:
        """Take out the one with this claim token, if it waits here."""
        with self._lock:
            found = next((each for each in self._waiting if each.job.token == token), None)

            if found is not None:
                self._waiting.remove(found)

        return found

    def stop(self) -> None:
        """Stop nothing: nothing runs here."""

    def flush(self, now: float) -> None:
        """Start those whose time has come."""
        with self._lock:
            groups = self._all() if self.due <= now else []

        self._start_calls(groups)

    def _may_start(self) -> bool:
        return self._inner.free() > 0 or (self._inner.room() > 0 and (self._latest is None or not self._latest.pending))

    def _full(self) -> list[list[Assignment]]:
        """Whole batches, taken out; a smaller one stays."""
        most, groups = self._batching.most, []

        while len(self._waiting) >= most:
            groups.append(self._waiting[:most])
            self._waiting = self._waiting[most:]
            self.due = NEVER

        return groups

    def _all(self) -> list[list[Assignment]]:
        taken, self._waiting, self.due = self._waiting, [], NEVER
        return [taken] if taken else []

    def _set_due(self) -> None:
        if not self._waiting:
            self.due = NEVER
        elif self.due == NEVER:
            self.due = self._desk.clock.monotonic() + self._batching.wait

    def _start_calls(self, groups: Sequence[Sequence[Assignment]]) -> None:
        if groups:
            calls = [self._desk.executor.many.call_for(group) for group in groups]
            self._latest = calls[-1]
            self._inner.submit(calls)


class HastyCollector(Collector):
    """Waits for nobody: a batch is what waits already."""

    def _set_due(self) -> None:
        self.due = self._desk.clock.monotonic() if self._waiting else NEVER


def within_limit(task: Task[..., object]) -> Batching:
    """The task's batching, with no more jobs in a call than may run at all: others would be waited for in vain."""
    batching = cast(Batching, task.features.batch)
    name, rule = task.rule or ("", LimitRule())
    most = rule.max_running if name == task_limit(task.name) else None
    return batching if most is None else replace(batching, most=max(1, min(batching.most, most)))


RunnerOf = Callable[[Task[..., object]], ThreadRunner | LoopRunner]


class Collectors:
    """The collectors of one engine, one for each batch task; tasks may be declared at any time."""

    def __init__(self, app: QueueTasks, kind: type[Collector], desk: Desk, runner_of: RunnerOf) -> None:
        self._app = app
        self._kind = kind
        self._desk = replace(desk, left=self._left)
        self._runner_of = runner_of
        self._counted = 0
        self._by_name: dict[str, Collector] = {}

    def new_lanes(self) -> list[Lane]:
        """A lane for each batch task that was declared since the last call."""
        tasks = self._app.tasks

        if len(tasks) == self._counted:
            return []

        self._counted = len(tasks)
        return [self._lane(task) for name, task in list(tasks.items()) if task.features.batch and name not in self._by_name]

    def flush(self, now: float) -> float:
        """Start what has waited long enough; return when the next is due."""
        collectors = list(self._by_name.values())

        for collector in collectors:
            collector.flush(now)

        return min((collector.due for collector in collectors), default=NEVER)

    def cancel(self, token: int) -> bool:
        """Cancel the job with this claim token, if it waits for company."""
        found = next((each for collector in list(self._by_name.values()) if (each := collector.remove(token))), None)

        if found is not None:
            self._desk.executor.drop(found, Cancelled("", Reason.ASKED))

        return found is not None

    def _lane(self, task: Task[..., object]) -> Lane:
        batching = within_limit(task)
        collector = self._by_name[task.name] = self._kind(batching, self._runner_of(task), self._desk)
        return Lane(collector, lambda: self._names(task.name))

    def _left(self) -> int:
        """Jobs that may still be taken into calls, by all collectors together."""
        return self._desk.executor.many.places_left() - sum(collector.in_hand() for collector in list(self._by_name.values()))

    def _names(self, name: str) -> frozenset[str]:
        return frozenset({name, *(alias for alias, meant in list(self._app.aliases.items()) if meant == name)})
