"""Storing new jobs, a group at a time: first everything that can refuse it, then the writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from uuid import UUID

from msgspec import Struct

from cherga.brokers.memory.capping import make_room, refusal
from cherga.brokers.memory.ending import end_group, end_unasked, end_upstream
from cherga.brokers.memory.families import cancel_orphans
from cherga.brokers.memory.replacing import find_rival, replace_waiting
from cherga.brokers.memory.store import Store
from cherga.rules.edges import satisfied, stricter
from cherga.rules.newcomers import first_state, make_row, read_times
from cherga.rules.refusals import circle, rivalry, unknown_parent
from cherga.rules.unique import Meeting, meet
from cherga.words.job import JobRow, JobState, Reason
from cherga.words.push import EdgePolicy, NewJob, PushAnswer, PushedJob
from cherga.words.unique import Unique


class _Plan(Struct):
    """What a group comes to: who stands for each of its jobs, and which are new."""

    stands_for: dict[UUID, UUID] = {}
    known: list[bool] = []
    """Of each job, whether its id was kept, or planned, before."""
    fresh: list[NewJob] = []
    keys: dict[str, NewJob] = {}
    """The new jobs that will hold these unique keys, or get them next."""
    behind: dict[UUID, UUID] = {}
    """New jobs that wait for the holder of their key."""
    replacements: list[tuple[UUID, NewJob]] = []
    refused: str | None = None


def push_group(store: Store, group: Sequence[NewJob], now: float) -> PushAnswer:
    """Store the group whole or not at all."""
    plan = _plan(store, group, now)

    if plan.refused:
        return PushAnswer(refused=plan.refused)

    make_room(store, plan.fresh, _needed(plan), now)

    for job in plan.fresh:
        _store(store, job, plan, now)

    for holder, job in plan.replacements:
        replace_waiting(store, holder, job, now)

    cancel_orphans(store, now)
    jobs = zip(group, plan.known, strict=True)
    return PushAnswer(tuple(_answer(store, job, plan.stands_for[job.id], known) for job, known in jobs))


def _plan(store: Store, group: Sequence[NewJob], now: float) -> _Plan:
    plan = _Plan()

    for job in group:
        plan.known.append(job.id in store.rows or job.id in plan.stands_for)

        if plan.known[-1]:
            plan.stands_for.setdefault(job.id, job.id)
            continue

        holder = _holder(store, plan, job, job.unique, now) if job.unique else None
        plan.stands_for[job.id] = holder or job.id

        if holder is None:
            plan.fresh.append(job)

    plan.refused = plan.refused or _unknown_parent(store, plan) or _circle(plan) or refusal(store, plan.fresh, _needed(plan))
    return plan


def _needed(plan: _Plan) -> set[UUID]:
    """Jobs that must not be dropped for the new ones: those that these wait for, and those that are replaced."""
    parents = {plan.stands_for.get(edge.parent, edge.parent) for job in plan.fresh for edge in job.edges}
    return parents | {holder for holder, _ in plan.replacements}


def _holder(store: Store, plan: _Plan, job: NewJob, unique: Unique, now: float) -> UUID | None:
    """Who stands for the job; None when it is to be stored itself."""
    rival = find_rival(store, plan.keys, unique.key, now)

    if rival is None:
        plan.keys[unique.key] = job
        return None

    meeting = meet(unique, rival)
    plan.refused = plan.refused or rivalry(job, unique.key, rival, meeting)

    if meeting is Meeting.FOLLOWED:
        plan.keys[unique.key] = job
        plan.behind[job.id] = rival.id
        return None

    if meeting is Meeting.REPLACED:
        plan.replacements.append((rival.id, job))

    return rival.id


def _unknown_parent(store: Store, plan: _Plan) -> str | None:
    for job in plan.fresh:
        for edge in job.edges:
            if edge.parent not in plan.stands_for and edge.parent not in store.rows:
                return unknown_parent(job.id, edge.parent)

    return None


def _circle(plan: _Plan) -> str | None:
    graph = {job.id: [edge.parent for edge in job.edges] for job in plan.fresh if job.edges}

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return circle(error.args[1])

    return None


def _store(store: Store, job: NewJob, plan: _Plan, now: float) -> None:
    policies = _policies(job, plan)
    unfinished = {parent: policy for parent, policy in policies.items() if not _has_ended(store, plan, parent)}
    ended = policies.keys() - unfinished.keys()
    ends = {parent: _state(store, parent) for parent in policies if parent in ended}
    missed = {policies[parent]: end for parent, end in ends.items() if not satisfied(policies[parent], end)}
    row = _row(store, job, now, 0 if missed else len(unfinished))

    if policies:
        store.kinship.tie(job.id, policies)

    if missed:
        end_upstream(store, row, missed, now)
    elif row.state is JobState.CANCELLED:
        end_unasked(store, row, row.state, Reason.EXPIRED, now, pending=0)
    elif row.state is JobState.SUCCEEDED:
        end_group(store, row, now)
    else:
        store.put(row)
        _wait_for(store, job.id, unfinished)

    if job.unique and job.id in plan.behind and store.rows[job.id].state is JobState.BLOCKED:
        store.keys.successors[job.unique.key] = job.id


def _row(store: Store, job: NewJob, now: float, pending: int) -> JobRow:
    times = read_times(job, now)
    state = first_state(job, times, now, pending)

    return make_row(job, job.id, state, times, now, pending, store.next_number())


def _policies(job: NewJob, plan: _Plan) -> Mapping[UUID, EdgePolicy]:
    """Each parent once, with the strictest policy where several edges name it."""
    holder = plan.behind.get(job.id)
    policies = {} if holder is None else {holder: EdgePolicy.ENDED}

    for edge in job.edges:
        parent = plan.stands_for.get(edge.parent, edge.parent)
        policies[parent] = stricter(edge.policy, policies.get(parent, edge.policy))

    return policies


def _state(store: Store, id: UUID) -> JobState:
    """How the job stands. One that is not kept any more, and still holds its key, counts as succeeded."""
    row = store.rows.get(id)
    return JobState.SUCCEEDED if row is None else row.state


def _has_ended(store: Store, plan: _Plan, parent: UUID) -> bool:
    """A new one of the same group may be stored after its dependants."""
    row = store.rows.get(parent)
    return parent not in plan.stands_for if row is None else row.state.final


def _wait_for(store: Store, id: UUID, policies: Mapping[UUID, EdgePolicy]) -> None:
    for parent, policy in policies.items():
        store.waiting.setdefault(parent, {})[id] = policy


def _answer(store: Store, job: NewJob, stands_for: UUID, known: bool) -> PushedJob:
    return PushedJob(stands_for, _state(store, stands_for), existing=known or stands_for != job.id)
