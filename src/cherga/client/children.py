"""Children: jobs that a job asks for. Bound ones are stored in the same atomic write that completes it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from itertools import count
from typing import Any, Protocol
from uuid import UUID, uuid5

import msgspec
from msgspec.structs import replace

from cherga.client.flow import Part, Place
from cherga.client.handle import Job
from cherga.client.order import pack_head
from cherga.rules.codec import encode
from cherga.words.errors import ConfigError, NoCurrentJob
from cherga.words.push import JobHead, NewJob

_decode_head = msgspec.msgpack.Decoder(JobHead).decode


class Parent(Protocol):
    """The job that asks."""

    @property
    def job_id(self) -> UUID: ...
    @property
    def head(self) -> JobHead: ...


class ChildSender(Protocol):
    """What a bound task needs of its application."""

    def build_child(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], priority: int | None, of: Parent
    ) -> NewJob: ...
    def adopt(self, jobs: Sequence[NewJob], of: Parent) -> Sequence[NewJob]: ...
    def store(self, jobs: Sequence[NewJob]) -> list[Job[Any]]: ...
    async def astore(self, jobs: Sequence[NewJob]) -> list[Job[Any]]: ...


def adopted(jobs: Sequence[NewJob], parent: Parent) -> list[NewJob]:
    """The jobs as children of this one; those in a group stay children of the group."""
    root = parent.head.root or parent.job_id
    plain = pack_head(JobHead(root=root))
    return [
        replace(
            job,
            parent=job.parent or parent.job_id,
            head=plain if job.head is None else pack_head(replace(_decode_head(job.head), root=root)),
        )
        for job in jobs
    ]


class Child:
    """A job, or a flow of jobs, that will be stored with its parent's success; ``await`` it, or call ``store()``, to store it
    now. ``job`` is the one that stands for the flow."""

    def __init__(
        self, job: NewJob, jobs: Sequence[NewJob], handle: Callable[[list[Job[Any]]], Job[Any]], children: Children
    ) -> None:
        self.id: UUID = job.id
        self.job = job
        self.jobs = jobs
        self.handle = handle
        """Makes one handle of those of all its jobs."""
        self._children = children

    @property
    def task_name(self) -> str:
        return self.job.task

    def store(self) -> Job[Any]:
        """Store it now, and return its handle; for ``def`` tasks."""
        return self._children.store(self)

    def __await__(self) -> Generator[Any, Any, Job[Any]]:
        return self._children.astore(self).__await__()

    def __repr__(self) -> str:
        return f"<Child {self.id} {self.job.task}>"


class Children:
    """The children that one attempt has asked for and not yet stored."""

    def __init__(self, context: Parent, sender: ChildSender) -> None:
        self._context = context
        self._sender = sender
        self._waiting: dict[UUID, Sequence[NewJob]] = {}
        self._seen: dict[bytes, int] = {}
        self._over = False
        self._lock = threading.Lock()

    def add(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], priority: int | None) -> Child:
        """Remember a child, under the same id in each attempt. Raises ``NoCurrentJob`` once the attempt has ended."""
        job = self._sender.build_child(name, args, kwargs, priority, self._context)

        with self._lock:
            self._expect_to_go_on(repr(name))
            job = replace(job, id=self._id_of(encode([job.task, job.payload])))
            return self._remember(Child(job, (job,), lambda handles: handles[0], self))

    def add_flow(self, flow: Part[Any]) -> Child:
        """Remember a whole flow, under the same ids in each attempt."""
        sender: object = flow.sender()

        if sender is not self._sender:
            raise ConfigError(f"expected {flow!r} to be made of tasks of the application whose job adds it")

        what = encode([[job.task, job.payload] for job in flow.plan(Place()).jobs])

        with self._lock:
            self._expect_to_go_on(repr(flow))
            base, numbers = self._id_of(what), count()
            plan = flow.plan(Place(make_id=lambda: uuid5(base, str(next(numbers)))))
            jobs = self._sender.adopt(plan.jobs, self._context)
            return self._remember(Child(plan.last, jobs, lambda handles: flow.handle(plan, handles), self))

    def store(self, child: Child) -> Job[Any]:
        """Push it now, once."""
        self._waiting.pop(child.id, None)
        return child.handle(self._sender.store(child.jobs))

    async def astore(self, child: Child) -> Job[Any]:
        """The async twin of ``store``."""
        self._waiting.pop(child.id, None)
        return child.handle(await self._sender.astore(child.jobs))

    def take(self) -> tuple[tuple[NewJob, ...], ...]:
        """End it, and give what is to be pushed with a success: a group for each, so that one refusal harms no other."""
        with self._lock:
            self._over = True
            return tuple(tuple(jobs) for jobs in self._waiting.values())

    def _remember(self, child: Child) -> Child:
        self._waiting[child.id] = child.jobs
        return child

    def _expect_to_go_on(self, what: str) -> None:
        if self._over:
            raise NoCurrentJob(
                f"expected add_task({what}) before its job has ended, for the child would be lost; await what adds it, or "
                "enqueue it from outside the job"
            )

    def _id_of(self, what: bytes) -> UUID:
        """Derived from parent, task, arguments and occurrence (RFC 9562, version 5)."""
        occurrence = self._seen.get(what, 0)
        self._seen[what] = occurrence + 1
        return uuid5(self._context.job_id, f"{what.hex()}:{occurrence}")
