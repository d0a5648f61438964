"""Children: jobs that a job asks for. Bound ones are stored in the same atomic write that completes it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, Protocol
from uuid import UUID, uuid5

import msgspec
from msgspec.structs import replace

from cherga.client.flow import Part, Place
from cherga.client.handle import Job
from cherga.client.order import pack_head
from cherga.rules.codec import encode
from cherga.words.errors import BrokerError, ConfigError, EnqueueUnknown, NoCurrentJob
from cherga.words.push import JobHead, NewJob

_decode_head = msgspec.msgpack.Decoder(JobHead).decode


class Parent(Protocol):
    """The job that asks."""

    @property
    def job_id(self) -> UUID: ...
    @property
    def head(self) -> JobHead: ...


class ChildSender(Protocol):
    """The parts of an application that a bound task needs."""

    def draft(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], priority: int | None) -> NewJob: ...
    def undeclared(self, jobs: Sequence[NewJob]) -> list[str]: ...
    def addressed(self, jobs: Sequence[NewJob]) -> Sequence[NewJob]: ...
    async def aaddressed(self, jobs: Sequence[NewJob]) -> Sequence[NewJob]: ...
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
        self,
        job: NewJob,
        jobs: Sequence[NewJob],
        handle: Callable[[list[Job[Any]]], Job[Any]],
        children: Children,
        priority: int | None = None,
    ) -> None:
        self.id: UUID = job.id
        self.job = job
        self.jobs = jobs
        self.handle = handle
        """Makes one handle of those of all its jobs."""
        self.priority = priority
        """The order as the parent wants it, whatever workers have published."""
        self.drafted = True
        """Options that workers have published about its tasks have not been asked for yet."""
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
        self._waiting: dict[UUID, Child] = {}
        self._seen: dict[bytes, count[int]] = {}
        self._over = False
        self._lock = threading.RLock()

    def add(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], priority: int | None, awaiting: bool = False
    ) -> Child:
        """Remember a child, under the same id in each attempt. Raises ``NoCurrentJob`` once the attempt has ended.

        ``awaiting``: on a loop; what workers have published about undeclared tasks is asked for when the child is stored.
        """
        job = self._sender.draft(name, args, kwargs, priority)

        with self._lock:
            self._expect_to_go_on(repr(name))
            job = replace(job, id=self._id_of(encode([job.task, job.payload])))
            child = self._remember(Child(job, (job,), lambda handles: handles[0], self, priority))

        return self._prepare(child, awaiting)

    def add_flow(self, flow: Part[Any], awaiting: bool = False) -> Child:
        """Remember a whole flow, under the same ids in each attempt. See ``add``."""
        sender: object = flow.sender()

        if sender is not self._sender:
            raise ConfigError(f"expected {flow!r} to be made of tasks of the application whose job adds it")

        what = encode([[job.task, job.payload] for job in flow.plan(Place()).jobs])

        with self._lock:
            self._expect_to_go_on(repr(flow))
            base, numbers = self._id_of(what), count()
            plan = flow.plan(Place(make_id=lambda: uuid5(base, str(next(numbers)))))
            child = self._remember(Child(plan.last, plan.jobs, lambda handles: flow.handle(plan, handles), self))

        return self._prepare(child, awaiting)

    def store(self, child: Child) -> Job[Any]:
        """Push it now. Until it is known to be stored, it stays among those that are pushed with a success; twice is once."""
        with self._settled(child):
            self._finish(child)
            return child.handle(self._sender.store(child.jobs))

    async def astore(self, child: Child) -> Job[Any]:
        """The async twin of ``store``."""
        with self._settled(child):
            await self._afinish(child)
            return child.handle(await self._sender.astore(child.jobs))

    async def afinish(self) -> None:
        """Make all ready to be stored, on a loop: afterwards nothing has to be asked for them."""
        for child in list(self._waiting.values()):
            await self._afinish(child)

    def take(self, wanted: bool) -> tuple[tuple[NewJob, ...], ...]:
        """End it, and give what is to be pushed, if that is wanted: a group for each, so that one refusal harms no other."""
        with self._lock:
            self._over = True
            children = list(self._waiting.values()) if wanted else []

        for child in children:
            self._finish(child)

        return tuple(tuple(child.jobs) for child in children)

    @contextmanager
    def _settled(self, child: Child) -> Iterator[None]:
        """Once the block has stored it, or has shown that it cannot be, nothing more is pushed."""
        try:
            yield
        except (BrokerError, EnqueueUnknown):
            raise
        except Exception:
            self._waiting.pop(child.id, None)
            raise

        self._waiting.pop(child.id, None)

    def _remember(self, child: Child) -> Child:
        self._waiting[child.id] = child
        return child

    def _prepare(self, child: Child, awaiting: bool) -> Child:
        """Ready to be stored, unless the broker would have to be asked first and may not."""
        if awaiting and self._sender.undeclared(child.jobs):
            return child

        try:
            self._finish(child)
        except BaseException:
            self._waiting.pop(child.id, None)
            raise

        return child

    def _finish(self, child: Child) -> None:
        if child.drafted:
            self._adopt(child, self._sender.addressed(child.jobs))

    async def _afinish(self, child: Child) -> None:
        if child.drafted:
            self._adopt(child, await self._sender.aaddressed(child.jobs))

    def _adopt(self, child: Child, jobs: Sequence[NewJob]) -> None:
        if child.priority is not None:
            jobs = [replace(job, priority=child.priority) for job in jobs]

        child.jobs = self._sender.adopt(jobs, self._context)
        child.drafted = False

    def _expect_to_go_on(self, what: str) -> None:
        if self._over:
            raise NoCurrentJob(
                f"expected add_task({what}) before its job has ended, for the child would be lost; await what adds it, or "
                "enqueue it from outside the job"
            )

    def _id_of(self, what: bytes) -> UUID:
        """Derived from parent, task, arguments and occurrence (RFC 9562, version 5)."""
        occurrence = next(self._seen.setdefault(what, count()))
        return uuid5(self._context.job_id, f"{what.hex()}:{occurrence}")
