"""Limits across all workers: read from options, declared in code, and changed at run time through ``app.limits``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from cherga.client.keys import given_text, limit_of
from cherga.client.submit import Submitter
from cherga.doors.broker import FullBroker
from cherga.rules import options as check
from cherga.rules.describe import EVERY_VALUE
from cherga.rules.limits import effective_rules, queue_limit, rule_for, task_limit
from cherga.rules.rates import read_rate
from cherga.words.errors import ConfigError
from cherga.words.limits import LIMIT, OVERRIDE, LimitRule, LimitUse, Overflow
from cherga.words.shared import Definition

NO_RULE = LimitRule()
"""The highest number that a limit can be."""

_pack = msgspec.msgpack.Encoder().encode


class Ruled(Protocol):
    """A task, as far as limits go."""

    rule: tuple[str, LimitRule] | None

    def key_text(self, key: Any) -> str: ...


class Declares(Protocol):
    """A declaration of limits."""

    @property
    def tasks(self) -> Mapping[str, Ruled]: ...
    @property
    def declared_limits(self) -> Mapping[str, LimitRule]: ...


class LimitSource(Declares, Protocol):
    """The parts of an application that limits need."""

    @property
    def broker(self) -> FullBroker: ...
    @property
    def submitter(self) -> Submitter: ...


def limit_name(queue: str | None = None, task: str | None = None, key: Any = None) -> str:
    """The name of a limit. Raises ``ConfigError``.

    It is a queue's or a task's own, or that for one value of a task's ``key``; ``"*"`` names the rule for all values.
    """
    if key is not None and task is not None and queue is None:
        task = check.name(task, "task")
        return f"key:{task}" if key == EVERY_VALUE else limit_of(task, given_text(key, task))

    if (queue is None) == (task is None) or key is not None:
        raise ConfigError(f"expected queue, or task, or task and key, got queue={queue!r}, task={task!r}, key={key!r}")

    return queue_limit(check.name(queue, "queue")) if queue is not None else task_limit(check.name(cast(str, task), "task"))


def rule_with(
    rule: LimitRule,
    max_running: int | UnsetType | None = UNSET,
    rate: str | UnsetType | None = UNSET,
    max_length: int | UnsetType | None = UNSET,
    overflow: str | UnsetType = UNSET,
) -> LimitRule:
    """The rule with what is given changed; None takes that part away. Raises ``ConfigError``."""
    fields: dict[str, Any] = {}

    if max_running is not UNSET:
        fields["max_running"] = None if max_running is None else _count(max_running, "max_running")

    if rate is not UNSET:
        fields["rate"] = None if rate is None else read_rate(rate)

    if max_length is not UNSET:
        fields["max_length"] = None if max_length is None else _count(max_length, "max_length")

    if overflow is not UNSET:
        fields["overflow"] = _overflow(overflow)

    return replace(rule, **fields)


def task_rule(name: str, options: Mapping[str, Any]) -> tuple[str, LimitRule] | None:
    """The limit that a task's options declare, with its name. Raises ``ConfigError``."""
    given = {"max_running": "max_running", "rate_limit": "rate"}
    fields = {field: options[option] for option, field in given.items() if option in options}

    if not fields:
        if "key" in options:
            raise ConfigError("expected key together with max_running or rate_limit, which then hold for each of its values")

        return None

    rule = rule_with(NO_RULE, **fields)
    return (f"key:{name}" if "key" in options else task_limit(name)), rule


def declared_rules(source: Declares) -> dict[str, LimitRule]:
    """The limits that the code at hand declares."""
    rules = [task.rule for task in list(source.tasks.values()) if task.rule is not None]
    return {**source.declared_limits, **dict(rules)}


def definition_of(name: str, rule: LimitRule | None, kind: str, version: int) -> Definition:
    """The rule that is stored; None takes it back."""
    return Definition(kind, name, b"" if rule is None else _pack(rule), version)


class Limits:
    """The limits of an application as they stand at its broker, and how to change them while workers run."""

    def __init__(self, source: LimitSource) -> None:
        self._source = source

    def get(self, *, queue: str | None = None, task: str | None = None, key: Any = None) -> LimitUse:
        """The state of one limit; its rule is empty when none is set."""
        name = self.name_of(queue, task, key)
        found = self._source.broker.limits([name])
        return found[0] if found else LimitUse(name, NO_RULE)

    def all(self) -> list[LimitUse]:
        """The state of every limit that has a rule; one declared for all values of a key shows no running jobs."""
        names = sorted(effective_rules(self._stored()))
        return self._source.broker.limits(names)

    def set(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        key: Any = None,
        max_running: int | UnsetType | None = UNSET,
        rate: str | UnsetType | None = UNSET,
        max_length: int | UnsetType | None = UNSET,
        overflow: str | UnsetType = UNSET,
    ) -> LimitRule:
        """Change a limit now, for all workers, until ``reset``; what is not given stays as it is, None lifts it.

        It goes before what the code declares, also where no worker has told that yet. Raises ``ConfigError``.
        """
        name = self.name_of(queue, task, key)
        _check_length(name, max_length, overflow)
        rules = {**declared_rules(self._source), **effective_rules(self._stored())}
        rule = rule_with(rule_for(rules, name) or NO_RULE, max_running, rate, max_length, overflow)
        self._source.broker.define([definition_of(name, rule, OVERRIDE, 0)])
        return rule

    def reset(self, *, queue: str | None = None, task: str | None = None, key: Any = None) -> None:
        """Take back what ``set`` changed; what the code declares holds again."""
        name = self.name_of(queue, task, key)
        self._source.broker.define([definition_of(name, None, OVERRIDE, 0)])

    async def aget(self, **which: Any) -> LimitUse:
        """The async twin of ``get``."""
        return await self._source.submitter.call(self.get, **which)

    async def aall(self) -> list[LimitUse]:
        """The async twin of ``all``."""
        return await self._source.submitter.call(self.all)

    async def aset(self, **change: Any) -> LimitRule:
        """The async twin of ``set``."""
        return await self._source.submitter.call(self.set, **change)

    async def areset(self, **which: Any) -> None:
        """The async twin of ``reset``."""
        await self._source.submitter.call(self.reset, **which)

    def name_of(self, queue: str | None, task: str | None, key: Any) -> str:
        """The name of the limit, with the key as jobs of the task have it, where that is declared here."""
        declared = None if task is None else self._source.tasks.get(check.name(task, "task"))
        spelled = key if declared is None or key is None or key == EVERY_VALUE else declared.key_text(key)
        return limit_name(queue, task, spelled)

    def _stored(self) -> list[Definition]:
        broker = self._source.broker
        return [*broker.definitions(LIMIT), *broker.definitions(OVERRIDE)]


def _check_length(name: str, max_length: int | UnsetType | None, overflow: str | UnsetType) -> None:
    if name.startswith("queue:"):
        return

    for option, value in (("max_length", max_length), ("overflow", overflow)):
        if value is not UNSET and value is not None:
            raise ConfigError(f"expected {option} for a queue, got it for {name}")


def _count(value: int, what: str) -> int:
    if isinstance(value, int) and value > check.MOST:
        raise ConfigError(f"expected {what} to be {check.MOST:,} at most, got {check.shown(value)}; None for no limit")

    return check.count(value, what)


def _overflow(value: str) -> Overflow:
    try:
        return Overflow(value)
    except ValueError:
        raise ConfigError(f"expected overflow to be 'reject' or 'drop_oldest', got {value!r}") from None
