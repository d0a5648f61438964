"""Cherga: background jobs inside your application's own context. Everything public stands here.

A name is loaded at its first use: a supervisor, or a command, does without what it does not need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cherga.client.foreign import refuse_name
from cherga.version import __version__

if TYPE_CHECKING:
    from cherga.client.app import QueueTasks
    from cherga.client.batches import Batch
    from cherga.client.bound import AsyncTask, SyncTask
    from cherga.client.context import Context, ctx
    from cherga.client.current import get_current_job
    from cherga.client.depends import Depends
    from cherga.client.explain import Explanation
    from cherga.client.flow import Chain, Group, Step, chain, group
    from cherga.client.grouping import GroupJob
    from cherga.client.handle import Job
    from cherga.client.live import LiveUpdate, Watch
    from cherga.client.middleware import Call, Middleware, Outgoing
    from cherga.client.pipeline import TaskExecutor
    from cherga.client.queue import Queue
    from cherga.client.role import Role, current_role
    from cherga.client.router import AsyncRouter, Router, SyncRouter
    from cherga.client.shared import shared_task
    from cherga.client.signals import Event
    from cherga.client.state import State, StateHandle
    from cherga.client.task import Task
    from cherga.client.travelling import traced
    from cherga.rules.obstacles import Obstacle, ObstacleKind
    from cherga.rules.retry import Backoff, Retry
    from cherga.rules.settings import BrokerSettings, Settings
    from cherga.words.control import PluginError, RetryLater, Snooze, TaskCancelError
    from cherga.words.departure import HandleState
    from cherga.words.errors import (
        BrokerError,
        BrokerFull,
        BrokerUnavailable,
        BrokerUnusable,
        ChergaError,
        ConfigError,
        DuplicateTask,
        EnqueueError,
        EnqueueRefused,
        EnqueueUnknown,
        InvalidArguments,
        InvalidState,
        JobCancelled,
        JobFailed,
        JobHeld,
        JobNotFound,
        LoadError,
        MissingExtra,
        NoCurrentJob,
        PayloadTooLarge,
        ResultError,
        ResultExpired,
        ResultTimeout,
        StateConflict,
        StateError,
        TaskError,
        UnknownBroker,
        UnknownTask,
        WouldDeadlock,
    )
    from cherga.words.job import Attempt, JobError, JobState, Progress, Reason

__all__ = [
    "AsyncRouter",
    "AsyncTask",
    "Attempt",
    "Backoff",
    "Batch",
    "BrokerError",
    "BrokerFull",
    "BrokerSettings",
    "BrokerUnavailable",
    "BrokerUnusable",
    "Call",
    "Chain",
    "ChergaError",
    "ConfigError",
    "Context",
    "Depends",
    "DuplicateTask",
    "EnqueueError",
    "EnqueueRefused",
    "EnqueueUnknown",
    "Event",
    "Explanation",
    "Group",
    "GroupJob",
    "HandleState",
    "InvalidArguments",
    "InvalidState",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobHeld",
    "JobNotFound",
    "JobState",
    "LiveUpdate",
    "LoadError",
    "Middleware",
    "MissingExtra",
    "NoCurrentJob",
    "Obstacle",
    "ObstacleKind",
    "Outgoing",
    "PayloadTooLarge",
    "PluginError",
    "Progress",
    "Queue",
    "QueueTasks",
    "Reason",
    "ResultError",
    "ResultExpired",
    "ResultTimeout",
    "Retry",
    "RetryLater",
    "Role",
    "Router",
    "Settings",
    "Snooze",
    "State",
    "StateConflict",
    "StateError",
    "StateHandle",
    "Step",
    "SyncRouter",
    "SyncTask",
    "Task",
    "TaskCancelError",
    "TaskError",
    "TaskExecutor",
    "UnknownBroker",
    "UnknownTask",
    "Watch",
    "WouldDeadlock",
    "__version__",
    "chain",
    "ctx",
    "current_role",
    "get_current_job",
    "group",
    "shared_task",
    "traced",
]

_NAMES = {
    "cherga.client.app": "QueueTasks",
    "cherga.client.batches": "Batch",
    "cherga.client.bound": "AsyncTask SyncTask",
    "cherga.client.context": "Context ctx",
    "cherga.client.current": "get_current_job",
    "cherga.client.depends": "Depends",
    "cherga.client.explain": "Explanation",
    "cherga.client.flow": "Chain chain Group group Step",
    "cherga.client.grouping": "GroupJob",
    "cherga.client.handle": "Job",
    "cherga.client.live": "LiveUpdate Watch",
    "cherga.client.middleware": "Call Middleware Outgoing",
    "cherga.client.pipeline": "TaskExecutor",
    "cherga.client.queue": "Queue",
    "cherga.client.role": "current_role Role",
    "cherga.client.router": "AsyncRouter Router SyncRouter",
    "cherga.client.shared": "shared_task",
    "cherga.client.signals": "Event",
    "cherga.client.state": "State StateHandle",
    "cherga.client.task": "Task",
    "cherga.client.travelling": "traced",
    "cherga.rules.obstacles": "Obstacle ObstacleKind",
    "cherga.rules.retry": "Backoff Retry",
    "cherga.rules.settings": "BrokerSettings Settings",
    "cherga.words.control": "PluginError RetryLater Snooze TaskCancelError",
    "cherga.words.departure": "HandleState",
    "cherga.words.errors": (
        "BrokerError BrokerFull BrokerUnavailable BrokerUnusable ChergaError ConfigError DuplicateTask "
        "EnqueueError EnqueueRefused EnqueueUnknown InvalidArguments InvalidState JobCancelled JobFailed "
        "JobHeld JobNotFound LoadError MissingExtra NoCurrentJob PayloadTooLarge ResultError ResultExpired "
        "ResultTimeout StateConflict StateError TaskError UnknownBroker UnknownTask WouldDeadlock"
    ),
    "cherga.words.job": "Attempt JobError JobState Progress Reason",
}
_PLACES = {name: module for module, names in _NAMES.items() for name in names.split()}

if not TYPE_CHECKING:  # or type checkers would take every name for one that is there

    def __getattr__(name: str) -> Any:
        if name not in _PLACES:
            refuse_name(name)

        value = globals()[name] = getattr(import_module(_PLACES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_PLACES})
