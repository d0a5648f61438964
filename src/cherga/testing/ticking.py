"""Schedules under a test's clock: they fire when the test sets it ahead, and at no other time."""

from __future__ import annotations

from msgspec.structs import replace

from cherga.client.app import QueueTasks
from cherga.words.schedule import CatchUp, Schedule
from cherga.words.shared import Definition
from cherga.worker.scheduler import Scheduler


class Ticker:
    """Fires the schedules of an application as workers would have done all the while."""

    def __init__(self, app: QueueTasks) -> None:
        self._app = app
        self._scheduler = EveryTick(app.broker)

    def begin(self) -> None:
        """See what schedules there are: from now on their ticks count."""
        self._app.publish()
        self.fire()

    def fire(self) -> None:
        """Enqueue for every tick that has come."""
        while self._scheduler.round(self._app.clock.now()) == 0.0:
            pass


class EveryTick(Scheduler):
    """No tick counts as missed, however far the clock was set ahead. Of more than ``catch_up_cap`` the latest are fired."""

    def _schedules(self, stored: list[Definition]) -> list[tuple[Definition, Schedule]]:
        return [(one, replace(schedule, catch_up=CatchUp.ALL)) for one, schedule in super()._schedules(stored)]


class IdleScheduler(Scheduler):
    """Fires nothing, for a drain: how long that takes must not matter."""

    def round(self, now: float) -> float | None:
        return None
