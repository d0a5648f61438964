"""Wishes that a task raises to say how it wants to go on. They are no errors: they stand outside the error tree."""

from __future__ import annotations

from datetime import timedelta


class TaskWish(Exception):
    """The root of the wishes."""


class RetryLater(TaskWish):
    """Try again after ``delay``; counts as a failed attempt, and only while attempts are left."""

    def __init__(self, delay: float | timedelta = 0.0, message: str = "the task asked to be tried again later") -> None:
        super().__init__(message)
        self.delay = delay


class Snooze(TaskWish):
    """Run again after ``delay``; not a failure, and no attempt is used."""

    def __init__(self, delay: float | timedelta) -> None:
        super().__init__("the task asked to run later")
        self.delay = delay


class TaskCancelError(TaskWish):
    """End the job as cancelled, with the reason given; never a retry."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class PluginError(Exception):
    """``ctx.plugin_error`` was called and no handler turned it into a result; ``details`` holds its keywords."""

    def __init__(self, details: dict[str, object]) -> None:
        super().__init__(", ".join(f"{key}={value!r}" for key, value in details.items()) or "plugin error")
        self.details = details
