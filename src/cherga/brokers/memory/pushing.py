"""Storing new jobs, a group at a time: first everything that can refuse it, then the writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from cherga.brokers.memory.capping import make_room, refusal
from cherga.brokers.memory.ending import end_group, end_unasked, end_upstream, release_page
from cherga.brokers.memory.families import cancel_orphans
from cherga.brokers.memory.replacing import find_rival, replace_waiting
from cherga.brokers.memory.store import Store
from cherga.rules.edges import satisfied, stricter
from cherga.rules.newcomers import first_state, make_row, read_times
from cherga.rules.refusals import circle, rivalry, unknown_parent
from cherga.rules.unique import Meeting, Rival, meet
from cherga.words.job import WAITING_STATES, JobRow, JobState, Reason
from cherga.words.push import EdgePolicy, NewJob, PushAnswer, PushedJob
from cherga.words.unique import Unique


class _Newcomer(Struct):
    """A new job as it will stand, and whom it waits for."""

    job: NewJob
    row: JobRow
    policies: Mapping[UUID, EdgePolicy]
    unfinished: Mapping[UUID, EdgePolicy]
    missed: list[tuple[EdgePolicy, JobState]]
    """A condition that did not come true, and how the job in question ended."""


class _Plan(Struct):
    """The plan of a group: the job that stands for each of its jobs, and those that are new."""

    stands_for: dict[UUID, UUID] = {}
    known: list[bool] = []
    """For each job, true when its id was kept, or planned, before."""
    fresh: list[NewJob] = []
    keys: dict[str, NewJob] = {}
    """The new jobs that will hold these unique keys, or get them next."""
    behind: dict[UUID, UUID] = {}
    """New jobs that wait for the holder of their key."""
    replacements: list[tuple[UUID, NewJob]] = []
    newcomers: dict[UUID, _Newcomer] = {}
    """The new jobs by id, once it is decided how they will stand."""
    refused: str | None = None


def push_group(store: Store, group: Sequence[NewJob], now: float) -> PushAnswer:
    """Store the group whole or not at all."""
    outer = store.inside.keys_to_come, store.inside.planning

    try:
        return _carry_out(store, _last_plan(store, group, now), group, now)
    finally:
        store.inside.pushes += 1
        store.inside.keys_to_come, store.inside.planning = outer


def _last_plan(store: Store, group: Sequence[NewJob], now: float) -> _Plan:
    """The plan, made again where another push of this thread, as in a signal handler, came in between."""
    while True:
        pushes, store.inside.planning = store.inside.pushes, True

        try:
            plan = _plan(store, group, now)
        except (RuntimeError, LookupError):  # what it looked at has changed meanwhile
            if store.inside.pushes == pushes:
                raise

            continue

        store.inside.keys_to_come, store.inside.planning = plan.keys, False

        if store.inside.pushes == pushes:
            return plan


def _carry_out(store: Store, plan: _Plan, group: Sequence[NewJob], now: float) -> PushAnswer:
    if plan.refused:
        return PushAnswer(refused=plan.refused)

    dropped = make_room(store, _waiting(plan), _needed(plan), now)

    for job in plan.fresh:
        _store(store, plan, plan.newcomers[job.id], now)

    for holder, job in plan.replacements:
        replace_waiting(store, holder, job, now)

    jobs = zip(group, plan.known, strict=True)
    answer = PushAnswer(tuple(_answer(store, job, plan.stands_for[job.id], known) for job, known in jobs))

    for id in dropped:
        release_page(store, id, now)

    cancel_orphans(store, now)
    return answer


def foresee(store: Store, group: Sequence[NewJob], now: float) -> PushAnswer | None:
    """The answer to a group that comes in the middle of a change by the same thread; None: it is to be stored behind that.

    A job by itself that finds its key held, or its queue full, has its answer now. Nothing is touched.
    """
    if len(group) != 1:
        return None

    (job,) = group
    rival = _find_rival_amid(store, job.unique.key, now) if job.unique else None

    if rival is None or job.unique is None:
        waits = first_state(job, read_times(job, now), now) in WAITING_STATES
        full = refusal(store, group, set()) if waits else None
        return PushAnswer(refused=full) if full else None

    meeting = meet(job.unique, rival)

    if refused := rivalry(job, job.unique.key, rival, meeting):
        return PushAnswer(refused=refused)

    answer = PushAnswer((PushedJob(rival.id, rival.state, existing=True),))
    return answer if meeting is Meeting.ANSWERED else None


def _find_rival_amid(store: Store, key: str, now: float) -> Rival | None:
    if (job := store.inside.keys_to_come.get(key)) and job.unique:
        return Rival(job.id, job.task, JobState.READY, job.unique.hold)

    row = store.keys.seen(key, now)
    return Rival(row.id, row.task, row.state, row.unique.hold) if row is not None and row.unique else None


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

    plan.refused = plan.refused or _unknown_parent(store, plan) or _circle(plan)

    if plan.refused is None:
        _decide_all(store, plan, now)
        plan.refused = refusal(store, _waiting(plan), _needed(plan))

    return plan


def _decide_all(store: Store, plan: _Plan, now: float) -> None:
    """A job that ends the moment it is stored decides about those that wait for it: parents first."""
    fresh = {job.id: job for job in plan.fresh}
    graph = {job.id: [parent for parent in _policies(job, plan) if parent in fresh] for job in plan.fresh}

    for id in TopologicalSorter(graph).static_order():
        plan.newcomers[id] = _decide(store, plan, fresh[id], now)


def _decide(store: Store, plan: _Plan, job: NewJob, now: float) -> _Newcomer:
    policies = _policies(job, plan)
    states = {parent: _state_of(store, plan, parent) for parent in policies}
    unfinished = {parent: policy for parent, policy in policies.items() if not states[parent].final}
    ends = [(policy, states[parent]) for parent, policy in policies.items() if states[parent].final]
    missed = [(policy, end) for policy, end in ends if not satisfied(policy, end)]
    times = read_times(job, now)
    state = JobState.CANCELLED if missed else first_state(job, times, now, len(unfinished))
    row = make_row(job, job.id, state, times, now, len(unfinished))
    return _Newcomer(job, row, policies, unfinished, missed)


def _state_of(store: Store, plan: _Plan, id: UUID) -> JobState:
    newcomer = plan.newcomers.get(id)
    return newcomer.row.state if newcomer else _state(store, id)


def _waiting(plan: _Plan) -> list[NewJob]:
    """The jobs that will take room in a queue."""
    return [job for job in plan.fresh if plan.newcomers[job.id].row.state in WAITING_STATES]


def _needed(plan: _Plan) -> set[UUID]:
    """Jobs that must not be dropped for the new ones: those that these wait for, and those that are replaced."""
    parents = {plan.stands_for.get(edge.parent, edge.parent) for job in plan.fresh for edge in job.edges}
    return parents | {holder for holder, _ in plan.replacements}


def _holder(store: Store, plan: _Plan, job: NewJob, unique: Unique, now: float) -> UUID | None:
    """The id of the job that stands for this one; None when it is to be stored itself."""
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


def _store(store: Store, plan: _Plan, new: _Newcomer, now: float) -> None:
    job, row = new.job, replace(new.row, sequence=store.next_number())

    if new.policies:
        store.kinship.tie(job.id, new.policies)

    if new.missed:
        end_upstream(store, row, new.missed, now)
    elif row.state is JobState.CANCELLED:
        end_unasked(store, row, row.state, Reason.EXPIRED, now)
    elif row.state is JobState.SUCCEEDED:
        end_group(store, row, now)
    else:
        store.put(row)
        _wait_for(store, job.id, new.unfinished)

    if job.unique and job.id in plan.behind and store.rows[job.id].state is JobState.BLOCKED:
        store.keys.successors[job.unique.key] = job.id


def _policies(job: NewJob, plan: _Plan) -> Mapping[UUID, EdgePolicy]:
    """Each parent once, with the strictest policy where several edges name it."""
    holder = plan.behind.get(job.id)
    policies = {} if holder is None else {holder: EdgePolicy.ENDED}

    for edge in job.edges:
        parent = plan.stands_for.get(edge.parent, edge.parent)
        policies[parent] = stricter(edge.policy, policies.get(parent, edge.policy))

    return policies


def _state(store: Store, id: UUID) -> JobState:
    """The state of the job. One that is not kept any more, and still holds its key, counts as succeeded."""
    row = store.rows.get(id)
    return JobState.SUCCEEDED if row is None else row.state


def _wait_for(store: Store, id: UUID, policies: Mapping[UUID, EdgePolicy]) -> None:
    for parent, policy in policies.items():
        store.waiting.setdefault(parent, {})[id] = policy


def _answer(store: Store, job: NewJob, stands_for: UUID, known: bool) -> PushedJob:
    return PushedJob(stands_for, _state(store, stands_for), existing=known or stands_for != job.id)
