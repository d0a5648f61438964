"""Names of tasks and queues that are known: for completion, and to say when a name may be a slip."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cherga.rules.options import nearest
from cherga.words.inspection import JobFilter
from cherga.words.push import GROUP_TASK
from cherga.words.shared import TASK

if TYPE_CHECKING:
    from cherga.client.app import QueueTasks


def known_tasks(app: QueueTasks) -> set[str]:
    """The names that the code and the workers have told."""
    return {*app.tasks, *app.aliases, *(definition.name for definition in app.broker.definitions(TASK))}


def known_queues(app: QueueTasks) -> set[str]:
    """Queues that tasks, workers or pauses name, and those with jobs."""
    broker = app.broker
    published = (msgspec.msgpack.decode(definition.data).get("queue", "default") for definition in broker.definitions(TASK))

    return {
        *(task.queue for task in app.tasks.values()),
        *published,
        *(queue for worker in broker.workers() for queue in worker.session.queues),
        *(scope.queue for scope in broker.paused() if scope.queue is not None),
        *(count.queue for count in broker.counts()),
    }


def doubt(app: QueueTasks, where: JobFilter) -> str | None:
    """The slip of the pen that may be the reason why no job matches; None where there is none."""
    if where.task is not None and where.task not in {*(tasks := known_tasks(app)), GROUP_TASK}:
        return f"no task {where.task!r} is known{nearest(where.task, tasks)}"

    if where.queue is not None and where.queue not in (queues := known_queues(app)):
        return f"no task, job or worker uses queue {where.queue!r}{nearest(where.queue, queues)}"

    return None
