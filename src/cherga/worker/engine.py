"""The engine: one session's claimer, runners, settler and deadlines, wired together; start, drain, stop.

The same engine runs in a worker process and, in embedded mode, in threads of the application.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import threading
from collections.abc import Callable
from functools import partial

from msgspec import Struct

from cherga.client.app import QueueTasks
from cherga.client.mishaps import revive
from cherga.client.signals import Event, Signal
from cherga.client.task import Task
from cherga.rules.settings import SHORTEST_INTERVAL
from cherga.version import __version__
from cherga.words.errors import ConfigError
from cherga.words.inspection import TaskCount
from cherga.words.job import JobState, Reason
from cherga.words.outcomes import Cancelled, Interrupted, Outcome
from cherga.words.report import Report
from cherga.words.session import Cancel, SessionInfo
from cherga.worker.assignment import Assignment
from cherga.worker.claimer import Claimer, ClaimPlan, Lane
from cherga.worker.collecting import Collector, Collectors, Desk
from cherga.worker.deadlines import NEVER, Deadlines
from cherga.worker.executor import Executor, timed_out
from cherga.worker.host import WorkerHost
from cherga.worker.lending import Lending
from cherga.worker.loop import LoopRunner
from cherga.worker.pace import Pace
from cherga.worker.settler import Settler
from cherga.worker.slots import MOST_AHEAD, Pulse, SlotTable, share_slots
from cherga.worker.threads import ThreadRunner
from cherga.worker.verdicts import settles_now

logger = logging.getLogger("cherga.worker")

LAST_CALL = 5.0
"""Seconds before the end of the grace time at which running jobs are asked to stop."""
LOOK = 0.02
LEASE_SHARE = 0.9
"""Share of a lease in which new jobs are started, so that a slow clock harms nobody."""


class EngineOptions(Struct, frozen=True, kw_only=True):
    """What one engine is to run."""

    name: str
    threads: int
    concurrency: int
    queues: tuple[str, ...] = ()
    weights: tuple[int, ...] = ()


class Parts(Struct, frozen=True):
    """What engines are made of; the testing kit has some of its own."""

    executor: type[Executor] = Executor
    settler: type[Settler] = Settler
    threads: type[ThreadRunner] = ThreadRunner
    loop: type[LoopRunner] = LoopRunner
    collector: type[Collector] = Collector


class Engine:
    """Runs jobs of ``app`` until it is drained. ``stuck`` is called once when a thread outlives its attempt too long."""

    parts = Parts()
    awaits_rates = True
    """Whether there is still something to do while a rate holds a job up."""

    def __init__(
        self, app: QueueTasks, options: EngineOptions, slots: SlotTable, stuck: Callable[[], None] | None = None
    ) -> None:
        app.dotted.load()

        if not app.tasks:
            raise ConfigError(f"the application {app.name!r} has no tasks; declare one with @app.task, and import its module")

        self.app = app
        self.options = options
        self.slots = slots
        self.session = new_session(options, app)
        self._stuck = stuck
        self._clock = app.clock
        # An idle engine has to show often enough that it is alive.
        self._longest_wait = max(SHORTEST_INTERVAL, app.settings.stall_limit / 4)
        self._deadlines = Deadlines(app.clock, partial(slots.beat, Pulse.DEADLINES), self._longest_wait)
        interval, longest = app.settings.report_interval, self._longest_wait
        self._settler = self.parts.settler(app.broker, app.clock, interval, slots, self._tell_progress, longest)
        self.host = WorkerHost(app, lambda: self.session, lambda: self._loop)
        self.executor = self.parts.executor(app, self.host, options.name, self._settler, slots, self._deadlines)
        shares = share_slots(options.threads, options.concurrency)
        self._threads = self.parts.threads(
            self.executor, shares.threads, self._pace(options.threads), self._ring, shares.spare_threads
        )
        self._loop = self.parts.loop(self.executor, shares.loop, self._pace(options.concurrency), self._ring, shares.spare_loop)
        self._settler.ring = self._ring
        self.executor.lend_with(Lending(lambda: app.broker, self.executor.running, self._threads, self._loop))
        desk = Desk(self.executor, self._deadlines, app.clock)
        self._collectors = Collectors(app, self.parts.collector, desk, self._runner_of)
        more = self._collectors.new_lanes
        self._claimer = Claimer(app.broker, self._lanes(), self.executor, self._settler, slots, self._plan(), more)
        self._drained = threading.Event()

    @staticmethod
    def slot_count(options: EngineOptions) -> int:
        """Slots that the table of such an engine needs."""
        return share_slots(options.threads, options.concurrency).spare_loop.stop

    def register(self) -> None:
        """Begin the session; from here on its lease has to be renewed."""
        settings = self.app.settings.broker
        self.slots.note_on(None)
        sent = self._clock.uptime()
        self.app.broker.register(self.session)
        self.slots.lease_until = sent + settings.lease * LEASE_SHARE
        self.executor.session = self._claimer.session = self.session.id

    def start(self) -> None:
        """Begin to claim, once registered."""
        revive()
        self.app.publish()
        self._settler.start()
        self._deadlines.start(self._expire)
        self._claimer.start()  # before the runners, which take what room there is for threads

        for lane in list(self._claimer.lanes):
            if lane.names():
                lane.runner.start()

        self.app.on.run_with(self._loop.run_soon)
        self._tell_worker(self.app.on.worker_started)

    # --- what comes from outside

    def cancel(self, cancel: Cancel) -> None:
        """Somebody asked to cancel a running job."""
        assignment = self.executor.running.find(cancel.token)

        if assignment is None:
            self._cancel_in_batch(cancel.token)
        elif assignment.verdict is None:
            self._end(assignment, Cancelled("", Reason.ASKED))

    def _cancel_in_batch(self, token: int) -> None:
        """The others of the batch go on; a call that is left without jobs is ended."""
        call = None if self._collectors.cancel(token) else self.executor.running.call_of(token)
        member = call and call.open.get(token)

        if call is None or member is None or call.verdict or token in call.outcomes:
            return

        verdict = member.verdict = Cancelled("", Reason.ASKED)

        if settles_now(self.app.broker, member, verdict):
            self.executor.many.abandon(call, member)

        if all(each.verdict for each in list(call.open.values())):
            self._end(call, verdict)

    def renew(self) -> None:
        """The session was lost: what it had may run elsewhere, so it is stopped here; go on as a new session.

        Where that cannot be registered either (``BrokerError``), it will be lost in its turn.
        """
        self.executor.session = ""  # nothing more of the old one begins

        for assignment in self.executor.running.all():
            self._end(assignment, Interrupted())

        self._give_back()
        self.session = new_session(self.options, self.app)
        self.register()

    def exhausted(self) -> bool:
        """No job that this worker could run is running anywhere, or ready and neither paused nor stopped; for burst mode.

        One that a rate holds up counts, if the engine ``awaits_rates``.
        """
        taken = self._claimer.taken

        self._go_on_telling()

        if self._claimer.in_hand() or not self._settler.idle or self.executor.callbacks.open:
            return False

        if not self.executor.telling.herald.idle:
            return False

        states = {row.state for row in self.app.broker.counts() if self._concerns(row)}

        if JobState.RUNNING in states:
            return False

        # What was claimed since the first look may hold every slot of a limit: then nothing to take means nothing.
        return JobState.READY not in states or (self._claimer.dried_up(self.awaits_rates) and self._claimer.taken == taken)

    def _concerns(self, row: TaskCount) -> bool:
        known = row.task in self.app.tasks or row.task in self.app.aliases
        listened = not self.options.queues or row.queue in self.options.queues
        return known and listened and row.state in (JobState.READY, JobState.RUNNING)

    # --- the end

    def drain(self, grace: float) -> bool:
        """Claim nothing more, give back what never started, and let the rest finish; False when something still runs.

        Shortly before the grace time is over, running jobs are asked to stop.
        """
        self._claimer.stop()
        self._tell_worker(self.app.on.worker_draining)
        self._give_back()

        if self._wait(max(0.0, grace - LAST_CALL)):
            return True

        self._ask_to_stop()
        return self._wait(min(grace, LAST_CALL))

    def stop(self, timeout: float = 10.0) -> bool:
        """End the threads; settle what has a verdict. False when something could not be written."""
        self.executor.callbacks.stop()
        self._close_dependencies()
        self._threads.stop()

        if any(assignment.task.is_async for assignment in self.executor.running.all()):
            self._stop_loop()

        self._abandon()
        written = self._settler.stop(timeout)
        self._tell_worker(self.app.on.worker_stopped)
        self.executor.telling.herald.stop(min(timeout, LAST_CALL))
        self._stop_loop()
        self._deadlines.stop()
        return written

    def _stop_loop(self) -> None:
        """Before the jobs of coroutines that resist are freed: they may begin elsewhere at once."""
        self.app.on.run_with(None)
        self._loop.stop()

    def _abandon(self) -> None:
        """Settle what still runs. A coroutine that holds up the loop is left to the supervisor, where there is one."""
        for assignment in self.executor.running.all():
            if not (assignment.task.is_async and self._loop.is_alive() and self._stuck):
                self.executor.abandon(assignment)

    def _close_dependencies(self) -> None:
        """Those that live as long as the worker, and those of the process that belong to its loop."""
        for scope, only_on_loop in ((self.host.worker, False), (self.host.process, True)):
            if scope.used:
                self._loop.wait_for(scope.close(only_on_loop))

    def interrupt(self) -> None:
        """Write down as interrupted what still runs; for embedded mode, where nobody can end it."""
        for assignment in self.executor.running.all():
            assignment.verdict = assignment.verdict or Interrupted()

    def _give_back(self) -> None:
        for lane in self._claimer.lanes:
            for assignment in lane.runner.take_back():
                self.executor.give_back(assignment)

    def _go_on_telling(self) -> None:
        """There may be room for a thread by now."""
        self.executor.telling.herald.go_on()
        self.executor.callbacks.go_on()

    def _wait(self, seconds: float) -> bool:
        end = self._clock.monotonic() + seconds
        self._go_on_telling()

        while self._unfinished():
            if self._clock.monotonic() >= end or self._drained.wait(LOOK):
                return not self._unfinished()

        return True

    def _unfinished(self) -> bool:
        """Something runs whose end is open. A thread that outlives its attempt is not waited for."""
        return self._claimer.in_hand() > len(self.executor.overdue) or self.executor.callbacks.open

    def _ask_to_stop(self) -> None:
        """Coroutines are cancelled; threads are told, and what they still return counts."""
        for assignment in self.executor.running.all():
            if assignment.context is not None:
                assignment.context.cancel_now("the worker is stopping")

            if not assignment.task.is_async:
                continue

            assignment.verdict = assignment.verdict or Interrupted()
            self._loop.cancel(assignment)

    # --- verdicts

    def _expire(self, now: float) -> float:
        """End what is past its time; return the next deadline. What cannot be done for one is raised at the end."""
        troubles: list[Exception] = []

        for assignment in self.executor.running.all():
            if assignment.verdict is None and assignment.deadline <= now:
                self._try(troubles, self._end, assignment, timed_out(assignment))

        for assignment in list(self.executor.overdue.values()):
            if assignment.deadline <= now:
                self._try(troubles, self._tell_stuck, assignment)

        due = self._collectors.flush(now)
        watched = (*self.executor.running.all(), *self.executor.overdue.values())

        if troubles:
            raise ExceptionGroup("attempts past their time", troubles)

        return min((due, *(assignment.deadline for assignment in watched)))

    def _try(self, troubles: list[Exception], act: Callable[..., None], *args: object) -> None:
        """One may take its time, where the broker does."""
        self.slots.beat(Pulse.DEADLINES)

        try:
            act(*args)
        except Exception as error:
            troubles.append(error)

    def _end(self, assignment: Assignment, verdict: Outcome) -> None:
        """Fix what the attempt ends as, and end it as far as that is possible.

        A thread cannot be stopped. Its attempt is settled at once when nothing may start on its account; a retry, a unique
        key and a limit's slot wait until the thread ends or its process is replaced.
        """
        assignment.verdict = verdict
        assignment.deadline = self._clock.monotonic() + self.app.settings.stuck_after
        self.executor.outlive(assignment)

        if assignment.context is not None:
            assignment.context.cancel_now()

        if assignment.task.is_async:
            self._loop.cancel(assignment)
        elif settles_now(self.app.broker, assignment, verdict):
            self.executor.abandon(assignment)

        self._deadlines.watch(assignment.deadline)

    def _tell_stuck(self, assignment: Assignment) -> None:
        assignment.deadline = NEVER
        logger.error(
            "job %s (%s) does not stop; %s",
            assignment.job.id,
            assignment.job.task,
            "its worker process will be replaced" if self._stuck else "its thread is lost until this process ends",
            extra={"action": "job.stuck", "job_id": str(assignment.job.id)},
        )

        if self._stuck is not None:
            self._stuck()

    # --- wiring

    def _runner_of(self, task: Task[..., object]) -> ThreadRunner | LoopRunner:
        return self._loop if task.is_async else self._threads

    def _lanes(self) -> list[Lane]:
        return [Lane(self._threads, Names(self.app, is_async=False)), Lane(self._loop, Names(self.app, is_async=True))]

    def _pace(self, slots: int) -> Pace:
        settings = self.app.settings
        return Pace(slots, settings.lookahead, min(2 * settings.claim_limit, MOST_AHEAD), self._clock)

    def _plan(self) -> ClaimPlan:
        settings, options = self.app.settings, self.options
        return ClaimPlan(
            clock=self._clock,
            queues=options.queues,
            weights=options.weights,
            limit=settings.claim_limit,
            poll_interval=min(settings.poll_interval, self._longest_wait),
        )

    def _tell_progress(self, reports: list[Report]) -> None:
        """On the settler's thread, after the values were stored."""
        self.executor.telling.reports(reports, self.executor.running)

    def _tell_worker(self, signal: Signal) -> None:
        if signal.handlers:
            self.executor.telling.herald.tell(signal, Event(signal.name, worker=self.options.name))

    def _ring(self) -> None:
        self._claimer.wake()


class Names:
    """The names of the tasks of one kind, aliases too, as they are now; batch tasks have lanes of their own."""

    def __init__(self, app: QueueTasks, is_async: bool) -> None:
        self._app = app
        self._is_async = is_async
        self._counted = (0, 0)
        self._names: frozenset[str] = frozenset()

    def __call__(self) -> frozenset[str]:
        tasks, aliases = self._app.tasks, self._app.aliases

        if (counted := (len(tasks), len(aliases))) != self._counted:
            names = {name for name, task in list(tasks.items()) if self._means(task)}
            self._names = frozenset(names | {alias for alias, name in list(aliases.items()) if name in names})
            self._counted = counted

        return self._names

    def _means(self, task: Task[..., object]) -> bool:
        return task.is_async is self._is_async and task.features.batch is None


def new_session(options: EngineOptions, app: QueueTasks) -> SessionInfo:
    """A session that nobody had before; its id begins with the worker's name."""
    return SessionInfo(
        id=f"{options.name}.{secrets.token_hex(8)}",
        worker=options.name,
        host=platform.node(),
        pid=os.getpid(),
        queues=options.queues,
        concurrency=options.threads + options.concurrency,
        tasks=tuple(sorted({*app.tasks, *app.aliases})),
        release=__version__,
        started_at=app.clock.now(),
    )
