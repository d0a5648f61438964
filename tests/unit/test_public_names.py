"""What ``import cherga`` offers is promised: a name that goes or comes has to be meant."""

from __future__ import annotations

import ast
import inspect

import cherga
from cherga.words import control, errors

PUBLIC = [
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


def test_the_public_names_are_these() -> None:
    assert cherga.__all__ == PUBLIC


def test_every_public_name_can_be_had() -> None:
    assert [name for name in cherga.__all__ if not hasattr(cherga, name)] == []


def test_a_public_name_is_loaded_from_where_type_checkers_find_it() -> None:
    tree = ast.parse(inspect.getsource(cherga))
    (seen,) = [node for node in tree.body if isinstance(node, ast.If) and not node.orelse and isinstance(node.test, ast.Name)]
    places = {name.name: node.module for node in seen.body if isinstance(node, ast.ImportFrom) for name in node.names}

    assert places == cherga._PLACES
    assert {*places, "__version__"} == {*cherga.__all__}
    assert {*places} <= {*dir(cherga)}


def test_every_error_and_wish_is_public() -> None:
    kinds = {
        name
        for module in (errors, control)
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__
    }

    assert kinds - {"TaskWish"} <= set(cherga.__all__)


def test_every_public_class_and_function_says_what_it_promises() -> None:
    public = [getattr(cherga, name) for name in cherga.__all__ if name not in {"__version__", "ctx", "Middleware"}]

    assert [value for value in public if not inspect.getdoc(value)] == []
