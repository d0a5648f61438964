"""Storing new jobs, a group at a time: first everything that can refuse it, then the writing."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from cherga.brokers.memory.ending import end_unasked, satisfied
from cherga.brokers.memory.store import Store
from cherga.words.job import EdgePolicy, JobRow, JobState, NewJob, OnConflict, PushAnswer, PushedJob, Reason


class _Plan(Struct):
    """What a group comes to: who stands for each of its jobs, and which are new."""

    stands_for: dict[UUID, UUID] = {}
    fresh: list[NewJob] = []
    keys: dict[str, UUID] = {}
    """Unique keys that the new jobs will hold."""
    refused: str | None = None


def push_group(store: Store, group: Sequence[NewJob], now: float) -> PushAnswer:
    """Store the group whole or not at all."""
    plan = _plan(store, group, now)

    if plan.refused:
        return PushAnswer(refused=plan.refused)

    for job in plan.fresh:
        _store(store, job, plan.stands_for, now)

    return PushAnswer(tuple(_answer(store, job, plan.stands_for[job.id]) for job in group))


def _plan(store: Store, group: Sequence[NewJob], now: float) -> _Plan:
    plan = _Plan()

    for job in group:
        if job.id in store.rows or job.id in plan.stands_for:
            plan.stands_for.setdefault(job.id, job.id)
        elif holder := _holder(store, plan, job, now):
            plan.stands_for[job.id] = holder
        else:
            plan.stands_for[job.id] = job.id
            plan.fresh.append(job)

    plan.refused = plan.refused or _unknown_parent(store, plan) or _circle(plan)
    return plan


def _holder(store: Store, plan: _Plan, job: NewJob, now: float) -> UUID | None:
    if job.unique is None:
        return None

    row = store.holder(job.unique.key, now)
    holder = row.id if row else plan.keys.setdefault(job.unique.key, job.id)

    if holder == job.id:
        return None

    if job.unique.conflict is OnConflict.REFUSE:
        plan.refused = plan.refused or f"the unique key {job.unique.key!r} of job {job.id} is held by job {holder}"

    return holder


def _unknown_parent(store: Store, plan: _Plan) -> str | None:
    for job in plan.fresh:
        for edge in job.edges:
            if edge.parent not in plan.stands_for and edge.parent not in store.rows:
                return f"job {job.id} is to wait for job {edge.parent}, which is not kept; enqueue that one first or with it"

    return None


def _circle(plan: _Plan) -> str | None:
    graph = {job.id: [edge.parent for edge in job.edges] for job in plan.fresh if job.edges}

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return f"the jobs wait for each other in a circle: {', '.join(map(str, error.args[1]))}"

    return None


def _store(store: Store, job: NewJob, stands_for: dict[UUID, UUID], now: float) -> None:
    row = _row(store, job, now)
    policies = _policies(job, stands_for)
    unfinished = {parent: policy for parent, policy in policies.items() if not _has_ended(store, parent)}
    ended = policies.keys() - unfinished.keys()

    if not all(satisfied(policies[parent], store.rows[parent].state) for parent in ended):
        end_unasked(store, row, JobState.CANCELLED, Reason.UPSTREAM, now)
    elif unfinished:
        store.put(replace(row, state=JobState.BLOCKED, ready_at=None, pending=len(unfinished)))
        _wait_for(store, job.id, unfinished)
    else:
        store.put(row)


def _row(store: Store, job: NewJob, now: float) -> JobRow:
    run_at = job.run_at if job.delay is None else now + job.delay
    later = run_at is not None and run_at > now

    return JobRow(
        id=job.id,
        sequence=store.next_number(),
        task=job.task,
        queue=job.queue,
        priority=job.priority,
        state=JobState.SCHEDULED if later else JobState.READY,
        owner=job.owner,
        payload=job.payload,
        head=job.head,
        unique=job.unique,
        limit_keys=job.limit_keys,
        enqueued_at=now,
        run_at=run_at,
        ready_at=None if later else now,
        expires_at=job.expires_at if job.expires_in is None else now + job.expires_in,
    )


def _policies(job: NewJob, stands_for: dict[UUID, UUID]) -> dict[UUID, EdgePolicy]:
    """Each parent once, with the stricter policy where two edges name it."""
    policies: dict[UUID, EdgePolicy] = {}

    for edge in job.edges:
        parent = stands_for.get(edge.parent, edge.parent)

        if policies.get(parent) is not EdgePolicy.SUCCEEDED:
            policies[parent] = edge.policy

    return policies


def _has_ended(store: Store, parent: UUID) -> bool:
    row = store.rows.get(parent)
    return row is not None and row.state.final


def _wait_for(store: Store, id: UUID, policies: dict[UUID, EdgePolicy]) -> None:
    for parent, policy in policies.items():
        store.waiting.setdefault(parent, {})[id] = policy


def _answer(store: Store, job: NewJob, stands_for: UUID) -> PushedJob:
    return PushedJob(stands_for, store.rows[stands_for].state, existing=stands_for != job.id)
