"""``QueueTasks``: an application's tasks, and the client side of its broker."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import import_module
from typing import Any, Literal, Protocol, cast
from uuid import UUID

from cherga.brokers import connect
from cherga.client import foreign, loading
from cherga.client.applications import enter
from cherga.client.by_name import ByName
from cherga.client.children import Parent, adopted
from cherga.client.context import current_parent
from cherga.client.declare import Declaration, Declaring, TaskOptions, aliases_of, policy_of
from cherga.client.departure import Departure, Unit, find_keys, has_keys, hold_jobs, make_witness, refuse_wish
from cherga.client.dotted import DottedTasks
from cherga.client.explainers import Explainer, without_flask
from cherga.client.handle import Job
from cherga.client.home import home_of, importable_name
from cherga.client.lifespan import Lifespan
from cherga.client.looking import Looking
from cherga.client.lookout import Lookout
from cherga.client.middleware import EnqueueMiddleware, Middleware, check_wrap, outgoing
from cherga.client.proving import Proof
from cherga.client.publish import publish
from cherga.client.queue import Queue
from cherga.client.router import Router
from cherga.client.signals import Event, Signals
from cherga.client.snapshot import AsPushed
from cherga.client.standing import Standing
from cherga.client.state import S, State, StateHandle, name_of
from cherga.client.steering import Steering
from cherga.client.submit import Submitter, unanswered
from cherga.client.task import Task
from cherga.client.travelling import Carrier, is_traced, loaded
from cherga.doors.broker import FullBroker
from cherga.rules import options as check
from cherga.rules.obstacles import Home
from cherga.rules.settings import make_settings
from cherga.rules.urls import as_url, default_url, masked
from cherga.words.clock import Clock, SystemClock
from cherga.words.departure import When, Wish
from cherga.words.errors import BrokerUnavailable, ConfigError, EnqueueRefused
from cherga.words.job import FINAL_STATES, JobRow
from cherga.words.limits import LimitRule
from cherga.words.push import NewJob, PushAnswer

BROKER_URL = "CHERGA_BROKER_URL"
FRAMEWORKS = frozenset({"FastAPI", "Flask", "Starlette"})
"""The classes of applications that have a ``Cherga`` of their own in ``cherga.contrib``."""


class AfterSend(Protocol):
    """An observer of jobs once they are stored."""

    def sent(self, jobs: Sequence[Job[Any]]) -> None: ...
    async def asent(self, jobs: Sequence[Job[Any]]) -> None: ...


def _checked_name(name: str) -> str:
    if (framework := type(name).__name__) in FRAMEWORKS:
        raise ConfigError(
            f"expected a name for the application, got {name!r}; with {framework} write "
            f"cherga.contrib.{framework.lower()}.Cherga(app)"
        )

    if isinstance(name, str) and "://" in name:
        raise ConfigError(
            f"expected a name for the application first, got {masked(name)!r}; write QueueTasks('shop', {masked(name)!r})"
        )

    return check.name(name, "the application's name")


class QueueTasks(Declaring, Looking, ByName, Steering, foreign.Explaining):
    """An application's tasks and its broker; one object serves sync and async code.

    ``name`` is the broker's namespace. ``broker_url`` defaults to the environment's ``CHERGA_BROKER_URL``, else to the file
    ``NAME.cherga.db`` in the working directory; a ``Path`` is the file itself. Further keywords are the fields of ``Settings``
    and ``BrokerSettings``. The broker is opened at the first use, and again in each forked process.
    """

    _foreign = foreign.APPLICATION
    _internal = (
        "aaddressed addressed adopt after_send aliases around_job asend astore astore_held build_named carriers clock "
        "declared_limits departure dotted draft enqueue_middlewares explainers given_settings group_handle handle "
        "handle_state held hold_open home lifespan loaded_as lookout max_payload middlewares pause_scope prepare proofs "
        "publish published read_result results_of resumed_by send standing_in store store_held submitter surroundings "
        "task_named undeclared"
    )

    loaded_as: str | None = None
    """The words with which a command named the application."""

    def __init__(self, name: str = "cherga", broker_url: str | os.PathLike[str] | None = None, **settings: Any) -> None:
        self.tasks: dict[str, Task[Any, Any]] = {}
        """The declared tasks by name."""
        self.aliases: dict[str, str] = {}
        self.dotted = DottedTasks(self.tasks, self.aliases, self._declared)
        self._standings: dict[str, Standing] = {}
        self._states: dict[str, type[State]] = {}
        self.around_job: list[Callable[[], AbstractContextManager[object]]] = []
        """Makes the context managers that each job runs in, outermost first."""
        self.proofs: list[Proof] = []
        """The proofs that a worker makes before its first claim."""
        self.explainers: list[Explainer] = [without_flask]
        """The explainers that are asked about an error which a job has met."""
        self.middlewares: list[Middleware] = []
        self.enqueue_middlewares: list[EnqueueMiddleware] = []
        self.carriers: list[Carrier] = []
        """The carriers that give jobs headers to take along."""
        self.dependency_overrides: dict[Callable[..., Any], Callable[..., Any]] = {}
        """The functions that stand in for those of dependencies, in tests."""
        self.declared_limits: dict[str, LimitRule] = {}
        """Limits of queues, as ``limit`` declares them."""
        self.on = Signals()
        """The signals: each is called with a handler, as in ``@app.on.failed``."""
        self.clock: Clock = SystemClock()
        self.job_logger = logging.getLogger("cherga.job")
        """The logger of failures and ends of jobs; an application may put its own here."""
        self.departure: Departure | None = None
        """Says which enqueues are held until a transaction commits; None: none is."""
        self.after_send: AfterSend | None = None
        """The observer of jobs once they are stored, in tests."""
        self.lifespan: Callable[[], Lifespan] | None = None
        """Makes what a worker process goes through, on the loop of its async jobs, before the first and after the last."""
        self._lock = threading.RLock()
        self._broker: FullBroker | None = None
        self._stand_in: FullBroker | None = None
        self._workers = 0
        self._set_up(name, broker_url, settings)
        self.submitter = Submitter(lambda groups: self.broker.push(groups))
        self.lookout = Lookout(lambda: self.broker, lambda: self.clock, lambda: self.home)
        enter(self)

    def configure(self, name: str | None = None, broker_url: str | os.PathLike[str] | None = None, **settings: Any) -> None:
        """Set name, broker and settings before the first use; what is not given stays as it was.

        Tasks that were declared before take their defaults (``max_time`` and how long jobs are kept) from these settings.
        Raises ``ConfigError`` that names what is wrong, and then nothing has changed.
        """
        self._set_up(self.name if name is None else name, broker_url or self._given_url, {**self.given_settings, **settings})

    def _set_up(self, name: str, broker_url: str | os.PathLike[str] | None, settings: dict[str, Any]) -> None:
        """Begin with these alone; the URL comes from the environment, or is made of the name, where none is given."""
        if self._broker is not self._stand_in:
            raise ConfigError(f"expected {self.name} to be configured before its broker was opened")

        checked = make_settings(_checked_name(name), settings)
        url = as_url(broker_url) if broker_url else os.environ.get(BROKER_URL) or default_url(name)
        self.name = name
        self.broker_url = url
        """The URL of the broker, which sets where jobs are stored."""
        self.given_settings = settings
        self.settings = checked
        """The settings, checked."""
        self.max_payload = checked.max_payload
        self._given_url = broker_url

        for standing in self._standings.values():
            standing.renewed = True
            standing.task.policy = policy_of(cast(TaskOptions, standing.declaration.options), self.settings)

    @property
    def home(self) -> Home:
        """The place of its jobs, and how a worker for them is started."""
        return home_of(self.broker_url, self.loaded_as or self._target())

    def _target(self) -> str | None:
        """The application as ``-A`` names it, as far as can be told from the modules of its tasks."""
        return importable_name((self,), [task.__module__ for task in self.tasks.values()])

    name = "cherga"
    """The application's name, and the broker's namespace."""

    # --- declaring

    def _declared(self, declaration: Declaration) -> Task[Any, Any]:
        """Take a task in, under its name and its aliases."""
        task = declaration.build(self, self.settings)
        aliases = aliases_of(declaration)

        for name in (declaration.name, *aliases):
            if (holder := self._standings.get(self.aliases.get(name, name))) is not None:
                holder.admits(name, declaration)

        if (found := self.dotted.give_up(task.function, task.name)) is not None:
            del self.tasks[found], self._standings[found]

        former = self._standings.get(task.name)
        self._standings[task.name] = former.replaced_by(declaration, task) if former else Standing(declaration, task)
        self.tasks[task.name] = task
        self.aliases.update(dict.fromkeys(aliases, task.name))
        return task

    def include_router(self, router: Router) -> None:
        """Take in a router's tasks, those too that are declared later."""
        if not isinstance(router, Router):
            raise ConfigError(f"expected a router, got {router!r}")

        router.join(self._declared)

    def tasks_from(self, *modules: str) -> None:
        """Let the public functions of these modules be tasks under their dotted names, such as ``"app.tasks.example"``.

        Workers import the modules when they start; who only enqueues need not be able to. Nothing that is not listed here is
        ever looked for.
        """
        for module in modules:
            self.dotted.add(module)

    def middleware(self, wrap: Middleware) -> Middleware:
        """Put a middleware around every job of this application; the first one added is outermost."""
        self.middlewares.append(check_wrap(wrap, "a middleware"))
        return wrap

    def around_enqueue(self, wrap: EnqueueMiddleware) -> EnqueueMiddleware:
        """Put a middleware around every enqueue of this application; the first one added is outermost."""
        self.enqueue_middlewares.append(check_wrap(wrap, "a middleware around enqueue"))
        return wrap

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """The application's own context, made anew: what each job runs in, and all that a worker calls beside jobs."""
        with ExitStack() as stack:
            for make in self.around_job:
                stack.enter_context(make())

            yield

    # --- shared values

    def state(self, kind: type[S], key: str = "") -> StateHandle[S]:
        """The value of this class that all jobs share, one for each ``key``. Raises ``ConfigError`` for an unfit class."""
        handle = StateHandle(kind, self, key)
        other = self._states.setdefault(name_of(kind), kind)

        if (other.__module__, other.__qualname__) != (kind.__module__, kind.__qualname__):
            raise ConfigError(f"the state {name_of(kind)!r} is taken: {other!r} and {kind!r}; set state_name in one of them")

        return handle

    # --- enqueueing

    def queue(self, name: str = "default") -> Queue:
        """A queue with RQ's verbs: ``app.queue("mail").enqueue("app.tasks.send", 7)``."""
        return Queue(name, self)

    def send(self, jobs: Sequence[NewJob], wish: Wish | None = None) -> list[Job[Any]]:
        """Push jobs, all or none, and return their handles. Those that belong to a transaction are held until it commits."""
        if not jobs:
            return []

        if (self.departure is None and wish is None) or (unit := self._unit(wish)) is None:
            return self.store(self._outgoing(jobs))

        going = self._outgoing(jobs)
        keys = find_keys(self.broker, unit, going) if has_keys(going) else None
        return hold_jobs(self, unit, going, keys)

    async def asend(self, jobs: Sequence[NewJob], wish: Wish | None = None) -> list[Job[Any]]:
        """The async twin of ``send``, coalesced with what other coroutines send meanwhile."""
        if not jobs:
            return []

        if (self.departure is None and wish is None) or (unit := self._unit(wish)) is None:
            return await self.astore(self._outgoing(jobs))

        going = self._outgoing(jobs)
        keys = await self.submitter.call(lambda: find_keys(self.broker, unit, going)) if has_keys(going) else None
        return hold_jobs(self, unit, going, keys)

    def _unit(self, wish: Wish | None) -> Unit | None:
        """The unit of work that an enqueue belongs to; None: it leaves at once."""
        if self.departure is not None:
            return self.departure.find_unit(wish)

        return None if wish is None or (wish.when is When.NOW and wish.session is None) else refuse_wish(self.name)

    def store(self, jobs: Sequence[NewJob]) -> list[Job[Any]]:
        """Push jobs that the enqueue middleware has seen. ``EnqueueUnknown`` when no answer came in time."""
        (answer,) = self._push_in_time((jobs,))
        handles = self._handles(jobs, answer, self._known_before(answer))

        if self.after_send is not None:
            self.after_send.sent(handles)

        return handles

    def store_held(self, groups: Sequence[Sequence[NewJob]]) -> list[list[Job[Any]] | EnqueueRefused]:
        """Push these groups in one round trip: the handles of each, or why it was refused. Raises as ``store`` does."""
        return self._stored(groups, *self._push_held(groups))

    async def astore_held(self, groups: Sequence[Sequence[NewJob]]) -> list[list[Job[Any]] | EnqueueRefused]:
        """The async twin of ``store_held``."""
        return self._stored(groups, *await self.submitter.call(self._push_held, groups))

    def _push_held(self, groups: Sequence[Sequence[NewJob]]) -> tuple[list[PushAnswer], list[dict[UUID, JobRow]]]:
        answers = self._push_in_time(groups)
        return answers, [self._known_before(answer) for answer in answers]

    def _stored(
        self, groups: Sequence[Sequence[NewJob]], answers: Sequence[PushAnswer], known: Sequence[dict[UUID, JobRow]]
    ) -> list[list[Job[Any]] | EnqueueRefused]:
        return [
            EnqueueRefused(answer.refused) if answer.refused is not None else self._handles(group, answer, rows)
            for group, answer, rows in zip(groups, answers, known, strict=True)
        ]

    async def astore(self, jobs: Sequence[NewJob]) -> list[Job[Any]]:
        """The async twin of ``store``."""
        answer = await self.submitter.push(jobs, self.settings.enqueue_timeout)
        handles = self._handles(jobs, answer, await self.submitter.call(self._known_before, answer) if _stale(answer) else {})

        if self.after_send is not None:
            await self.after_send.asent(handles)

        return handles

    def _push_in_time(self, groups: Sequence[Sequence[NewJob]]) -> list[PushAnswer]:
        broker, began = self.broker, SystemClock.monotonic()

        try:
            return broker.push(groups)
        except BrokerUnavailable as error:
            if SystemClock.monotonic() - began < self.settings.enqueue_timeout:
                raise

            raise unanswered(groups[0], self.settings.enqueue_timeout) from error

    def _outgoing(self, jobs: Sequence[NewJob]) -> Sequence[NewJob]:
        """The jobs with the parent inside which they are enqueued, and as the enqueue middleware wants them stored."""
        if loading.thread is not None:
            loading.note_enqueue(jobs[0].task)

        parent = current_parent(self)
        return self._passed(jobs if parent is None else adopted(jobs, parent), parent)

    def _passed(self, jobs: Sequence[NewJob], parent: Parent | None) -> Sequence[NewJob]:
        if self.carriers or parent is not None or is_traced():
            jobs = loaded(jobs, self.carriers, parent)

        return outgoing(jobs, self.enqueue_middlewares) if self.enqueue_middlewares else jobs

    def adopt(self, jobs: Sequence[NewJob], of: Parent) -> Sequence[NewJob]:
        """The jobs as children of the one that asks, as the enqueue middleware wants them stored."""
        return self._passed(adopted(jobs, of), of)

    def _handles(self, jobs: Sequence[NewJob], answer: PushAnswer, known: dict[UUID, JobRow]) -> list[Job[Any]]:
        if answer.refused is not None:
            raise EnqueueRefused(answer.refused)

        if self.on.enqueued.handlers:
            for job, pushed in zip(jobs, answer.jobs, strict=True):
                if not pushed.existing:
                    self.on.enqueued.send(Event("enqueued", job_id=pushed.id, task_name=job.task, state=pushed.state))

        now = self.clock.now()
        return [
            self.handle((known and known.get(pushed.id)) or AsPushed(job, pushed.id, pushed.state, now), pushed.existing)
            for job, pushed in zip(jobs, answer.jobs, strict=True)
        ]

    def _known_before(self, answer: PushAnswer) -> dict[UUID, JobRow]:
        """The rows of jobs that were there before: the sender cannot know what stands in them."""
        ids = _stale(answer)
        return {row.id: row for row in self.broker.get(ids) if row is not None} if ids else {}

    # --- the broker

    @property
    def broker(self) -> FullBroker:
        """The broker, opened at the first use. Raises ``ConfigError`` or ``BrokerError`` when it cannot be."""
        if (broker := self._broker) is not None:
            return broker

        self._open()
        return cast(FullBroker, self._broker)

    def _open(self) -> None:
        with self._lock:
            if self._broker is None:
                broker = connect(self.broker_url, self.settings.broker)
                broker.open()
                self._keep(broker)
                self.departure = self.departure or make_witness(self.name)

    def _keep(self, broker: FullBroker) -> None:
        if self._broker is None:
            self._broker = broker
        else:  # a signal handler has opened one meanwhile, on the same thread
            broker.close()

    def close(self) -> None:
        """Give back threads and connections; the next use opens them again.

        While a worker runs in this process, nothing is given back: a job that closes its application would take the broker
        from under all others.
        """
        if self._workers:
            return

        self.submitter.close()

        with self._lock:
            broker, self._broker = self._broker, self._stand_in

        self.lookout.close()

        if broker is not None and broker is not self._stand_in:
            broker.close()

    @contextmanager
    def hold_open(self) -> Iterator[None]:
        """For the block a worker runs in this process, and ``close`` gives nothing back."""
        with self._lock:
            self._workers += 1

        try:
            yield
        finally:
            with self._lock:
                self._workers -= 1

    @contextmanager
    def standing_in(self, url: str) -> Iterator[FullBroker]:
        """For the block another broker takes the place of this application's, which is neither used nor closed meanwhile."""
        settings, kept, former = self.settings, self._broker, self._stand_in
        broker = connect(url, settings.broker)
        broker.open()
        self._broker = self._stand_in = broker
        self.lookout.close()

        try:
            yield broker
        finally:
            self._broker, self._stand_in = kept, former

            if self.settings is not settings:  # configured anew meanwhile: what was open may be the wrong one
                self._broker = former

            self.lookout.close()

            if kept is not self._broker and kept is not None:
                kept.close()

            broker.close()

    # --- testing

    def testing(self, inline: bool | Literal["raise"] = False) -> AbstractContextManager[Any]:
        """For the block, jobs go to a fresh broker in memory, and the ``cherga.testing.kit.Kit`` that it gives runs them.

        ``inline`` runs each job before its enqueue returns; ``"raise"`` raises its failure there too.
        """
        return cast(AbstractContextManager[Any], import_module("cherga.testing.kit").Kit(self, inline))

    # --- working

    def worker(self, **options: Any) -> AbstractContextManager[Any]:
        """Embedded mode: run jobs in threads of this process for as long as the ``with`` block lasts.

        Options: ``queues``, ``threads``, ``concurrency``, ``name``. It has neither hog-proof leases nor recycling: a task
        that keeps the interpreter busy can hold up the heartbeat.
        """
        # Opened by name, like a broker: the worker's floor lies above this one, and clients never load it.
        embedded = import_module("cherga.worker.embedded").EmbeddedWorker
        return cast(AbstractContextManager[Any], embedded(self, **options))

    def publish(self) -> None:
        """Store what is declared here: tasks for senders by name, limits and schedules; what is no longer declared goes."""
        publish(self)

    def _hint(self, name: str) -> str:
        # What this asks for must be there already, or the question would ask itself.
        return f"; the task is app.tasks[{name!r}]" if name in self.__dict__.get("tasks", ()) else super()._hint(name)

    def __repr__(self) -> str:
        count = len(self.tasks)
        return f"<{type(self).__name__} {self.name}: {count} {'task' if count == 1 else 'tasks'}>"


def _stale(answer: PushAnswer) -> list[UUID]:
    """Ids of jobs that were there before this push, or that it ended at once."""
    return [job.id for job in answer.jobs if job.existing or job.state in FINAL_STATES]
