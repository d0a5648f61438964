"""Cherga: background jobs inside your application's own context. Everything public stands here."""

from cherga.client.app import QueueTasks
from cherga.client.context import Context, ctx
from cherga.client.current import get_current_job
from cherga.client.handle import Job
from cherga.client.live import LiveUpdate, Watch
from cherga.client.task import Task
from cherga.rules.retry import Backoff, Retry
from cherga.rules.settings import BrokerSettings, Settings
from cherga.version import __version__
from cherga.words.control import RetryLater, Snooze, TaskCancelError
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
    JobCancelled,
    JobFailed,
    JobNotFound,
    LoadError,
    MissingExtra,
    NoCurrentJob,
    PayloadTooLarge,
    ResultError,
    ResultExpired,
    ResultTimeout,
    TaskError,
    UnknownBroker,
    UnknownTask,
    WouldDeadlock,
)
from cherga.words.job import Attempt, JobError, JobState, Progress, Reason

__all__ = [
    "Attempt",
    "Backoff",
    "BrokerError",
    "BrokerFull",
    "BrokerSettings",
    "BrokerUnavailable",
    "BrokerUnusable",
    "ChergaError",
    "ConfigError",
    "Context",
    "DuplicateTask",
    "EnqueueError",
    "EnqueueRefused",
    "EnqueueUnknown",
    "InvalidArguments",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobNotFound",
    "JobState",
    "LiveUpdate",
    "LoadError",
    "MissingExtra",
    "NoCurrentJob",
    "PayloadTooLarge",
    "Progress",
    "QueueTasks",
    "Reason",
    "ResultError",
    "ResultExpired",
    "ResultTimeout",
    "Retry",
    "RetryLater",
    "Settings",
    "Snooze",
    "Task",
    "TaskCancelError",
    "TaskError",
    "UnknownBroker",
    "UnknownTask",
    "Watch",
    "WouldDeadlock",
    "__version__",
    "ctx",
    "get_current_job",
]
