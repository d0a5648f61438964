"""A table of jobs in the application's own database: ``TaskMixin`` gives the columns, ``keep_true`` keeps the rows true.

The broker knows how a job stands; a row is a copy, for queries and for people. It is written when an end is told, by a worker
or by whoever cancelled the job, and says what the broker says at that moment. An end that was never told, because the process
that should have told it died, is found by comparing rows with the broker: when a worker process starts, and once a minute.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column, scoped_session

from cherga.client.app import QueueTasks
from cherga.client.handle import Job
from cherga.client.mishaps import tell
from cherga.client.signals import Event, Signal
from cherga.words.errors import BrokerError, ConfigError
from cherga.words.job import JobState, Reason

EVERY = 60.0
"""Seconds between two comparisons of a worker process."""
GONE_AFTER = 600.0
"""Seconds that the broker must not have known a job before its row is closed: until then it may still be on its way."""
PAGE = 500
COLUMNS = ("complete", "state", "reason")
PATIENCE = 2.0
"""Seconds that the end of a worker waits for rows that are being written."""

Sessions = Callable[[], Session]


class TaskMixin:
    """The columns of a row about one job, for a declarative class of the application.

    ``id`` is the job's, as text. ``complete`` is false until the job has ended, however it ends; ``state`` is then
    ``succeeded``, ``failed`` or ``cancelled``, and ``reason`` says why, where the broker knows it (``error``, ``timeout``,
    ``poison``, ``expired`` …). A complete row without a state is of a job that the broker does not keep any more.
    """

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(128), index=True)
    description: Mapped[str | None] = mapped_column(sa.String(128))
    complete: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str | None] = mapped_column(sa.String(16))
    reason: Mapped[str | None] = mapped_column(sa.String(32))

    __keeper__: ClassVar[TaskKeeper | None] = None

    @property
    def job(self) -> Job[Any] | None:
        """The job as the broker has it now; None when it is not kept any more. Raises ``BrokerError`` when nobody can say."""
        id = _as_uuid(self.id)
        return None if id is None else self._kept_by().app.get(id)

    def get_progress(self) -> float:
        """The share done, 0 to 100: what the task reported, or put into ``meta["progress"]``. 100 once it has ended."""
        try:
            job = None if self.complete else self.job
        except BrokerError:
            return 0

        return 100 if job is None or job.status.final else _reported(job)

    def _kept_by(self) -> TaskKeeper:
        if self.__keeper__ is None:
            name = type(self).__name__
            raise ConfigError(f"expected keep_true({name}, app, db.session) behind the class {name}, and it was not called")

        return self.__keeper__


def keep_true(model: type[TaskMixin], app: QueueTasks, sessions: Sessions, *, every: float = EVERY) -> TaskKeeper:
    """Let the rows of this class follow their jobs, however these end. A second call for a class replaces the first.

    ``sessions`` makes sessions: a ``sessionmaker``, a ``scoped_session`` such as Flask-SQLAlchemy's ``db.session``, or a
    function. Rows are written in sessions of their own, never in one that is in use. A worker process compares them with the
    broker each ``every`` seconds. Raises ``ConfigError`` for what does not fit.
    """
    _check(model, app, sessions)

    if model.__keeper__ is not None:
        model.__keeper__.disconnect()

    model.__keeper__ = TaskKeeper(model, app, sessions, every)
    return model.__keeper__


class _Standing(NamedTuple):
    """The standing of a row's job: ended in this state for this reason, or not ended."""

    id: str
    state: JobState | None
    reason: Reason | None = None
    gone: bool = False

    @property
    def complete(self) -> bool:
        return self.gone or (self.state is not None and self.state.final)

    def values(self) -> dict[str, Any]:
        """The columns of the row."""
        state = self.state.value if self.state is not None and self.complete else None
        return {"complete": self.complete, "state": state, "reason": self.reason and state and self.reason.value}


class TaskKeeper:
    """Writes what the broker says of jobs into the rows of one class."""

    def __init__(
        self, model: type[TaskMixin], app: QueueTasks, sessions: Sessions, every: float = EVERY, page: int = PAGE
    ) -> None:
        self.app = app
        self._model = model
        self._sessions = sessions.session_factory if isinstance(sessions, scoped_session) else sessions
        self._every = every
        self._page = page
        self._told: dict[str, JobState | None] = {}
        """Jobs that something was told of and whose rows were not looked at since, with the state that they had then."""
        self._asked: list[_Standing] = []
        """Jobs that were cancelled in this process before they began; one thread writes for as long as there are any."""
        self._missing: dict[str, float] = {}
        """Since when the broker has not known these jobs, by the monotonic clock."""
        self._telling = threading.Lock()
        self._lock = threading.Lock()
        """Held while rows are looked at and written."""
        self._bell = threading.Event()
        self._thread: threading.Thread | None = None
        self._workers = 0

        for signal, handler in self._handlers():
            signal(handler)

    def disconnect(self) -> None:
        """Hear of nothing more."""
        for signal, handler in self._handlers():
            signal.disconnect(handler)

        self._end_thread()

    def _handlers(self) -> Iterator[tuple[Signal, Callable[[Event], None]]]:
        on = self.app.on
        yield from ((signal, self._hear) for signal in (on.started, on.succeeded, on.failed, on.cancelled))
        yield on.worker_started, self._look_after
        yield on.worker_stopped, self._leave

    # --- what is told

    def _hear(self, event: Event) -> None:
        if event.worker is None:
            self._write_asked_for(_Standing(str(event.job_id), event.state, Reason.ASKED))
            return

        with self._telling:
            self._told[str(event.job_id)] = event.state

        self._bell.set()

        # What the broker decided by itself is acknowledged once it was told, and so it is written before that.
        if event.details is not None or self._thread is None:
            self._guard(self._write_told)

    def _write_asked_for(self, standing: _Standing) -> None:
        """Write this soon. It is told on the thread of whoever cancelled the job: that may be a loop's, which must not wait for
        anything, and a transaction of its own may hold the row."""
        with self._telling:
            self._asked.append(standing)
            first = len(self._asked) == 1

        if first:
            threading.Thread(target=self._write_asked, name="cherga-task-row").start()

    def _write_asked(self) -> None:
        """One thread at a time, which ends when nothing is left."""
        left = True

        while left:
            asked = list(self._asked)
            self._guard(partial(self._write, asked))

            with self._telling:
                del self._asked[: len(asked)]
                left = bool(self._asked)

    def _write_told(self) -> None:
        """Events may be late: what the broker says now stands over what they say."""
        with self._lock:
            with self._telling:
                told, self._told = self._told, {}

            ids = list(told)

            for start in range(0, len(ids), self._page):
                self._follow({id: told[id] for id in ids[start : start + self._page]})

    def _follow(self, told: Mapping[str, JobState | None]) -> None:
        rows = self._rows(list(told))
        jobs = self.app.broker.get([UUID(id) for id in rows]) if rows else []
        found = (
            _Standing(id, told[id]) if job is None else _Standing(id, job.state, job.reason)
            for id, job in zip(rows, jobs, strict=True)
        )
        self._write(standing for standing in found if standing.values() != rows[standing.id])

    def _rows(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The rows that there are of these jobs, as they stand."""
        model = self._model
        query = sa.select(model.id, *(getattr(model, name) for name in COLUMNS)).where(model.id.in_(ids))

        with self._sessions() as session:
            return {row.id: dict(zip(COLUMNS, row[1:], strict=True)) for row in session.execute(query)}

    # --- what was not told

    def mend(self) -> int:
        """Compare all rows that are not complete with the broker; return how many were wrong and are now right."""
        with self._lock, self.app.surroundings():
            before, self._missing = self._missing, {}
            return sum(self._write(self._standings(page, before)) for page in self._pages())

    def _pages(self) -> Iterator[Sequence[str]]:
        page = self._open_after("")

        while page:
            yield page
            page = self._open_after(page[-1])

    def _open_after(self, last: str) -> Sequence[str]:
        model = self._model
        query = sa.select(model.id).where(model.complete.is_(False), model.id > last).order_by(model.id).limit(self._page)

        with self._sessions() as session:
            return session.scalars(query).all()

    def _standings(self, ids: Sequence[str], missing: Mapping[str, float]) -> Iterator[_Standing]:
        known = {id: uuid for id in ids if (uuid := _as_uuid(id)) is not None}
        rows = dict(zip(known, self.app.broker.get(list(known.values())), strict=True))
        now = self.app.clock.monotonic()

        for id in ids:
            if (row := rows.get(id)) is not None:
                # One that has not ended stays open as it is: its end may be told, and written, in this moment.
                if row.state.final:
                    yield _Standing(id, row.state, row.reason)
            elif now - missing.get(id, now) >= GONE_AFTER:
                yield _Standing(id, None, gone=True)
            else:
                self._missing[id] = missing.get(id, now)

    # --- a thread of each worker process

    def _look_after(self, event: Event) -> None:
        self._workers += 1

        # The testing kit tells and is told at once, on the thread of the test.
        if self._thread is None and self.app.after_send is None:
            self._thread = threading.Thread(target=self._live, name="cherga-task-table", daemon=True)
            self._thread.start()

    def _leave(self, event: Event) -> None:
        self._workers -= 1

        if self._workers == 0:
            self._end_thread()
            self._guard(self._write_told)

    def _end_thread(self) -> None:
        thread, self._thread = self._thread, None
        self._bell.set()

        if thread is not None:
            thread.join(PATIENCE)

    def _live(self) -> None:
        due = self.app.clock.monotonic()

        while self._thread is threading.current_thread():
            if (now := self.app.clock.monotonic()) >= due:
                self._guard(self.mend)
                due = now + self._every

            self._bell.wait(max(0.0, due - now))
            self._bell.clear()
            self._guard(self._write_told)

    def _guard(self, work: Callable[[], object]) -> None:
        """Log what goes wrong; the next comparison makes up for it."""
        try:
            with self.app.surroundings():
                work()
        except Exception as error:
            name = self._model.__name__
            message = "rows of %s could not be compared with the broker, and will be again: %s"
            tell(self.app.job_logger, message, name, error, error=error, extra={"action": "table.retry"})

    def _write(self, standings: Iterable[_Standing]) -> int:
        """Write those rows that say something else; return how many did."""
        changes = [self._change(standing) for standing in standings]

        if not changes:
            return 0

        with self._sessions() as session, session.begin():
            return sum(cast("sa.CursorResult[Any]", session.execute(change)).rowcount for change in changes)

    def _change(self, standing: _Standing) -> sa.Update:
        model, values = self._model, standing.values()
        differs = (getattr(model, name).is_distinct_from(value) for name, value in values.items())
        where = (model.id == standing.id, sa.or_(*differs))
        return sa.update(model).where(*where).values(values).execution_options(synchronize_session=False)


def _check(model: object, app: object, sessions: object) -> None:
    if not (isinstance(model, type) and issubclass(model, TaskMixin)):
        raise ConfigError(f"expected a class with TaskMixin among its bases, got {model!r}")

    if not isinstance(app, QueueTasks):
        raise ConfigError(f"expected the application, a Cherga or a QueueTasks, got {app!r}")

    if isinstance(sessions, Session) or not callable(sessions):
        raise ConfigError(f"expected what makes sessions, such as db.session or a sessionmaker, got {sessions!r}")

    if type(sessions).__name__.startswith("async_"):
        raise ConfigError(f"expected what makes sessions that are not async, such as sessionmaker(…), got {sessions!r}")


def _as_uuid(id: str) -> UUID | None:
    """The id as a UUID; None for one that another system gave."""
    try:
        return UUID(id)
    except ValueError:
        return None


def _reported(job: Job[Any]) -> float:
    percent = job.progress.percent if job.progress else None
    return cast(float, job.meta.get("progress", 0)) if percent is None else percent
