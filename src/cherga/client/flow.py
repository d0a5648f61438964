"""Jobs that wait for jobs: ``chain`` for one after the other, ``group`` for side by side, in any nesting.

A flow is built first and stored with one push: all of it or nothing. Who waits for whom stands in the jobs' edges; a group is a
job too (``GROUP_TASK``), which waits for its members, runs on no worker, and has ended when they have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from cherga.client.grouping import GroupJob
from cherga.client.handle import Job
from cherga.client.ids import new_id
from cherga.client.order import Order, pack_head, shown
from cherga.words.errors import ConfigError
from cherga.words.job import GROUP_TASK, Edge, EdgePolicy, JobHead, NewJob

R = TypeVar("R")

NOTHING = b"\x80"
"""No arguments, packed."""


class FlowSender(Protocol):
    """What a flow needs of its application."""

    def send(self, jobs: Sequence[NewJob]) -> list[Job[Any]]: ...
    async def asend(self, jobs: Sequence[NewJob]) -> list[Job[Any]]: ...
    def group_handle(self, job: Job[Any], callback: Job[Any] | None) -> GroupJob: ...


class FlowTask(Protocol):
    """What a step needs of its task."""

    @property
    def name(self) -> str: ...
    @property
    def sender(self) -> Any: ...
    def build(self, order: Order, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NewJob: ...
    def build_fed(self, order: Order, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NewJob: ...


class Place(Struct, frozen=True):
    """Where a part of a flow stands: what it waits for, whose result it is fed, and of which group it is a member."""

    before: UUID | None = None
    fed: bool = False
    group: UUID | None = None
    member: int | None = None

    @property
    def edges(self) -> tuple[Edge, ...]:
        return () if self.before is None else (Edge(self.before),)


class Part(Generic[R]):
    """Something that can be a link of a chain or a member of a group."""

    def plan(self, place: Place) -> tuple[list[NewJob], UUID]:
        """The jobs to push, and the one that stands for the whole: it ends last, and has the result."""
        raise NotImplementedError

    def sender(self) -> FlowSender:
        """The application of its tasks."""
        raise NotImplementedError

    def enqueue(self) -> Job[R]:
        """Store all jobs in one write; the handle is that of the last one. Raises as ``Task.enqueue`` does."""
        jobs, last = self.plan(Place())
        return _pick(self.sender().send(jobs), last)

    async def aenqueue(self) -> Job[R]:
        """The async twin of ``enqueue``."""
        jobs, last = self.plan(Place())
        return _pick(await self.sender().asend(jobs), last)


class Step(Part[R]):
    """A task with its arguments, not yet enqueued; made by ``task.s(…)``."""

    def __init__(self, task: FlowTask, order: Order, args: tuple[Any, ...], kwargs: dict[str, Any], takes: bool = True) -> None:
        self.task = task
        self.order = order
        self.args = args
        self.kwargs = kwargs
        self.takes = takes

    def plan(self, place: Place) -> tuple[list[NewJob], UUID]:
        id = self.order.id or new_id()
        fed = place.fed and self.takes
        edges = (*self.order.edges, *place.edges)
        head = replace(self.order.head, feed=place.before if fed else None, member=place.member, after=shown(edges))
        order = replace(self.order, id=id, edges=edges, head=head, packed_head=pack_head(head))
        job = (self.task.build_fed if fed else self.task.build)(order, self.args, self.kwargs)
        return [replace(job, parent=place.group)], id

    def sender(self) -> FlowSender:
        sender: FlowSender = self.task.sender
        return sender

    def __repr__(self) -> str:
        return f"<Step {self.task.name}>"


class Chain(Part[R]):
    """Parts that run one after the other, each fed the result of the one before as its first argument."""

    def __init__(self, parts: Sequence[Part[Any]]) -> None:
        self.parts = _parts(parts, "chain")

        if not self.parts:
            raise ConfigError("expected a chain of at least one step, got none")

    def plan(self, place: Place) -> tuple[list[NewJob], UUID]:
        jobs: list[NewJob] = []
        at = replace(place, member=None)

        for part in self.parts[:-1]:
            added, end = part.plan(at)
            jobs += added
            at = replace(at, before=end, fed=True)

        added, last = self.parts[-1].plan(replace(at, member=place.member))
        return jobs + added, last

    def sender(self) -> FlowSender:
        return self.parts[0].sender()


class Group(Part[list[R]]):
    """Parts that run side by side; ``then`` runs when they have ended, fed the list of their results."""

    def __init__(
        self, parts: Iterable[Part[R]], then: Part[Any] | None = None, policy: EdgePolicy = EdgePolicy.SUCCEEDED
    ) -> None:
        self.parts = _parts(parts, "group")
        self.then = _parts((then,), "then")[0] if then is not None else None
        self.policy = policy

    def plan(self, place: Place) -> tuple[list[NewJob], UUID]:
        """With ``then`` it is this that stands for the whole."""
        id = new_id()

        if self.then is None:
            return self._plan_members(id, place), id

        jobs = self._plan_members(id, replace(place, member=None))
        callback, last = self.then.plan(replace(place, before=id, fed=True))
        return jobs + callback, last

    def enqueue(self) -> GroupJob:
        """Store all jobs in one write, and return the one handle on them. Raises as ``Task.enqueue`` does."""
        sender = self._known_sender()
        id, jobs, last = self._plan_alone()
        return _group_of(sender, sender.send(jobs), id, last)

    async def aenqueue(self) -> GroupJob:
        """The async twin of ``enqueue``."""
        sender = self._known_sender()
        id, jobs, last = self._plan_alone()
        return _group_of(sender, await sender.asend(jobs), id, last)

    def sender(self) -> FlowSender:
        return self._known_sender()

    def _plan_alone(self) -> tuple[UUID, list[NewJob], UUID | None]:
        id = new_id()
        jobs = self._plan_members(id, Place())

        if self.then is None:
            return id, jobs, None

        callback, last = self.then.plan(Place(before=id, fed=True))
        return id, jobs + callback, last

    def _plan_members(self, id: UUID, place: Place) -> list[NewJob]:
        jobs: list[NewJob] = []
        ends: list[Edge] = []

        for member, part in enumerate(self.parts):
            added, end = part.plan(Place(place.before, place.fed, id, member))
            jobs += added
            ends.append(Edge(end, self.policy))

        waits = tuple(ends) or place.edges
        head = pack_head(JobHead(member=place.member, after=shown(waits)))
        return [*jobs, NewJob(id=id, task=GROUP_TASK, payload=NOTHING, edges=waits, parent=place.group, head=head)]

    def _known_sender(self) -> FlowSender:
        for part in (*self.parts, *([] if self.then is None else [self.then])):
            return part.sender()

        raise ConfigError("expected a group with at least one member, or with then=…, to be enqueued; got an empty one")


def chain(*parts: Part[Any]) -> Chain[Any]:
    """One after the other: ``chain(a.s(1), b.s())``. Each gets the result of the one before as its first argument (a step made
    by ``si`` does not). When one fails, those behind it are cancelled (reason ``upstream``).
    """
    return Chain(parts)


def group(*parts: Part[R] | Iterable[Part[R]], then: Part[Any] | None = None, policy: str = "succeeded") -> Group[R]:
    """Side by side: ``group(a.s(1), a.s(2))`` or ``group(a.s(n) for n in range(100))``.

    ``then`` is enqueued with it, and runs with the list of results when the members have ended: all with success
    (``policy="succeeded"``: otherwise it is cancelled), or anyhow (``"ended"``: who did not succeed stands in the list as
    None). ``"together"``: the first failure also cancels the other members. Raises ``ConfigError``.
    """
    alone = parts[0] if len(parts) == 1 and not isinstance(parts[0], Part) else parts
    return Group(alone, then, _policy(policy))  # type: ignore[arg-type]


def _parts(parts: Any, what: str) -> list[Part[Any]]:
    found = list(parts) if isinstance(parts, Iterable) and not isinstance(parts, str | bytes | Mapping) else [parts]

    for part in found:
        if not isinstance(part, Part):
            raise ConfigError(f"expected {what} to be given steps such as task.s(1), chains or groups, got {part!r}")

    return found


def _policy(value: str) -> EdgePolicy:
    try:
        return EdgePolicy(value)
    except ValueError:
        known = ", ".join(repr(each.value) for each in EdgePolicy)
        raise ConfigError(f"expected policy to be one of {known}, got {value!r}") from None


def _pick(jobs: Sequence[Job[Any]], id: UUID) -> Job[Any]:
    """The handle of the job that stands for the whole; the last one, where a unique key gave another id."""
    return next((job for job in jobs if job.id == id), jobs[-1])


def _group_of(sender: FlowSender, jobs: Sequence[Job[Any]], id: UUID, last: UUID | None) -> GroupJob:
    return sender.group_handle(_pick(jobs, id), None if last is None else _pick(jobs, last))


__all__ = ["NOTHING", "Chain", "Group", "Part", "Step", "chain", "group"]
