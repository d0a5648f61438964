"""``Order``: how the jobs of one enqueue are to be stored, made from the options that users write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from cherga.client.handle import Job
from cherga.client.ids import as_id, new_id
from cherga.client.keys import LimitKey, UniqueKey, check_limit_key, check_unique_key, unique_fields
from cherga.rules import options as check
from cherga.rules.elsewhere import JOB, refused
from cherga.rules.options import Duration, nearest
from cherga.words.departure import When, Wish
from cherga.words.errors import ConfigError, InvalidArguments
from cherga.words.push import Edge, EdgePolicy, JobHead, NewJob, OnCrash, Overrides
from cherga.words.unique import OnConflict, Unique, UniqueWhile

_read_head = msgspec.msgpack.Decoder(JobHead).decode
_encode = msgspec.msgpack.Encoder().encode
_EMPTY_HEAD = JobHead()
EDGES_SHOWN = 100
MOST_BESIDE = 65_536
"""Bytes of description, tags and headers of one job together."""
_NO_OVERRIDES = Overrides()


class UsingOptions(TypedDict, total=False):
    """The keywords of ``using``."""

    queue: str
    priority: int
    run_in: Duration
    run_at: datetime
    expires: Duration | datetime
    owner: str | None
    description: str | None
    tags: Iterable[str]
    headers: Mapping[str, str]
    id: UUID | str
    after: Iterable[Job[Any] | Edge]
    after_policy: str
    unique: UniqueKey
    unique_while: str
    unique_for: Duration
    on_conflict: str
    key: LimitKey | None
    retry: int
    max_time: Duration | None
    result_ttl: Duration
    failure_ttl: Duration
    on_crash: str
    when: str
    session: Any


class FlowOptions(TypedDict, total=False):
    """The keywords of a flow's ``using``."""

    queue: str
    priority: int
    run_in: Duration
    run_at: datetime
    expires: Duration | datetime
    owner: str | None
    description: str | None
    tags: Iterable[str]
    headers: Mapping[str, str]
    result_ttl: Duration
    failure_ttl: Duration
    when: str
    session: Any


class Order(Struct, frozen=True, kw_only=True):
    """The way the jobs of one enqueue are to be stored: a task's own options, or those with what ``using`` set."""

    queue: str = "default"
    priority: int = 0
    delay: float | None = None
    run_at: float | None = None
    expires_in: float | None = None
    expires_at: float | None = None
    owner: str | None = None
    id: UUID | None = None
    edges: tuple[Edge, ...] = ()
    unique: UniqueKey = False
    hold: UniqueWhile = UniqueWhile.UNFINISHED
    period: float | None = None
    conflict: OnConflict = OnConflict.EXISTING
    key: LimitKey | None = None
    head: JobHead = _EMPTY_HEAD
    packed_head: bytes | None = None
    wish: Wish | None = None
    """The departure that ``using`` asks for."""
    given: frozenset[str] = frozenset()
    """The options that ``using`` has set; what is said of a whole flow gives way to them."""


def new_job(task: str, payload: bytes, order: Order, unique: Unique | None, limit_keys: tuple[str, ...] = ()) -> NewJob:
    """A job to push, from its parts. Raises ``InvalidArguments`` for a unique key that is too long."""
    if unique is not None and len(unique.key) > check.LONGEST_TEXT:
        raise InvalidArguments(
            f"task {task}: expected a unique key of at most {check.LONGEST_TEXT:,} characters, got {len(unique.key):,}; make "
            "it of what is shorter, such as an id or a hash"
        )

    return NewJob(
        id=order.id or new_id(),
        task=task,
        payload=payload,
        queue=order.queue,
        priority=order.priority,
        delay=order.delay,
        run_at=order.run_at,
        expires_in=order.expires_in,
        expires_at=order.expires_at,
        owner=order.owner,
        unique=unique,
        edges=order.edges,
        limit_keys=limit_keys,
        head=order.packed_head,
    )


def unique_text(order: Order) -> Unique | None:
    """The unique key of a job whose task's code is not at hand: one that is a text."""
    return Unique(order.unique, order.hold, order.period, order.conflict) if isinstance(order.unique, str) else None


def as_published(job: NewJob, name: str, order: Order) -> NewJob:
    """The job of an undeclared task under the name that its worker has published, and in that order where the sender said
    nothing: what differs from the defaults was said."""
    told, head, usual = order.head, JobHead() if job.head is None else _read_head(job.head), Order()
    head = replace(
        head,
        description=head.description or told.description,
        tags=head.tags or told.tags,
        overrides=_merged(head.overrides, told.overrides),
    )
    return replace(
        job,
        task=name,
        queue=order.queue if job.queue == usual.queue else job.queue,
        priority=order.priority if job.priority == usual.priority else job.priority,
        unique=job.unique or unique_text(order),
        head=pack_head(head),
    )


def _merged(own: Overrides | None, told: Overrides | None) -> Overrides | None:
    """The two in one, the first where they differ."""
    if own is None or told is None:
        return own or told

    fields = {name: value for name in Overrides.__struct_fields__ if (value := getattr(own, name)) is not None}
    return replace(told, **fields)


def order_with(order: Order, task: str, given: UsingOptions) -> Order:
    """The order with these options set. Raises ``ConfigError`` that names the one which is wrong."""
    try:
        changes = _order_fields(given)
        head = replace(order.head, **_head_fields(given, order.head))
    except ConfigError as error:
        raise ConfigError(f"task {task}: {error}") from None

    changed = with_head(replace(order, **changes), head)
    _check_whole(changed, task)
    return changed


def with_head(order: Order, head: JobHead) -> Order:
    """The order with this head. Raises ``ConfigError`` for one that is too large."""
    check_head(head)
    return replace(order, head=head, packed_head=pack_head(head))


def check_head(head: JobHead) -> None:
    """Raise ``ConfigError`` where the texts beside a job are too much together."""
    texts = (head.description or "", *head.tags, *head.headers, *head.headers.values())

    if (size := sum(len(each.encode()) for each in texts)) > MOST_BESIDE:
        raise ConfigError(
            f"expected description, tags and headers to be at most {MOST_BESIDE:,} bytes together, got {size:,}; store large "
            "data elsewhere and pass its name"
        )


def shown(edges: Iterable[Edge]) -> tuple[UUID, ...]:
    """The jobs waited for, as far as a head tells them."""
    return tuple(edge.parent for edge in edges)[:EDGES_SHOWN]


def pack_head(head: JobHead) -> bytes | None:
    """The packed head, None when the job uses none of it."""
    return None if head == _EMPTY_HEAD else _encode(head)


def _check_whole(order: Order, task: str) -> None:
    """Checks that need all the options together."""
    _check_times(order, task)

    if order.unique is not False or (order.hold, order.period, order.conflict) == (
        UniqueWhile.UNFINISHED,
        None,
        OnConflict.EXISTING,
    ):
        return

    raise ConfigError(f"task {task}: expected unique together with unique_while, unique_for or on_conflict")


def _check_times(order: Order, task: str) -> None:
    """A job that expires before it may start would never run."""
    start, end = (order.run_at, order.expires_at) if order.run_at is not None else (order.delay, order.expires_in)

    if start is not None and end is not None and end <= start:
        raise ConfigError(f"task {task}: expected expires to be later than run_in or run_at, or the job would never run")


def _order_fields(given: UsingOptions) -> dict[str, Any]:
    fields: dict[str, Any] = {}

    if unknown := set(given) - set(UsingOptions.__annotations__):
        word = min(unknown)
        raise refused(word, JOB)

    if "queue" in given:
        fields["queue"] = check.name(given["queue"], "queue")

    if "priority" in given:
        fields["priority"] = check.priority(given["priority"])

    if "id" in given:
        fields["id"] = _id(given["id"])

    if "after" in given:
        fields["edges"] = _edges(given["after"], _edge_policy(given.get("after_policy", "succeeded")))
    elif "after_policy" in given:
        raise ConfigError("expected after_policy together with after")

    if "owner" in given:
        fields["owner"] = _text_or_none(given["owner"], "owner")

    if "unique" in given:
        fields["unique"] = check_unique_key(given["unique"])

    if "key" in given:
        fields["key"] = None if given["key"] is None else check_limit_key(given["key"])

    if (wish := wish_in(given)) is not None:
        fields["wish"] = wish

    fields |= unique_fields(given)
    return fields | _start_fields(given) | _expiry_fields(given)


def wish_in(given: Mapping[str, Any]) -> Wish | None:
    """The departure that these options ask for. Raises ``ConfigError``."""
    if "when" not in given and "session" not in given:
        return None

    return Wish(check_when(given["when"]) if "when" in given else None, given.get("session"))


def check_when(value: Any) -> When:
    """``"now"``, ``"commit"`` or ``"outbox"``."""
    try:
        return When(value)
    except ValueError:
        known = [each.value for each in When]
        raise ConfigError(
            f"expected when to be one of {', '.join(map(repr, known))}, got {check.shown(value)}{nearest(str(value), known)}"
        ) from None


def _id(value: UUID | str) -> UUID:
    try:
        return as_id(value)
    except (ValueError, TypeError, AttributeError):
        raise ConfigError(f"expected id to be a UUID or its text, got {check.shown(value)}") from None


def _edges(after: Iterable[Job[Any] | Edge], policy: EdgePolicy = EdgePolicy.SUCCEEDED) -> tuple[Edge, ...]:
    found = tuple(after) if isinstance(after, Iterable) else (after,)

    for each in found:
        if not isinstance(each, Job | Edge):
            raise ConfigError(f"expected after to be a list of jobs, got {check.shown(each)} in it")

    return tuple(each if isinstance(each, Edge) else Edge(each.id, policy) for each in found)


def _edge_policy(value: str) -> EdgePolicy:
    if value not in (EdgePolicy.SUCCEEDED, EdgePolicy.ENDED):
        raise ConfigError(f"expected after_policy to be 'succeeded' or 'ended', got {check.shown(value)}")

    return EdgePolicy(value)


def _text_or_none(value: str | None, what: str) -> str | None:
    return None if value is None else check.short_text(value, what)


def _start_fields(given: UsingOptions) -> dict[str, float | None]:
    """The time to run; the later of two wishes replaces the earlier one."""
    if "run_in" in given and "run_at" in given:
        raise ConfigError("expected run_in or run_at, got both")

    if "run_in" in given:
        return {"delay": check.seconds(given["run_in"], "run_in"), "run_at": None}

    if "run_at" in given:
        return {"run_at": check.timestamp(given["run_at"], "run_at"), "delay": None}

    return {}


def _expiry_fields(given: UsingOptions) -> dict[str, float | None]:
    if "expires" not in given:
        return {}

    expires = given["expires"]

    if isinstance(expires, datetime):
        return {"expires_at": check.timestamp(expires, "expires"), "expires_in": None}

    return {"expires_in": check.seconds(expires, "expires"), "expires_at": None}


def _head_fields(given: UsingOptions, head: JobHead) -> dict[str, Any]:
    fields: dict[str, Any] = {}

    if "description" in given:
        fields["description"] = _text_or_none(given["description"], "description")

    if "tags" in given:
        fields["tags"] = check.texts(given["tags"], "tags")

    if "after" in given:
        fields["after"] = shown(_edges(given["after"]))

    if "headers" in given:
        fields["headers"] = head.headers | _headers(given["headers"])

    if changes := _override_fields(given):
        fields["overrides"] = replace(head.overrides or _NO_OVERRIDES, **changes)

    return fields


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise ConfigError(f"expected headers to be a mapping of text to text, got {check.shown(given)}")

    return {
        check.short_text(key, "a header's name"): check.short_text(value, f"header {check.shown(key)}")
        for key, value in given.items()
    }


def _override_fields(given: UsingOptions) -> dict[str, Any]:
    fields: dict[str, Any] = {}

    if "retry" in given:
        fields["retry"] = check.count(given["retry"], "retry")

    if "max_time" in given:
        limit = check.run_limit(given["max_time"])
        fields["max_time"] = 0.0 if limit is None else limit

    if "result_ttl" in given:
        fields["result_ttl"] = check.seconds(given["result_ttl"], "result_ttl")

    if "failure_ttl" in given:
        fields["failure_ttl"] = check.seconds(given["failure_ttl"], "failure_ttl")

    if "on_crash" in given:
        fields["on_crash"] = on_crash(given["on_crash"])

    return fields


def on_crash(value: str) -> OnCrash:
    """``"retry"`` or ``"fail"``."""
    try:
        return OnCrash(value)
    except ValueError:
        raise ConfigError(f"expected on_crash to be 'retry' or 'fail', got {check.shown(value)}") from None
