"""The engine: one session's claimer, runners, settler and deadlines, wired together; start, drain, stop.

The same engine runs in a worker process and, in embedded mode, in threads of the application.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import threading
from collections.abc import Callable, Iterable
from functools import partial

from msgspec import Struct

from cherga.client.app import QueueTasks
from cherga.client.lifespan import Lifespan
from cherga.client.mishaps import revive
from cherga.client.signals import Event, Signal
from cherga.client.task import Task
from cherga.rules.settings import SHORTEST_INTERVAL
from cherga.version import __version__
from cherga.words.errors import ConfigError
from cherga.words.inspection import TaskCount
from cherga.words.job import JobState
from cherga.words.outcomes import Interrupted
from cherga.words.proof import Finding
from cherga.words.report import Report
from cherga.words.session import Cancel, SessionInfo
from cherga.words.settlement import Settlement
from cherga.worker.breakage import Breakage, Broken
from cherga.worker.claimer import Claimer, ClaimPlan, Lane, Names
from cherga.worker.collecting import Collector, Collectors, Desk
from cherga.worker.deadlines import Deadlines
from cherga.worker.executor import Executor
from cherga.worker.host import WorkerHost
from cherga.worker.lending import Lending
from cherga.worker.loop import LoopRunner
from cherga.worker.news import News
from cherga.worker.options import CLOSING, FAREWELL, LAST_WRITE
from cherga.worker.pace import Pace
from cherga.worker.settler import Settler
from cherga.worker.slots import MOST_AHEAD, Pulse, SlotTable, share_slots
from cherga.worker.threads import ThreadRunner
from cherga.worker.verdicts import Endings, Judge

logger = logging.getLogger("cherga.worker")

LOOK = 0.02
MOMENT = 1.0
"""Seconds in which a thread that looks whether it should stop has done so."""
LEASE_SHARE = 0.9
"""Share of a lease in which new jobs are started, so that a slow clock harms nobody."""


class EngineOptions(Struct, frozen=True, kw_only=True):
    """The work of one engine."""

    name: str
    threads: int
    concurrency: int
    queues: tuple[str, ...] = ()
    weights: tuple[int, ...] = ()


class Parts(Struct, frozen=True):
    """The parts of engines; the testing kit has some of its own."""

    executor: type[Executor] = Executor
    settler: type[Settler] = Settler
    threads: type[ThreadRunner] = ThreadRunner
    loop: type[LoopRunner] = LoopRunner
    collector: type[Collector] = Collector


class Engine:
    """Runs jobs of ``app`` until it is drained.

    ``stuck`` is called when a thread outlives its attempt too long, ``broken`` once when the broker needs a person.
    """

    parts = Parts()
    awaits_rates = True
    """True when there is still something to do while a rate holds a job up."""

    def __init__(
        self,
        app: QueueTasks,
        options: EngineOptions,
        slots: SlotTable,
        stuck: Callable[[], None] | None = None,
        broken: Broken | None = None,
    ) -> None:
        app.dotted.load()

        if not app.tasks:
            raise ConfigError(
                f"the application {app.name!r} has no tasks; declare one with @app.task, and import its module where the "
                'application is made, or list that with tasks_from("package.tasks")'
            )

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
        self.executor.lend_with(Lending(lambda: app.broker, self.executor.running, self._threads, self._loop))
        desk = Desk(self.executor, self._deadlines, app.clock)
        self._collectors = Collectors(app, self.parts.collector, desk, self._runner_of)
        self.judge = Judge(app, self.executor, Endings(self._loop, self._collectors, self._deadlines), slots, stuck)
        more = self._collectors.new_lanes
        self._claimer = Claimer(app.broker, self._lanes(), self.executor, self._settler, slots, self._plan(), more)
        self._claimer.breakage = Breakage(app.clock, broken)
        patience = min(app.settings.poll_interval, self._longest_wait)
        self.news = News(app.broker, lambda: self.session.id, self._names, self.executor.telling.news, patience)
        self._drained = threading.Event()
        self._started = False
        self._lifespan: Lifespan | None = None

    @staticmethod
    def slot_count(options: EngineOptions) -> int:
        """Slots that the table of such an engine needs."""
        return share_slots(options.threads, options.concurrency).spare_loop.stop

    def begin_life(self) -> None:
        """Start the application up on the loop, in a process that is a worker's alone. Raises ``LifespanFailed``."""
        if self.app.lifespan is not None:
            lifespan = self.app.lifespan()
            self._loop.wait_for(lifespan.start())
            self._lifespan = lifespan

    def note_told(self, findings: Iterable[Finding]) -> None:
        """What the proof has said is not said again."""
        self._claimer.told.update(finding.unknown_task for finding in findings if finding.unknown_task)

    def register(self) -> None:
        """Begin the session; from here on its lease has to be renewed."""
        settings = self.app.settings.broker
        sent = self._clock.uptime()
        self.app.broker.register(self.session)
        self.slots.note_in(self.app.broker.black_box(self.session.id, self.slots.box_bytes))
        self.slots.lease_until = sent + settings.lease * LEASE_SHARE
        self.executor.session = self._claimer.session = self.session.id

    def start(self) -> None:
        """Begin to claim, once registered."""
        revive()
        self.app.publish()
        self.executor.one.journal.successes.start()
        self._settler.start()
        self._deadlines.start(self.judge.expire)
        lanes = [lane for lane in self._claimer.lanes if lane.names()]
        self.app.on.run_with(self._loop.run_soon)
        self._claimer.start()
        self.news.start()

        # Last of all the threads for jobs, which take what room there is.
        for lane in sorted(lanes, key=lambda lane: lane.runner is self._threads):
            lane.runner.start()

        self._started = True
        self._tell_worker(self.app.on.worker_started)

    # --- what comes from outside

    def cancel(self, cancel: Cancel) -> None:
        """Somebody asked to cancel a running job."""
        self.judge.cancel(cancel)

    def renew(self) -> None:
        """The session was lost: what it had may run elsewhere, so it is stopped here; go on as a new session.

        Where that cannot be registered either (``BrokerError``), it will be lost in its turn.
        """
        self.executor.session = ""  # nothing more of the old one begins

        for assignment in self.executor.running.all():
            self.judge.end(assignment, Interrupted())

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

        if not self.executor.telling.herald.idle or not self.news.over():
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
        """Claim nothing more, give back what never started, and let the rest finish. The grace time is theirs, whole.

        What still runs then is asked to stop. False when a job was interrupted, or runs on.
        """
        before = self.executor.one.interruptions
        self._claimer.stop()
        self._tell_worker(self.app.on.worker_draining)
        self._give_back()

        if not self._wait(grace, self._unfinished):
            self._ask_to_stop()
            self._wait(MOMENT, self._running)
            self._wait(FAREWELL - MOMENT, self._tidying_up)

        return not self._running() and self.executor.one.interruptions == before

    def stop(self) -> bool:
        """End the threads, in a process that goes on. False when something could not be written."""
        self.close()
        written = self.settle()
        self.executor.telling.herald.stop(CLOSING)
        self._deadlines.stop()
        self.end_log(CLOSING)
        return written

    def end_log(self, timeout: float) -> None:
        """Write what the log has not yet been told."""
        self.executor.one.journal.successes.stop(timeout)

    def close(self) -> None:
        """Do all that takes its time: tell what is stored, close what lives as long as the worker, end the loop."""
        self.news.stop(CLOSING)
        self.executor.callbacks.stop()
        self._threads.stop()

        for step in (self._close_dependencies, self._tell_of_the_end, self.news.close, self.end_life, self._stop_loop):
            try:
                step()
            except BaseException:  # of user code, whatever it is
                logger.exception("the worker could not be closed in order", extra={"action": "worker.close"})

    def settle(self, timeout: float = 10.0) -> bool:
        """Settle what has a verdict, though its function may still run. False when not everything could be written."""
        self._abandon()
        return self._settler.stop(timeout)

    def last_words(self, timeout: float) -> list[Settlement]:
        """Write what may be written, and return the rest for whoever outlives this process, which is to end at once.

        It is what has a verdict though its function still runs, for it may start elsewhere when that is known; and what the
        broker has not taken. Nobody is told of it here.
        """
        self.executor.telling.herald.fall_silent()
        kept = self._settler.divert()
        self._abandon()
        self._settler.stop(timeout)
        return [*self._settler.left(), *kept]

    def _tell_of_the_end(self) -> None:
        """After the ends of jobs, which are told once they are stored."""
        self._wait(LAST_WRITE, lambda: not self._settler.idle)
        self._tell_worker(self.app.on.worker_stopped)
        self.executor.telling.herald.finish(CLOSING)

    def end_life(self) -> None:
        """Shut down what ``begin_life`` has started."""
        if self._lifespan is not None:
            lifespan, self._lifespan = self._lifespan, None
            self._loop.wait_for(lifespan.stop())

    def _stop_loop(self) -> None:
        """Before the jobs of coroutines that resist are freed: they may begin elsewhere at once."""
        self.app.on.run_with(None)
        self._loop.stop(CLOSING)

    def _abandon(self) -> None:
        """Settle what still runs. A coroutine that holds up the loop is left to the supervisor, where there is one."""
        for assignment in self.executor.running.all():
            if not (assignment.task.is_async and self._loop.is_alive() and self._stuck):
                self.executor.abandon(assignment)

    def _close_dependencies(self) -> None:
        """The dependencies that live as long as the worker, and those of the process that belong to its loop."""
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

    def _wait(self, seconds: float, lasts: Callable[[], bool]) -> bool:
        """True when it is over in time."""
        end = self._clock.monotonic() + seconds
        self._go_on_telling()

        while lasts():
            if self._clock.monotonic() >= end:
                return False

            self._drained.wait(LOOK)

        return True

    def _unfinished(self) -> bool:
        return self._running() or self.executor.callbacks.open

    def _running(self) -> bool:
        """Something runs whose end is open. A thread that outlives its attempt is not waited for."""
        return self._claimer.in_hand() > len(self.executor.overdue)

    def _tidying_up(self) -> bool:
        """A coroutine has not ended since it was cancelled."""
        return any(each.task.is_async and each.job.token not in self.executor.overdue for each in self.executor.running.all())

    def _ask_to_stop(self) -> None:
        """Coroutines are cancelled; threads are told, and what they still return counts."""
        for assignment in self.executor.running.all():
            if assignment.context is not None:
                assignment.context.cancel_now("the worker is stopping")

            if not assignment.task.is_async:
                continue

            assignment.verdict = assignment.verdict or Interrupted()
            self._loop.cancel(assignment)

    # --- wiring

    def _runner_of(self, task: Task[..., object]) -> ThreadRunner | LoopRunner:
        return self._loop if task.is_async else self._threads

    def _lanes(self) -> list[Lane]:
        return [Lane(self._threads, Names(self.app, is_async=False)), Lane(self._loop, Names(self.app, is_async=True))]

    def _names(self) -> frozenset[str]:
        return frozenset((*self.app.tasks, *self.app.aliases))

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
            lookahead=settings.lookahead,
            poll_interval=min(settings.poll_interval, self._longest_wait),
        )

    def _tell_progress(self, reports: list[Report]) -> None:
        """On the settler's thread, after the values were stored."""
        self.executor.telling.reports(reports, self.executor.running)

    def _tell_worker(self, signal: Signal) -> None:
        if signal.handlers and self._started:
            self.executor.telling.tell(signal, Event(signal.name, worker=self.options.name))

    def _ring(self) -> None:
        self._claimer.wake()


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
