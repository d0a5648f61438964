"""Memory brokers with a manner of their own, and an application that takes any broker object."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import UUID

from cherga import QueueTasks
from cherga.brokers.memory.broker import MemoryBroker
from cherga.doors.broker import FullBroker
from cherga.rules.settings import BrokerSettings
from cherga.words.push import NewJob, PushAnswer
from cherga.words.report import Report
from cherga.words.settlement import Settled, Settlement


class SlowBroker(MemoryBroker):
    """Stores what is pushed only while its gate is open."""

    def __init__(self) -> None:
        super().__init__("memory://", BrokerSettings())
        self.gate = threading.Event()
        self.pushes: list[int] = []
        """How many groups came in each push, noted when it came."""

    def push(self, groups: Sequence[Sequence[NewJob]]) -> list[PushAnswer]:
        self.pushes.append(len(groups))
        assert self.gate.wait(30)
        return super().push(groups)


class FailingBroker(MemoryBroker):
    """Raises what it was told to, as often as it was told, before it works."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__("memory://", BrokerSettings())
        self._errors = list(errors)
        self.calls: list[str] = []
        self.poison: UUID | None = None
        """A job that makes every batch fail which it is in."""

    def fail_with(self, *errors: Exception) -> None:
        """Raise these, one a call, from here on."""
        self._errors = list(errors)

    def push(self, groups: Sequence[Sequence[NewJob]]) -> list[PushAnswer]:
        return self._work("push", lambda: super(FailingBroker, self).push(groups))

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        if self.poison in [settlement.id for settlement in settlements]:
            raise ValueError("one of these cannot be written")

        return self._work("settle", lambda: super(FailingBroker, self).settle(settlements))

    def report(self, reports: Sequence[Report]) -> list[bool]:
        return self._work("report", lambda: super(FailingBroker, self).report(reports))

    def _work(self, name: str, work: Callable[[], list[Any]]) -> list[Any]:
        self.calls.append(name)

        if self._errors:
            raise self._errors.pop(0)

        return work()


class AppWith(QueueTasks):
    """An application on the broker object that it is given."""

    def __init__(self, broker: MemoryBroker, **settings: Any) -> None:
        super().__init__("shop", "memory://", **settings)
        self._given = broker

    @property
    def broker(self) -> FullBroker:
        return cast(FullBroker, self._given)
