"""Schedules as users see them: declared beside a task, or made, changed and deleted at run time through ``app.schedules``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol, Self, TypedDict, Unpack
from uuid import UUID

import msgspec
from msgspec.structs import replace

from cherga.client.handle import Job
from cherga.client.ids import new_id
from cherga.client.submit import Submitter
from cherga.doors.broker import FullBroker
from cherga.rules import options as check
from cherga.rules.elsewhere import SCHEDULE as SCHEDULE_WORDS
from cherga.rules.elsewhere import refused
from cherga.rules.options import Duration, nearest
from cherga.rules.schedule import check_timing, following, moment_of, read_schedule, tick_head
from cherga.rules.settings import Settings
from cherga.rules.times import exact
from cherga.words.clock import Clock
from cherga.words.errors import ConfigError
from cherga.words.push import NewJob
from cherga.words.schedule import SCHEDULE, CatchUp, Schedule
from cherga.words.shared import Definition

NO_ID = UUID(int=0)
"""Stands in a schedule's job; each tick has an id of its own."""

_pack = msgspec.msgpack.Encoder().encode


class Timing(TypedDict, total=False):
    """The timing of a schedule: ``cron`` (five fields, or six with seconds first) or ``every``, and how it catches up."""

    cron: str
    every: Duration
    timezone: str
    catch_up: str
    catch_up_cap: int


TIMING = frozenset(Timing.__annotations__)


class ScheduleSource(Protocol):
    """The parts of an application that schedules need."""

    @property
    def broker(self) -> FullBroker: ...
    @property
    def submitter(self) -> Submitter: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def settings(self) -> Settings: ...
    def send(self, jobs: list[NewJob], /) -> list[Job[Any]]: ...


def make_schedule(job: NewJob, timing: Mapping[str, Any], from_code: bool = False) -> Schedule:
    """The schedule of these options. Raises ``ConfigError`` that says what is wrong."""
    _check_job(job)
    return _checked(_timed(Schedule(job=replace(job, id=NO_ID), from_code=from_code), timing))


def definition_of(name: str, schedule: Schedule, version: int) -> Definition:
    """The schedule that is stored."""
    return Definition(SCHEDULE, name, _pack(schedule), version, stamp_of(schedule))


def removal_of(name: str, version: int) -> Definition:
    """The definition that takes a stored schedule back."""
    return Definition(SCHEDULE, name, b"", version)


def stamp_of(schedule: Schedule) -> str:
    """Changes with the timing, and with nothing else."""
    return f"{schedule.cron}|{schedule.every}|{schedule.timezone}"


class Scheduled:
    """A handle on one stored schedule, as it stood when it was read."""

    def __init__(self, name: str, schedule: Schedule, version: int, due: float | None, source: ScheduleSource) -> None:
        self.name = name
        self.schedule = schedule
        self._version = version
        self._due = due
        self._source = source

    @property
    def task_name(self) -> str:
        return self.schedule.job.task

    @property
    def paused(self) -> bool:
        return self.schedule.paused

    @property
    def from_code(self) -> bool:
        """Declared beside its task, and gone when that declaration is."""
        return self.schedule.from_code

    @property
    def when(self) -> str:
        """The timing, for people."""
        schedule = self.schedule
        return f"every {exact(schedule.every)}" if schedule.every is not None else f"{schedule.cron} ({schedule.timezone})"

    @property
    def next_at(self) -> datetime | None:
        """The time when it fires next, in its own time zone; None while it is paused, or when it never fires again."""
        due = self._due

        if self.paused:
            return None

        if due is None:
            due = following(self.schedule, self._source.clock.now())

        return None if due is None else moment_of(due, self.schedule.timezone)

    def refresh(self) -> Self:
        """Read it again. Raises ``ConfigError`` when it has been deleted."""
        found = self._source.broker.definitions(SCHEDULE, [self.name])
        schedule = read_schedule(found[0]) if found else None

        if schedule is None:
            raise ConfigError(f"schedule {self.name} is not stored any more: somebody has deleted it, or it left the code")

        self.schedule, self._version = schedule, found[0].version
        self._due = self._source.broker.ticks().get(self.name)
        return self

    def pause(self) -> None:
        """Fire no more until ``resume``; a deploy does not change that. Raises as ``refresh`` does, like the other verbs."""
        self._store(replace(self.refresh().schedule, paused=True))

    def resume(self) -> None:
        """Fire again; ``catch_up`` says what becomes of the ticks that were missed."""
        self._store(replace(self.refresh().schedule, paused=False))

    def change(self, **timing: Unpack[Timing]) -> None:
        """Fire at other times from now on. Raises ``ConfigError``, also for a schedule that the code declares."""
        if self.refresh().from_code:
            raise ConfigError(f"schedule {self.name} is declared in the code; change it there, or pause it")

        self._store(_checked(_timed(self.schedule, timing)))

    def run_now(self) -> Job[Any]:
        """Enqueue its job once, beside its ticks."""
        job = self.refresh().schedule.job
        return self._source.send([replace(job, id=new_id(), head=tick_head(self.name, job, None))])[0]

    def delete(self) -> None:
        """Fire never again. Raises ``ConfigError`` for one that the code declares: the next worker would bring it back."""
        if self.refresh().from_code:
            raise ConfigError(f"schedule {self.name} is declared in the code; take it out there, or pause it")

        self._source.broker.define([removal_of(self.name, self._version)])

    async def arefresh(self) -> Self:
        """The async twin of ``refresh``."""
        return await self._source.submitter.call(self.refresh)

    async def apause(self) -> None:
        """The async twin of ``pause``."""
        await self._source.submitter.call(self.pause)

    async def aresume(self) -> None:
        """The async twin of ``resume``."""
        await self._source.submitter.call(self.resume)

    async def achange(self, **timing: Unpack[Timing]) -> None:
        """The async twin of ``change``."""
        await self._source.submitter.call(self.change, **timing)

    async def arun_now(self) -> Job[Any]:
        """The async twin of ``run_now``."""
        return await self._source.submitter.call(self.run_now)

    async def adelete(self) -> None:
        """The async twin of ``delete``."""
        await self._source.submitter.call(self.delete)

    def _store(self, schedule: Schedule) -> None:
        self._source.broker.define([definition_of(self.name, schedule, self._version)])
        self._due = self._due if stamp_of(schedule) == stamp_of(self.schedule) else None
        self.schedule = schedule

    def __repr__(self) -> str:
        return f"<Scheduled {self.name}: {self.task_name} {self.when}>"


class Schedules:
    """The schedules at an application's broker, those of the code and those made at run time."""

    def __init__(self, source: ScheduleSource) -> None:
        self._source = source

    def all(self) -> list[Scheduled]:
        """Every stored schedule, by name."""
        dues = self._source.broker.ticks()
        stored = self._source.broker.definitions(SCHEDULE)
        read = [(one, schedule) for one in stored if (schedule := read_schedule(one)) is not None]
        return sorted((self._handle(one, schedule, dues) for one, schedule in read), key=lambda one: one.name)

    def get(self, name: str) -> Scheduled:
        """The schedule of that name. Raises ``ConfigError`` with the names there are."""
        for scheduled in (known := self.all()):
            if scheduled.name == name:
                return scheduled

        raise ConfigError(f"expected the name of a schedule, got {name!r}{nearest(name, [one.name for one in known])}")

    async def aall(self) -> list[Scheduled]:
        """The async twin of ``all``."""
        return await self._source.submitter.call(self.all)

    async def aget(self, name: str) -> Scheduled:
        """The async twin of ``get``."""
        return await self._source.submitter.call(self.get, name)

    def store(self, name: str, schedule: Schedule) -> Scheduled:
        """Create a schedule, or change the one of that name that was made at run time. Raises ``ConfigError``."""
        check.name(name, "a schedule's name")
        found = self._source.broker.definitions(SCHEDULE, [name])
        before = read_schedule(found[0]) if found else None

        if before is not None and before.from_code:
            raise ConfigError(f"schedule {name} is declared in the code; choose another name")

        version = max(found[0].version if found else 0, self._source.settings.code_version)
        kept = schedule if before is None else replace(schedule, paused=before.paused)
        made = definition_of(name, kept, version)
        self._source.broker.define([made])

        if all(one.version > version for one in self._source.broker.definitions(SCHEDULE, [name])):
            raise ConfigError(f"schedule {name} belongs to code of a higher version than {version}; choose another name")

        return self._handle(made, kept, self._source.broker.ticks())

    def _handle(self, stored: Definition, schedule: Schedule, dues: Mapping[str, float | None]) -> Scheduled:
        return Scheduled(stored.name, schedule, stored.version, dues.get(stored.name), self._source)


def _timed(schedule: Schedule, timing: Mapping[str, Any]) -> Schedule:
    fields: dict[str, Any] = {}

    if unknown := set(timing) - TIMING:
        raise refused(min(unknown), SCHEDULE_WORDS)

    if "cron" in timing:
        fields |= {"cron": check.short_text(timing["cron"], "cron"), "every": None}

    if "every" in timing:
        fields |= {"every": check.seconds(timing["every"], "every"), "cron": timing.get("cron")}

    if "timezone" in timing:
        fields["timezone"] = check.short_text(timing["timezone"], "timezone")

    if "catch_up" in timing:
        fields["catch_up"] = _catch_up(timing["catch_up"])

    if "catch_up_cap" in timing:
        fields["cap"] = _cap(timing["catch_up_cap"])

    return replace(schedule, **fields)


def _check_job(job: NewJob) -> None:
    """Options that name one moment or one job cannot hold for every tick."""
    if job.run_at is not None or job.expires_at is not None:
        raise ConfigError("expected run_in and expires of a schedule in seconds, counted from each tick, got a moment")

    if job.edges:
        raise ConfigError("expected a schedule without after: its jobs cannot all wait for the same one")


def _checked(schedule: Schedule) -> Schedule:
    check_timing(schedule.cron, schedule.every, schedule.timezone)
    return schedule


def _catch_up(value: str) -> CatchUp:
    try:
        return CatchUp(value)
    except ValueError:
        raise ConfigError(f"expected catch_up to be 'skip', 'last' or 'all', got {value!r}") from None


def _cap(value: int) -> int:
    if check.count(value, "catch_up_cap") < 1:
        raise ConfigError(f"expected catch_up_cap to be 1 or more, got {value!r}")

    return value
