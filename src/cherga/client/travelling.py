"""Travelling: what goes with a job, in its headers, from where it is enqueued to where it runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import msgspec
from msgspec.structs import replace

from cherga.client.order import check_head, pack_head
from cherga.words.push import JobHead, NewJob

TRACEPARENT = "traceparent"
"""The header, in requests and in jobs, that says which trace they belong to (W3C Trace Context)."""
_TRACE = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_read_head = msgspec.msgpack.Decoder(JobHead).decode

Carrier = Callable[[], Mapping[str, str]]
"""Gives the headers that jobs enqueued here and now take along."""

_traceparent: ContextVar[str | None] = ContextVar("cherga_traceparent", default=None)

is_traced = _traceparent.get
"""The header of the block of ``traced`` that the caller is in; None outside of one."""


@contextmanager
def traced(header: str | None) -> Iterator[None]:
    """For the block, jobs that are enqueued belong to the trace of this header ``traceparent`` (W3C Trace Context).

    None, or what is no such header, belongs to none. In a job it is ``ctx.traceparent``.
    """
    token = _traceparent.set(header if trace_id(header) else None)

    try:
        yield
    finally:
        _traceparent.reset(token)


class HasHead(Protocol):
    """A job that enqueues others."""

    @property
    def head(self) -> JobHead: ...


def trace_id(header: str | None) -> str | None:
    """The id of the trace in such a header; None for what is none."""
    match = _TRACE.fullmatch(header) if header else None
    return match["trace"] if match else None


def loaded(jobs: Sequence[NewJob], carriers: Iterable[Carrier], parent: HasHead | None) -> Sequence[NewJob]:
    """The jobs with what goes along. What ``using(headers=…)`` says itself stays as it is."""
    luggage = _trace(parent)

    for carrier in carriers:
        luggage = {**luggage, **carrier()}

    if not luggage:
        return jobs

    plain = _packed(JobHead(headers=luggage))
    return [replace(job, head=plain if job.head is None else _added(job.head, luggage)) for job in jobs]


def _trace(parent: HasHead | None) -> dict[str, str]:
    header = _traceparent.get() or (parent.head.headers.get(TRACEPARENT) if parent is not None else None)
    return {TRACEPARENT: header} if header else {}


def _added(packed: bytes, luggage: Mapping[str, str]) -> bytes | None:
    head = _read_head(packed)
    return _packed(replace(head, headers={**luggage, **head.headers}))


def _packed(head: JobHead) -> bytes | None:
    check_head(head)
    return pack_head(head)
