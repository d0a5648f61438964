"""Verbs of other systems, and what they are called here."""

from __future__ import annotations

from collections.abc import Mapping

TASK = {
    "apply_async": "using(…).enqueue",
    "chunks": "enqueue_many",
    "defer": "enqueue",
    "delay": "enqueue",
    "kiq": "aenqueue",
    "send": "enqueue",
    "starmap": "enqueue_many",
    "subtask": "s",
}
JOB = {
    "get": "result",
    "failed": "is_failed",
    "ready": "is_finished",
    "revoke": "cancel",
    "state": "status",
    "successful": "is_succeeded",
    "task_id": "id",
    "traceback": "error.traceback",
    "wait": "await_end",
}
FLOW = {
    "apply_async": "enqueue",
    "delay": "enqueue",
    "link": "chain(a.s(), b.s())",
    "set": "task.using(…).s",
}
APPLICATION = {
    "AsyncResult": "get",
    "add_periodic_task": "schedule",
    "send_task": "add_task",
    "signature": "s",
}


def explain_missing(owner: object, name: str, words: Mapping[str, str]) -> AttributeError:
    """The error for an attribute that there is not, with our word for it where it is another system's."""
    hint = f"; here it is called {words[name]}" if name in words else ""
    return AttributeError(f"{type(owner).__name__!r} object has no attribute {name!r}{hint}", name=name, obj=owner)
