"""Jobs that wait for jobs: ``chain`` for one after the other, ``group`` for side by side, in any nesting.

A flow is built first and stored with one push: all of it or nothing. The edges of the jobs say which waits for which; a group
is a job too (``GROUP_TASK``), which waits for its members, runs on no worker, and has ended when they have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import chain as chained
from typing import Any, Generic, Protocol, Self, TypeVar, Unpack, cast, overload
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from cherga.client import foreign
from cherga.client.applications import current_application
from cherga.client.grouping import GroupJob
from cherga.client.handle import Job
from cherga.client.ids import new_id
from cherga.client.order import FlowOptions, Order, UsingOptions, new_job, order_with, shown, unique_text, wish_in, with_head
from cherga.rules import options as check
from cherga.rules.codec import check_size
from cherga.rules.elsewhere import JOB, refused
from cherga.rules.signature import pack_unbound
from cherga.words.departure import Wish
from cherga.words.errors import ConfigError
from cherga.words.push import GROUP_TASK, Edge, EdgePolicy, NewJob

R = TypeVar("R")

NOTHING = b"\x80"
"""No arguments, packed."""


class FlowSender(Protocol):
    """The parts of an application that a flow needs."""

    def send(self, jobs: Sequence[NewJob], wish: Wish | None = None) -> list[Job[Any]]: ...
    async def asend(self, jobs: Sequence[NewJob], wish: Wish | None = None) -> list[Job[Any]]: ...
    def addressed(self, jobs: Sequence[NewJob]) -> Sequence[NewJob]: ...
    async def aaddressed(self, jobs: Sequence[NewJob]) -> Sequence[NewJob]: ...
    @property
    def max_payload(self) -> int: ...
    def group_handle(self, job: Job[Any], callback: Job[Any] | None) -> GroupJob[Any]: ...


class FlowTask(Protocol):
    """The parts of a task that a step needs."""

    @property
    def name(self) -> str: ...
    @property
    def sender(self) -> Any: ...
    def build(self, order: Order, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NewJob: ...
    def build_fed(self, order: Order, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NewJob: ...


class NamedTask:
    """A task that is not declared here: whatever runs it will see whether the arguments fit."""

    def __init__(self, name: str, sender: FlowSender) -> None:
        self.name = check.task_name(name)
        self.sender = sender

    def build(self, order: Order, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NewJob:
        """The job to push. Raises ``InvalidArguments``."""
        what = f"arguments of task {self.name}"
        payload = check_size(pack_unbound(self.name, args, kwargs), self.sender.max_payload, what)
        return new_job(self.name, payload, order, unique_text(order))

    build_fed = build


OF_THE_FIRST = frozenset({"run_in", "run_at"})
"""Options of a flow that are about those of its jobs which wait for nothing."""
OF_THE_WHOLE = frozenset({"description"})
"""Options of a flow that are about the job which stands for it."""


class Place(Struct, frozen=True):
    """The place of a part of a flow: the job before it, the result that it is fed, and the group of which it is a member."""

    before: UUID | None = None
    fed: bool = False
    key: str | None = None
    """The unique key of the job in ``before``."""
    group: UUID | None = None
    root: UUID | None = None
    """The outermost group."""
    member: int | None = None
    make_id: Callable[[], UUID] = new_id
    options: FlowOptions = {}
    """The options that the flows around it set for all their jobs."""
    description: str | None = None
    """The description of the flow which ends with this part."""

    @property
    def edges(self) -> tuple[Edge, ...]:
        return () if self.before is None else (Edge(self.before),)

    @property
    def keys(self) -> dict[int, str]:
        return {} if self.key is None else {0: self.key}


class Plan(Struct, frozen=True):
    """The plan of a part: the jobs to push, and the one that stands for the whole, which ends last and has the result."""

    jobs: list[NewJob]
    last: NewJob
    group: UUID | None = None
    """The job that waits for the members, where the part is a group."""
    named: bool = False
    """The last job has an id that the caller chose, under which another may be kept already."""

    @property
    def key(self) -> str | None:
        """The unique key that another job may be found to hold in place of the last one."""
        return self.last.unique.key if self.last.unique else None


class Part(foreign.Explaining, foreign.Uncalled, Generic[R]):
    """Something that can be a link of a chain or a member of a group."""

    _foreign = foreign.FLOW
    _internal = "handle plan sender senders wish"
    _options: FlowOptions = {}

    def plan(self, place: Place) -> Plan:
        """The jobs to push for this part."""
        raise NotImplementedError

    def using(self, **options: Unpack[FlowOptions]) -> Self:
        """The same with these options for all its jobs: ``queue``, ``priority``, ``owner``, ``tags``, ``headers``, ``expires``,
        ``result_ttl`` and ``failure_ttl``. ``run_in`` and ``run_at`` are about its first jobs, ``description`` is about the job
        that stands for the whole, ``when`` and ``session`` about its enqueue. Options of a step, or of a flow inside, take
        precedence. Raises ``ConfigError``.
        """
        if unknown := sorted(set(options) - set(FlowOptions.__annotations__)):
            raise _unfit_option(unknown[0])

        order_with(Order(), repr(self), cast(UsingOptions, options))
        changed = copy(self)
        changed._options = cast(FlowOptions, {**self._options, **options})
        return changed

    def _inside(self, place: Place) -> Place:
        """The place with what this part says of its own jobs."""
        mine = dict(self._options)
        description = cast("str | None", mine.pop("description", place.description))
        return replace(place, options=cast(FlowOptions, {**place.options, **mine}), description=description)

    @property
    def wish(self) -> Wish | None:
        """The departure that its options ask for: it leaves as a whole."""
        return wish_in(self._options)

    def senders(self) -> Iterator[FlowSender]:
        """The applications of its tasks."""
        raise NotImplementedError

    def sender(self) -> FlowSender:
        """The one application of all its tasks. Raises ``ConfigError`` when they have several."""
        found = list(dict.fromkeys(self.senders()))

        if len(found) > 1:
            raise ConfigError(f"expected all tasks of {self!r} to be of one application, got those of {found}")

        return found[0] if found else current_application()  # an empty group has no tasks

    def handle(self, plan: Plan, jobs: Sequence[Job[Any]]) -> Job[R]:
        """The handle on the whole, once the jobs are stored."""
        return _pick(plan, jobs, plan.last.id)

    def _whole(self) -> Plan:
        """The plan of a part that stands alone. Raises ``ConfigError``."""
        plan = self.plan(Place())
        again = [id for id, count in Counter(job.id for job in plan.jobs).items() if count > 1]

        if again:
            raise ConfigError(f"expected each job of {self!r} to have an id of its own, got {again[0]} more than once")

        return plan

    def enqueue(self) -> Job[R]:
        """Store all jobs in one write; the handle is that of the last one. Raises as ``Task.enqueue`` does."""
        plan, sender = self._whole(), self.sender()
        return self.handle(plan, sender.send(sender.addressed(plan.jobs), self.wish))

    async def aenqueue(self) -> Job[R]:
        """The async twin of ``enqueue``."""
        plan, sender = self._whole(), self.sender()
        return self.handle(plan, await sender.asend(await sender.aaddressed(plan.jobs), self.wish))


class Step(Part[R]):
    """A task with its arguments, not yet enqueued; made by ``task.s(…)``."""

    _internal = "args kwargs order takes task"

    def __init__(self, task: FlowTask, order: Order, args: tuple[Any, ...], kwargs: dict[str, Any], takes: bool = True) -> None:
        self.task = task
        self.order = order
        self.args = args
        self.kwargs = kwargs
        self.takes = takes

    def plan(self, place: Place) -> Plan:
        wished = _order_at(self._inside(place), self.order, self.task.name)
        edges = (*wished.edges, *place.edges)
        head = replace(wished.head, root=place.root, member=place.member, after=shown(edges))
        fed = place.fed and self.takes

        if fed:
            head = replace(head, feed=place.before, keys=place.keys)

        order = with_head(replace(wished, id=wished.id or place.make_id(), edges=edges), head)
        job = (self.task.build_fed if fed else self.task.build)(order, self.args, self.kwargs)
        job = replace(job, parent=place.group)
        return Plan([job], job, named=self.order.id is not None)

    @property
    def wish(self) -> Wish | None:
        """Its own, else that of its flow."""
        return self.order.wish or super().wish

    def senders(self) -> Iterator[FlowSender]:
        yield self.task.sender

    def __repr__(self) -> str:
        return f"<Step {self.task.name}>"


class Chain(Part[R]):
    """Parts that run one after the other, each fed the result of the one before as its first argument."""

    _internal = "parts"

    def __init__(self, parts: Sequence[Part[Any]]) -> None:
        self.parts = parts

        if not parts:
            raise ConfigError("expected a chain of at least one step, got none")

    def plan(self, place: Place) -> Plan:
        jobs: list[NewJob] = []
        here = self._inside(place)
        at = replace(here, member=None, description=None)

        for part in self.parts[:-1]:
            plan = part.plan(at)
            jobs += plan.jobs
            at = _behind(plan, at)

        plan = self.parts[-1].plan(replace(at, member=place.member, description=here.description))
        return Plan(jobs + plan.jobs, plan.last, named=plan.named)

    def senders(self) -> Iterator[FlowSender]:
        return chained.from_iterable(part.senders() for part in self.parts)

    def __repr__(self) -> str:
        return f"<Chain of {len(self.parts)}>"


class Group(Part[list[R]]):
    """Parts that run side by side; ``then`` runs when they have ended, fed the list of their results."""

    _internal = "parts policy then"

    def __init__(
        self, parts: Sequence[Part[R]], then: Part[Any] | None = None, policy: EdgePolicy = EdgePolicy.SUCCEEDED
    ) -> None:
        self.parts = parts
        self.then = then
        self.policy = policy

    def plan(self, place: Place) -> Plan:
        """With ``then`` it is this that stands for the whole."""
        here = self._inside(place)

        if self.then is None:
            return self._plan_members(here)

        plan = self._plan_members(replace(here, member=None))
        callback = self.then.plan(replace(_behind(plan, here), member=place.member))
        return Plan(plan.jobs + callback.jobs, callback.last, plan.group, callback.named)

    def handle(self, plan: Plan, jobs: Sequence[Job[Any]]) -> GroupJob[R]:
        callback = None if self.then is None else _pick(plan, jobs, plan.last.id)
        return self.sender().group_handle(_pick(plan, jobs, plan.group), callback)

    def enqueue(self) -> GroupJob[R]:
        """Store all jobs in one write, and return the one handle on them. Raises as ``Task.enqueue`` does."""
        plan, sender = self._whole(), self.sender()
        return self.handle(plan, sender.send(sender.addressed(plan.jobs), self.wish))

    async def aenqueue(self) -> GroupJob[R]:
        """The async twin of ``enqueue``."""
        plan, sender = self._whole(), self.sender()
        return self.handle(plan, await sender.asend(await sender.aaddressed(plan.jobs), self.wish))

    def senders(self) -> Iterator[FlowSender]:
        return chained.from_iterable(part.senders() for part in (*self.parts, *_given(self.then)))

    def _plan_members(self, place: Place) -> Plan:
        id = place.make_id()
        inside = replace(place, group=id, root=place.root or id, description=None)
        plans = [part.plan(replace(inside, member=member)) for member, part in enumerate(self.parts)]

        edges = tuple(Edge(plan.last.id, self.policy) for plan in plans) or place.edges
        keys = {member: plan.key for member, plan in enumerate(plans) if plan.key is not None}
        ids = {member: plan.last.id for member, plan in enumerate(plans) if plan.named}
        order = _order_at(place, Order(), repr(self))
        head = replace(order.head, root=place.root, member=place.member, after=shown(edges), keys=keys, ids=ids)
        order = with_head(replace(order, id=id, edges=edges, delay=None, run_at=None), head)
        job = replace(new_job(GROUP_TASK, NOTHING, order, None), parent=place.group)
        return Plan([*(job for plan in plans for job in plan.jobs), job], job, id)

    def __repr__(self) -> str:
        return f"<Group of {len(self.parts)}>"


@overload
def chain(first: Part[R], /) -> Chain[R]: ...
@overload
def chain(first: Part[Any], second: Part[R], /) -> Chain[R]: ...
@overload
def chain(first: Part[Any], second: Part[Any], third: Part[R], /) -> Chain[R]: ...
@overload
def chain(first: Part[Any], second: Part[Any], third: Part[Any], fourth: Part[R], /) -> Chain[R]: ...
@overload
def chain(*parts: Part[Any]) -> Chain[Any]: ...
def chain(*parts: Part[Any]) -> Chain[Any]:
    """Steps one after the other: ``chain(a.s(1), b.s())``. Each gets the result of the one before as its first argument (a step
    made by ``si`` does not). When one fails, those behind it are cancelled (reason ``upstream``). Raises ``ConfigError``.
    """
    return Chain(_parts(parts, "chain"))


@overload
def group(parts: Iterable[Part[R]], /, *, then: Part[Any] | None = None, policy: str = "succeeded") -> Group[R]: ...
@overload
def group(*parts: Part[R], then: Part[Any] | None = None, policy: str = "succeeded") -> Group[R]: ...
@overload
def group(parts: Iterable[Part[Any]], /, *, then: Part[Any] | None = None, policy: str = "succeeded") -> Group[Any]: ...
@overload
def group(*parts: Part[Any], then: Part[Any] | None = None, policy: str = "succeeded") -> Group[Any]: ...
def group(*parts: Any, then: Part[Any] | None = None, policy: str = "succeeded") -> Group[Any]:
    """Steps side by side: ``group(a.s(1), a.s(2))`` or ``group(a.s(n) for n in range(100))``.

    ``then`` is enqueued with it, and runs with the list of results when the members have ended: all with success
    (``policy="succeeded"``: otherwise it is cancelled), or anyhow (``"ended"``: who did not succeed stands in the list as
    None). ``"together"``: the first failure also cancels the other members. Raises ``ConfigError``.
    """
    alone = parts[0] if len(parts) == 1 and not isinstance(parts[0], Part) else parts
    return Group(_parts(alone, "group"), None if then is None else _part(then, "then"), _policy(policy))


def _order_at(place: Place, own: Order, name: str) -> Order:
    """The order of a job in this place: its own, and where that says nothing, what the flows around it say."""
    late = OF_THE_FIRST if place.before is not None else frozenset[str]()
    described = {} if place.description is None else {"description": place.description}
    wish = {name: value for name, value in {**place.options, **described}.items() if name not in own.given | late}
    return order_with(own, name, cast(UsingOptions, wish)) if wish else own


def _unfit_option(name: str) -> ConfigError:
    if name in UsingOptions.__annotations__:
        return ConfigError(
            f"expected options of a whole flow, got {name}, which is about one job: say it of a step, as in "
            f"task.using({name}=…).s(…)"
        )

    return refused(name, JOB)


def _parts(parts: Any, what: str) -> list[Part[Any]]:
    if not isinstance(parts, Iterable) or isinstance(parts, str | bytes | Mapping):
        raise _unfit(parts, what)

    return [_part(part, what) for part in parts]


def _part(part: Any, what: str) -> Part[Any]:
    if not isinstance(part, Part):
        raise _unfit(part, what)

    if part.wish is not None:
        raise ConfigError(
            f"expected when= and session= of the whole {what}, which leaves at one time, got them of {part!r}: say "
            f"{what}(…).using(when=…)"
        )

    return part


def _unfit(part: Any, what: str) -> ConfigError:
    return ConfigError(f"expected {what} to be given steps such as task.s(1), chains or groups, got {part!r}")


def _policy(value: str) -> EdgePolicy:
    try:
        return EdgePolicy(value)
    except ValueError:
        known = ", ".join(repr(each.value) for each in EdgePolicy)
        raise ConfigError(f"expected policy to be one of {known}, got {value!r}") from None


def _behind(plan: Plan, place: Place) -> Place:
    """The place of what is fed by this."""
    return replace(place, before=plan.last.id, fed=True, key=plan.key)


def _given(part: Part[Any] | None) -> tuple[Part[Any], ...]:
    return () if part is None else (part,)


def _pick(plan: Plan, jobs: Sequence[Job[Any]], id: UUID | None) -> Job[Any]:
    """The handle of the job planned under that id, or of the one that stands in for it."""
    return next(job for new, job in zip(plan.jobs, jobs, strict=True) if new.id == id)


__all__ = ["NOTHING", "Chain", "Group", "NamedTask", "Part", "Place", "Plan", "Step", "chain", "group"]
