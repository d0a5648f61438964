"""Every error of Cherga. Each leaf is something a caller can act on.

ChergaError
├── ConfigError                a setting is wrong; raised before anything starts
│   ├── UnknownBroker          the broker URL has a scheme that Cherga does not ship
│   ├── MissingExtra           the broker or integration needs a package that is not installed
│   └── LoadError              the application named by ``module:app`` cannot be loaded
├── TaskError
│   ├── UnknownTask            no task of that name is declared
│   ├── DuplicateTask          two functions want the same task name
│   └── InvalidArguments       arguments do not fit the signature, or cannot be encoded
│       └── PayloadTooLarge    the encoded arguments are over the limit
├── EnqueueError
│   ├── EnqueueRefused         the broker did not store the job, and says why
│   └── EnqueueUnknown         the job may or may not be stored; repeat with the same id is safe
├── BrokerError
│   ├── BrokerUnavailable      the broker cannot be reached or is busy; safe to try again
│   ├── BrokerFull             no room: completions go on, enqueues are refused
│   └── BrokerUnusable         a person has to look: wrong schema, wrong file, no rights
├── JobNotFound                no job of that id is kept
├── NoCurrentJob               ``ctx`` was used outside a job
├── StateError
│   ├── InvalidState           a shared value cannot be stored, or the stored one does not fit
│   └── StateConflict          others changed a shared value at every try
├── WouldDeadlock              a wait that could never end, or would hold up every async job
└── ResultError
    ├── JobHeld                the job waits for its transaction; commit first
    ├── ResultTimeout          the job did not finish in time
    ├── ResultExpired          the job succeeded, its result is no longer kept
    ├── JobFailed              the job has failed; carries the remote traceback
    └── JobCancelled           the job was cancelled; carries the reason
"""

from __future__ import annotations

from uuid import UUID


class ChergaError(Exception):
    """The root of every error that Cherga raises."""


class ConfigError(ChergaError):
    """A setting is wrong. The message names the setting, what was expected and what came."""


class UnknownBroker(ConfigError):
    """The broker URL has a scheme that Cherga does not ship."""


class MissingExtra(ConfigError):
    """A package is missing; the message holds the install line."""


class LoadError(ConfigError):
    """The application named by ``module:app`` cannot be loaded."""


class TaskError(ChergaError):
    """A task was declared or used wrongly."""


class UnknownTask(TaskError):
    """No task of that name is declared; the message offers the nearest name."""


class DuplicateTask(TaskError):
    """Two functions want the same task name; the message shows both places."""


class InvalidArguments(TaskError):
    """The arguments do not fit the task's signature, or cannot be encoded; the message names the argument."""


class PayloadTooLarge(InvalidArguments):
    """The encoded arguments are larger than the limit (1 MiB unless set otherwise)."""


class EnqueueError(ChergaError):
    """A job was not, or perhaps not, stored."""


class EnqueueRefused(EnqueueError):
    """The broker did not store the job. Nothing was changed; the message says why."""


class EnqueueUnknown(EnqueueError):
    """The broker did not answer in time, or the disk did not: the job may or may not be stored.

    Repeating the enqueue with the same id (``task.using(id=error.job_id)``) is safe.
    """

    def __init__(self, message: str, job_id: UUID | None = None) -> None:
        super().__init__(message)
        self.job_id = job_id


class BrokerError(ChergaError):
    """The broker could not do what was asked."""


class BrokerUnavailable(BrokerError):
    """The broker cannot be reached, or is held by another process. Safe to try again."""


class BrokerFull(BrokerError):
    """The broker has no room for new jobs. What runs may still be completed."""


class BrokerUnusable(BrokerError):
    """The broker needs a person: wrong schema version, not a database, no right to write, another application's file."""


class JobNotFound(ChergaError):
    """No job of that id is kept (it never existed, or was pruned)."""


class NoCurrentJob(ChergaError):
    """The current job was asked for outside a job."""


class StateError(ChergaError):
    """A shared value (``State``) was not changed."""


class InvalidState(StateError):
    """The value cannot be stored, or what is stored does not fit the class; the message names the field."""


class StateConflict(StateError):
    """Others changed the shared value at every try until the time was over. Nothing was stored; safe to try again."""


class WouldDeadlock(ChergaError):
    """The wait could never end, and the message names the holder; or it would hold up all ``async def`` jobs of the worker."""


class ResultError(ChergaError):
    """There is no result to return."""


class ResultTimeout(ResultError):
    """The job did not finish within the timeout. It goes on regardless."""


class ResultExpired(ResultError):
    """The job succeeded, but its result is no longer kept."""


class JobHeld(ResultError):
    """The job waits for the transaction in which it was enqueued, so its result cannot come; commit first."""


class JobFailed(ResultError):
    """The job has failed for good.

    ``type_name``, ``message`` and ``traceback`` describe the error as text: nothing is ever rebuilt from a name in the
    store. ``reason`` says how it ended (``error``, ``timeout``, ``poison`` …).
    """

    def __init__(self, job_id: UUID, reason: str, type_name: str, message: str, traceback: str) -> None:
        super().__init__(f"job {job_id} failed ({reason}): {type_name}: {message}" + (f"\n\n{traceback}" if traceback else ""))
        self.job_id = job_id
        self.reason = reason
        self.type_name = type_name
        self.message = message
        self.traceback = traceback


class JobCancelled(ResultError):
    """The job was cancelled; ``reason`` says by what, ``message`` holds the words of whoever did it."""

    def __init__(self, job_id: UUID, reason: str, message: str = "") -> None:
        super().__init__(f"job {job_id} was cancelled ({reason})" + (f": {message}" if message else ""))
        self.job_id = job_id
        self.reason = reason
        self.message = message
