"""Verbs of other systems, and what they are called here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from cherga.client.public import Listed

TASK = {
    "apply": "task(…), which calls the function here and now",
    "apply_async": "using(…).enqueue",
    "call_local": "task(…), which calls the function here and now",
    "chunks": "enqueue_many",
    "defer": "enqueue",
    "delay": "enqueue",
    "enqueue_at": "using(run_at=…).enqueue",
    "enqueue_in": "using(run_in=…).enqueue",
    "kiq": "aenqueue",
    "map": "enqueue_many",
    "message": "s",
    "request": "ctx, as in ctx.job_id and ctx.attempt",
    "retry": "raise RetryLater(seconds), inside the task",
    "send": "enqueue",
    "send_with_options": "using(…).enqueue",
    "starmap": "enqueue_many",
    "submit": "enqueue",
    "subtask": "s",
    "update_state": "ctx.progress(done, total, note)",
}
JOB = {
    "abort": "cancel",
    "args": "arguments",
    "delete": "cancel, and using(result_ttl=0) for a job of which no trace is to be kept",
    "ended_at": "finished_at",
    "exc_info": "error.traceback",
    "failed": "is_failed",
    "forget": "using(result_ttl=0), for a job of which no trace is to be kept",
    "func_name": "task_name",
    "get": "result",
    "info": "meta",
    "kill": "cancel",
    "kwargs": "arguments",
    "name": "task_name",
    "ready": "is_finished",
    "requeue": "retry",
    "revoke": "cancel",
    "state": "status",
    "stop": "cancel",
    "successful": "is_succeeded",
    "task_id": "id",
    "terminate": "cancel",
    "traceback": "error.traceback",
    "wait": "await_end",
}
FLOW = {
    "apply_async": "enqueue",
    "delay": "enqueue",
    "link": "chain(a.s(), b.s())",
    "set": "task.using(…).s",
}
BOUND = {
    "apply_async": "self.add_task(name, …)",
    "delay": "self.add_task(name, …)",
    "request": "self.ctx, as in self.ctx.job_id and self.ctx.attempt",
    "update_state": "self.ctx.progress(done, total, note)",
}
CONTEXT = {
    "id": "ctx.job_id",
    "logger": "ctx.get_logger()",
    "request": "ctx itself, as in ctx.job_id and ctx.attempt",
    "retries": "ctx.attempt, which is 1 for the first try",
    "retry": "raise RetryLater(seconds)",
    "set_progress": "ctx.progress(done, total, note)",
    "task_id": "ctx.job_id",
    "update_state": "ctx.progress(done, total, note)",
}
APPLICATION = {
    "AsyncResult": "get",
    "actor": "task",
    "add_periodic_task": "schedule",
    "autodiscover_tasks": "tasks_from",
    "cancel": "app.get(id).cancel()",
    "conf": "QueueTasks('name', …), which takes the settings, or the environment",
    "config_from_object": "QueueTasks('name', …), which takes the settings, or the environment",
    "control": "app.get(id).cancel(), app.pause(…) and app.limit(…), or the command cherga",
    "defer": "task.enqueue(…), or add_task(name, …)",
    "enqueue": "task.enqueue(…), or add_task(name, …)",
    "fetch_job": "get",
    "get_job": "get",
    "job": "task",
    "on_after_configure": "app.task(cron=…) or app.schedule(…), anywhere",
    "on_failure": "app.on.failed",
    "on_success": "app.on.succeeded",
    "periodic_task": "task(cron=…) or task(every=…)",
    "register_task": "task",
    "revoke": "app.get(id).cancel()",
    "run": "cherga worker -A module:app, or with app.worker():",
    "run_worker": "cherga worker -A module:app, or with app.worker():",
    "send_task": "add_task",
    "signature": "s",
    "start": "cherga worker -A module:app, or with app.worker():",
    "worker_main": "cherga worker -A module:app, or with app.worker():",
}
QUEUE = {
    "empty": "the command cherga queues empty NAME",
    "enqueue_call": "enqueue",
    "enqueue_many": "task.enqueue_many",
    "failed_job_registry": "app.jobs(queue=…, states=['failed'])",
    "finished_job_registry": "app.jobs(queue=…, states=['succeeded'])",
    "get_job_ids": "jobs",
    "get_jobs": "jobs",
    "is_empty": "count == 0",
    "job_ids": "jobs",
    "scheduled_job_registry": "app.jobs(queue=…, states=['scheduled'])",
    "started_job_registry": "app.jobs(queue=…, states=['running'])",
}
WORKER = dict.fromkeys(("run", "start", "stop", "work"), "with app.worker():, which runs jobs until the block ends")
KIT = dict.fromkeys(("process", "run", "run_all", "run_pending", "work"), "drain")
LIBRARY = {
    "AsyncResult": "app.get(id)",
    "Celery": "QueueTasks",
    "Connection": "QueueTasks",
    "Ignore": "TaskCancelError",
    "Reject": "TaskCancelError",
    "Signature": "Step",
    "Worker": "the command cherga worker -A module:app, or with app.worker():",
    "app": "QueueTasks('name'), of which you make your own",
    "chord": "group(…, then=callback.s())",
    "crontab": "cron='30 7 * * MON', a text",
    "current_app": "an application that you import from your own module",
    "current_job": "get_current_job() or ctx",
    "current_task": "ctx",
    "job": "app.task",
    "signature": "task.s(…)",
    "states": "JobState",
    "task": "app.task, or shared_task where there is no application yet",
    "uuid": "uuid.uuid4, of Python itself",
}


class Explaining(Listed):
    """A class that answers for an unknown attribute with our word for it, where it is another system's."""

    __slots__ = ()
    _foreign: ClassVar[Mapping[str, str]]

    if not TYPE_CHECKING:  # or every attribute would be known to type checkers

        def __getattr__(self, name: str) -> Any:
            if hasattr(type(self), name):  # a property that failed says itself what it missed
                return object.__getattribute__(self, name)

            hint = self._hint(name)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}", name=name, obj=self)

    def _hint(self, name: str) -> str:
        return hint(name, type(self)._foreign)


class Uncalled:
    """A class whose values are neither called nor joined with ``|``, as those of other systems are: both have an answer."""

    __slots__ = ()

    if not TYPE_CHECKING:  # as above

        def __call__(self, *args: object, **kwargs: object) -> NoReturn:
            raise TypeError(f"{self!r} cannot be called; store it with its enqueue(…)")

        def __or__(self, other: object) -> NoReturn:
            raise TypeError(f"expected chain({_step(self)}, {_step(other)}) for one after the other, got {self!r} | {other!r}")


def hint(name: str, words: Mapping[str, str]) -> str:
    """The end of a sentence about an unknown name: our word for it, where it is another system's."""
    return f"; here it is called {words[name]}" if name in words else ""


def refuse_name(name: str) -> NoReturn:
    """Raise the error for a name that the library does not have. Raises ``ImportError`` or ``AttributeError``.

    ``from cherga import chord`` would replace the words of an ``AttributeError`` by its own.
    """
    words = f"module 'cherga' has no attribute {name!r}{hint(name, LIBRARY)}"
    raise ImportError(words, name="cherga") if name in LIBRARY else AttributeError(words, name=name)


def _step(value: object) -> str:
    name = getattr(getattr(value, "task", value), "name", None)
    return f"{name}.s(…)" if isinstance(name, str) else "…"
