"""A child that is stored at once stays its parent's until it is known to be stored: whatever stops the push, it is not lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from cherga import BrokerUnavailable, EnqueueRefused, EnqueueUnknown, Job, QueueTasks
from cherga.client.children import Child, Children, Parent
from cherga.client.ids import new_id
from cherga.words.push import JobHead, NewJob


class Asking:
    """The job that asks."""

    job_id = new_id()
    head = JobHead()


class Stopping(QueueTasks):
    """Its pushes are ended by what it was given, before or after the job is stored."""

    def __init__(self, error: BaseException, after: bool = False) -> None:
        super().__init__("shop", "memory://")
        self.error: BaseException | None = error
        self.after = after
        self.task(name="subtask")(lambda n: None)

    def store(self, jobs: Sequence[NewJob]) -> list[Job[Any]]:
        error, self.error = self.error, None

        if error is None:
            return super().store(jobs)

        if self.after:
            super().store(jobs)

        raise error

    async def astore(self, jobs: Sequence[NewJob]) -> list[Job[Any]]:
        return self.store(jobs)


def asked(sender: Stopping) -> tuple[Children, Child]:
    parent: Parent = Asking()
    children = Children(parent, sender)
    return children, children.add("subtask", (1,), {}, None)


def ids(groups: Sequence[Sequence[NewJob]]) -> list[UUID]:
    return [job.id for group in groups for job in group]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), asyncio.CancelledError(), BrokerUnavailable("busy"), EnqueueUnknown("?")]
)
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("awaited", [False, True])
def test_a_child_whose_push_is_stopped_is_stored_with_its_parent(error: BaseException, after: bool, awaited: bool) -> None:
    sender = Stopping(error, after)
    children, child = asked(sender)

    with pytest.raises(type(error)):
        store(children, child, awaited)

    assert ids(children.take(True)) == [child.id]
    sender.store(child.jobs)
    assert [job.id for job in sender.jobs()] == [child.id]


@pytest.mark.parametrize("awaited", [False, True])
def test_a_child_that_is_stored_is_not_pushed_again(awaited: bool) -> None:
    sender = Stopping(BrokerUnavailable("busy"))
    children, child = asked(sender)

    with pytest.raises(BrokerUnavailable):
        store(children, child, awaited)

    assert store(children, child, awaited).id == child.id
    assert children.take(True) == ()


def test_a_child_that_is_refused_is_not_pushed_again() -> None:
    children, child = asked(Stopping(EnqueueRefused("the queue is full")))

    with pytest.raises(EnqueueRefused):
        child.store()

    assert children.take(True) == ()


def store(children: Children, child: Child, awaited: bool) -> Job[Any]:
    """In a ``def`` task, or by a coroutine that runs to its end without waiting."""
    if not awaited:
        return child.store()

    try:
        children.astore(child).send(None)
    except StopIteration as end:
        job: Job[Any] = end.value
        return job

    raise AssertionError("it waits")
