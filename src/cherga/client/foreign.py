"""Verbs of other systems, and what they are called here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, NoReturn

from cherga.client.public import Listed

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
BOUND = {
    "apply_async": "self.add_task(name, …)",
    "delay": "self.add_task(name, …)",
    "request": "self.ctx, as in self.ctx.job_id and self.ctx.attempt",
    "update_state": "self.ctx.progress(done, total, note)",
}
APPLICATION = {
    "AsyncResult": "get",
    "add_periodic_task": "schedule",
    "defer": "task.enqueue(…), or add_task(name, …)",
    "enqueue": "task.enqueue(…), or add_task(name, …)",
    "run": "cherga worker -A module:app, or with app.worker():",
    "run_worker": "cherga worker -A module:app, or with app.worker():",
    "send_task": "add_task",
    "signature": "s",
    "start": "cherga worker -A module:app, or with app.worker():",
    "worker_main": "cherga worker -A module:app, or with app.worker():",
}


class Explaining(Listed):
    """A class that answers for an unknown attribute with our word for it, where it is another system's."""

    __slots__ = ()
    _foreign: ClassVar[Mapping[str, str]]

    if not TYPE_CHECKING:  # or every attribute would be known to type checkers

        def __getattr__(self, name: str) -> NoReturn:
            hint = self._hint(name)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}", name=name, obj=self)

    def _hint(self, name: str) -> str:
        words = type(self)._foreign
        return f"; here it is called {words[name]}" if name in words else ""
