"""Children: jobs that a job asks for, stored in the same atomic write that completes it."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from typing import Any, Protocol
from uuid import UUID, uuid5

from msgspec.structs import replace

from cherga.client.handle import Job
from cherga.rules.codec import encode
from cherga.words.errors import NoCurrentJob
from cherga.words.job import JobHead, NewJob


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
    def store(self, jobs: Sequence[NewJob]) -> list[Job[Any]]: ...
    async def astore(self, jobs: Sequence[NewJob]) -> list[Job[Any]]: ...


class Child:
    """A job that will be stored with its parent's success; ``await`` it, or call ``store()``, to store it now."""

    def __init__(self, job: NewJob, children: Children) -> None:
        self.id: UUID = job.id
        self.job = job
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
        self._waiting: dict[UUID, NewJob] = {}
        self._seen: dict[bytes, int] = {}
        self._over = False
        self._lock = threading.Lock()

    def add(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], priority: int | None) -> Child:
        """Remember a child, under the same id in each attempt. Raises ``NoCurrentJob`` once the attempt has ended."""
        job = self._sender.build_child(name, args, kwargs, priority, self._context)

        with self._lock:
            self._expect_to_go_on(name)
            job = replace(job, id=self._id_of(job))
            self._waiting[job.id] = job

        return Child(job, self)

    def store(self, child: Child) -> Job[Any]:
        """Push it now, once."""
        self._waiting.pop(child.id, None)
        return self._sender.store([child.job])[0]

    async def astore(self, child: Child) -> Job[Any]:
        """The async twin of ``store``."""
        self._waiting.pop(child.id, None)
        return (await self._sender.astore([child.job]))[0]

    def take(self) -> tuple[tuple[NewJob, ...], ...]:
        """End it, and give what is to be pushed with a success: a group for each, so that one refusal harms no other."""
        with self._lock:
            self._over = True
            return tuple((job,) for job in self._waiting.values())

    def _expect_to_go_on(self, name: str) -> None:
        if self._over:
            raise NoCurrentJob(
                f"expected add_task({name!r}) before its job has ended, for the child would be lost; await what adds it, or "
                f"use app.add_task({name!r}, …)"
            )

    def _id_of(self, job: NewJob) -> UUID:
        """Derived from parent, task, arguments and occurrence (RFC 9562, version 5)."""
        what = encode([job.task, job.payload])
        occurrence = self._seen.get(what, 0)
        self._seen[what] = occurrence + 1
        return uuid5(self._context.job_id, f"{what.hex()}:{occurrence}")
