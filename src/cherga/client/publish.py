"""Publishing: an application's tasks for senders by name, its limits and its schedules, stored by workers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from cherga.client import limits, schedules
from cherga.client.order import Order
from cherga.client.task import Task
from cherga.doors.broker import FullBroker
from cherga.rules.schedule import read_schedule
from cherga.rules.settings import Settings
from cherga.words.keeping import KEEPING, Keeping
from cherga.words.limits import LIMIT, LimitRule
from cherga.words.schedule import SCHEDULE
from cherga.words.shared import ALIAS, TASK, Definition

logger = logging.getLogger("cherga.worker")

OLDER_CODE = (
    "code_version %d is lower than %d, whose limits and schedules stay as they are; give the code that is deployed last the "
    "highest number"
)
PUBLISHED = ("queue", "priority", "tags", "description", "on_crash", "unique", "unique_while", "unique_for", "on_conflict")
"""The options that senders by name are told of a task."""
KEYED = "keyed"
"""The fact that a task makes keys of its arguments, which only its code can do."""


class Publisher(Protocol):
    """The parts of an application that publishing needs."""

    @property
    def broker(self) -> FullBroker: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def tasks(self) -> Mapping[str, Task[Any, Any]]: ...
    @property
    def declared_limits(self) -> Mapping[str, LimitRule]: ...
    @property
    def aliases(self) -> Mapping[str, str]: ...


def publish(app: Publisher) -> None:
    """Store what the code declares, and take back what it no longer does."""
    version = app.settings.code_version
    tasks = list(app.tasks.values())
    flow = [*_limits(app, version), *_schedules(app, tasks, version)]

    if (newest := _newest(app, flow)) > version:
        logger.warning(OLDER_CODE, version, newest)

    app.broker.define([*(_task(task, version) for task in tasks), *_aliases(app, version), *_keeping(app, version), *flow])


def _task(task: Task[Any, Any], version: int) -> Definition:
    head = task.order.head
    facts: dict[str, Any] = {"queue": task.queue, "priority": task.priority, "tags": head.tags, "description": head.description}

    if head.overrides is not None and head.overrides.on_crash is not None:
        facts["on_crash"] = head.overrides.on_crash

    facts |= _unique(task.order)
    data = msgspec.msgpack.encode({key: value for key, value in facts.items() if value is not None})
    return Definition(TASK, task.name, data, version)


def _unique(order: Order) -> dict[str, Any]:
    """The unique key that all jobs of the task share; of keys that are made of arguments only that there are some."""
    if not isinstance(order.unique, str):
        return {KEYED: True} if order.unique or order.key is not None else {}

    held = {"unique_for": order.period} if order.period is not None else {"unique_while": order.hold.value}
    keyed = {KEYED: True} if order.key is not None else {}
    return {"unique": order.unique, **held, "on_conflict": order.conflict.value, **keyed}


def _aliases(app: Publisher, version: int) -> list[Definition]:
    stored = {one.name: one.data.decode() for one in app.broker.definitions(ALIAS)}
    gone = [alias for alias, name in stored.items() if alias not in app.aliases and name in app.tasks]
    return [
        *(Definition(ALIAS, alias, name.encode(), version) for alias, name in app.aliases.items()),
        *(Definition(ALIAS, alias, b"", version) for alias in gone),
    ]


def find_published(broker: FullBroker, name: str) -> Definition | None:
    """The facts that workers have told of the task of this name or alias; None for nothing."""
    found = broker.definitions(TASK, [name])

    if not found and (alias := broker.definitions(ALIAS, [name])):
        found = broker.definitions(TASK, [alias[0].data.decode()])

    return found[0] if found else None


def _keeping(app: Publisher, version: int) -> list[Definition]:
    """The times for which jobs are kept: for whoever ends one, and does not know its task or this application's settings."""
    stored = {one.name for one in app.broker.definitions(KEEPING)}
    own = {name: task.order.head.keeping for name, task in app.tasks.items()}
    said = {name: each for name, each in own.items() if each is not None}
    said[""] = Keeping(app.settings.result_ttl, app.settings.failure_ttl)
    silent = [name for name in own if name not in said and name in stored]
    return [
        *(Definition(KEEPING, name, msgspec.msgpack.encode(each), version) for name, each in said.items()),
        *(Definition(KEEPING, name, b"", version) for name in silent),
    ]


def _limits(app: Publisher, version: int) -> list[Definition]:
    rules = limits.declared_rules(app)
    stored = app.broker.definitions(LIMIT)
    gone = [one.name for one in stored if one.name not in rules and one.version <= version]
    return [
        *(limits.definition_of(name, rule, LIMIT, version) for name, rule in rules.items()),
        *(limits.definition_of(name, None, LIMIT, version) for name in gone),
    ]


def _newest(app: Publisher, declared: Iterable[Definition]) -> int:
    """The highest version of code that has declared one of these otherwise."""
    stored = {(one.kind, one.name): one for kind in (LIMIT, SCHEDULE) for one in app.broker.definitions(kind)}
    pairs = ((one, stored.get((one.kind, one.name))) for one in declared)
    return max((old.version for one, old in pairs if old is not None and old.data != one.data), default=0)


def _schedules(app: Publisher, tasks: Iterable[Task[Any, Any]], version: int) -> list[Definition]:
    declared = {task.name: task.schedule for task in tasks if task.schedule is not None}
    stored = {one.name: read_schedule(one) for one in app.broker.definitions(SCHEDULE)}
    paused = {name for name, schedule in stored.items() if schedule is not None and schedule.paused}
    gone = [name for name, schedule in stored.items() if schedule is not None and schedule.from_code and name not in declared]
    return [
        *(schedules.definition_of(name, replace(one, paused=name in paused), version) for name, one in declared.items()),
        *(schedules.removal_of(name, version) for name in gone),
    ]
