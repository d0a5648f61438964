"""Pushes: new jobs, and the answers to them.

What a job does not use costs it nothing: the columns that every claim and list needs are fields of their own, everything
else stands in one packed, sparse ``JobHead``.
"""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from cherga.words.job import JobState
from cherga.words.keeping import Keeping
from cherga.words.unique import Unique


class EdgePolicy(StrEnum):
    """The meaning of an end of the job waited for, for the job that waits."""

    SUCCEEDED = "succeeded"
    """Released by success; cancelled (reason ``upstream``) by anything else."""
    ENDED = "ended"
    """Released by any end."""
    TOGETHER = "together"
    """The same as ``succeeded``, and anything else also cancels every unfinished child of the job that waits."""


class Edge(Struct, frozen=True, array_like=True):
    """The job waits for ``parent``."""

    parent: UUID
    policy: EdgePolicy = EdgePolicy.SUCCEEDED


class OnCrash(StrEnum):
    """The action on a job whose process died, or that a deploy interrupted."""

    RETRY = "retry"
    FAIL = "fail"


class Overrides(Struct, frozen=True, omit_defaults=True):
    """Task options that ``using(...)`` set for this one job. ``None`` leaves what the code says."""

    retry: int | None = None
    max_time: float | None = None
    """Seconds; 0 stands for "no limit"."""
    result_ttl: float | None = None
    failure_ttl: float | None = None
    on_crash: OnCrash | None = None


class JobHead(Struct, frozen=True, omit_defaults=True):
    """The part of a job that is set at enqueue, that no query needs, and that most jobs do not use."""

    description: str | None = None
    tags: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    """Trace, locale, tenant: what client middleware sends along."""
    root: UUID | None = None
    """The first job of the family; None for that itself."""
    after: tuple[UUID, ...] = ()
    """The jobs that its edges name, the first hundred at most: for whoever asks what it waits for."""
    feed: UUID | None = None
    """The job whose result becomes the first argument; for a group, the list of its members' results."""
    member: int | None = None
    """Its place among the members of its parent, which is a group."""
    keys: dict[int, str] = {}
    """Unique keys of the jobs whose results it is given: of its members by their places, or of ``feed`` under 0. A job that
    held such a key stands in for the one that was not stored."""
    ids: dict[int, UUID] = {}
    """For a group: ids of members that the caller chose, by their places. One that was kept before is no child of the group."""
    schedule: str | None = None
    tick: float | None = None
    codec: int = 1
    key_id: str | None = None
    signature: bytes | None = None
    overrides: Overrides | None = None
    keeping: Keeping | None = None
    """The times that its task set for keeping it, for an end that no worker writes."""
    meta: bytes | None = None
    """Packed metadata to begin with."""
    on_success: str | None = None
    """The name of the task whose function is called when the job has succeeded."""
    on_failure: str | None = None


class NewJob(Struct, frozen=True, kw_only=True):
    """The job that a client pushes. Its state follows: open edges make it blocked, a later time scheduled, else it is ready."""

    id: UUID
    task: str
    payload: bytes
    queue: str = "default"
    priority: int = 0
    delay: float | None = None
    """Seconds from the broker's now; the broker adds its own clock."""
    run_at: float | None = None
    expires_in: float | None = None
    expires_at: float | None = None
    owner: str | None = None
    unique: Unique | None = None
    edges: tuple[Edge, ...] = ()
    limit_keys: tuple[str, ...] = ()
    """Limits that this job counts for, beside those of its task and its queue; see ``cherga.words.limits``."""
    parent: UUID | None = None
    """The job that asked for this one, or the group it is a member of; it need not be kept."""
    head: bytes | None = None
    """A packed ``JobHead``, or None when the job uses none of it."""


GROUP_TASK = "cherga.group"
"""A job of this task needs no worker: it has succeeded once it is released. Groups without a callback are such jobs."""


class PushedJob(Struct, frozen=True):
    """The answer for one job of a push: its own id, or that of the job that holds its unique key. ``existing``: nothing was
    stored, for the job that is named here was there before."""

    id: UUID
    state: JobState
    existing: bool = False


class PushAnswer(Struct, frozen=True):
    """The answer for one group: every job stored or held by another (``jobs``), or nothing stored (``refused`` says why)."""

    jobs: tuple[PushedJob, ...] = ()
    refused: str | None = None
