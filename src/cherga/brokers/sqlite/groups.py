"""Storing one group whose jobs hold unique keys or wait for others: first everything is looked up, then written."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from uuid import UUID

from msgspec import Struct

from cherga.brokers.sqlite.newcomers import close_stillborn, find_kept, first_state, insert, make_row
from cherga.brokers.sqlite.rows import (
    AWAITED,
    CANCELLED,
    CODES,
    FIRST_FINAL,
    HOLDS_KEY,
    STATES,
    SUCCEEDED,
    WAITS,
    holds_key_until_final,
)
from cherga.brokers.sqlite.uniques import find_holder, take_key
from cherga.brokers.sqlite.write import Write
from cherga.words.job import Edge, EdgePolicy, NewJob, OnConflict, PushAnswer, PushedJob, Reason, Unique


class Refused(Exception):
    """The group cannot be stored; the message says why."""


class Standing(Struct):
    """Where a job stands that others of the group may wait for or find. ``sequence`` 0: not stored yet."""

    id: UUID
    state: int
    sequence: int = 0
    awaited: bool = False


class Plan(Struct):
    """A job to store, and for whom it will wait."""

    job: NewJob
    standing: Standing
    parents: list[tuple[Standing, EdgePolicy]]
    pending: int
    upstream: Standing | None = None
    """The ended job because of which this one is cancelled at once."""

    @property
    def unique(self) -> Unique | None:
        """The key that it will hold."""
        return None if self.standing.state == CANCELLED else self.job.unique


def push_group(write: Write, group: Sequence[NewJob]) -> PushAnswer:
    """Store the group, or answer why not."""
    try:
        answers, plans = Planner(write, group).plan()
    except Refused as refusal:
        return PushAnswer(refused=str(refusal))

    _store(write, plans)
    return PushAnswer(tuple(answers[job.id] for job in group))


class Planner:
    """Decides for each job of a group what becomes of it, without writing anything."""

    def __init__(self, write: Write, group: Sequence[NewJob]) -> None:
        self._write = write
        self._group = group
        wanted = {job.id for job in group} | {edge.parent for job in group for edge in job.edges}
        self._standings = {id: Standing(id, state, sequence) for id, (sequence, state) in find_kept(write, wanted).items()}
        self._keys: dict[str, Standing] = {}
        self._answers: dict[UUID, PushedJob] = {}
        self._plans: list[Plan] = []

    def plan(self) -> tuple[dict[UUID, PushedJob], list[Plan]]:
        """The answer for each id, and the jobs to store, in the order of the group; ``Refused`` says what hinders."""
        for job in self._in_order():
            if job.id not in self._answers:
                self._answers[job.id] = self._decide(job)

        places = {job.id: place for place, job in enumerate(self._group)}
        return self._answers, sorted(self._plans, key=lambda plan: places[plan.job.id])

    def _in_order(self) -> list[NewJob]:
        """Parents before those that wait for them."""
        jobs = {job.id: job for job in self._group}
        graph = {id: [edge.parent for edge in job.edges if edge.parent in jobs] for id, job in jobs.items()}

        try:
            return [jobs[id] for id in TopologicalSorter(graph).static_order()]
        except CycleError as error:
            raise Refused(f"the jobs wait for each other in a circle: {', '.join(map(str, error.args[1]))}") from None

    def _decide(self, job: NewJob) -> PushedJob:
        kept = self._standings.get(job.id)

        if kept is not None:
            return PushedJob(job.id, STATES[kept.state])

        holder = self._find_holder(job)

        if holder is not None:
            self._standings[job.id] = holder
            return PushedJob(holder.id, STATES[holder.state], existing=True)

        plan = self._make_plan(job)
        self._plans.append(plan)
        self._standings[job.id] = plan.standing

        if plan.unique is not None:
            self._keys[plan.unique.key] = plan.standing

        return PushedJob(job.id, STATES[plan.standing.state])

    def _find_holder(self, job: NewJob) -> Standing | None:
        if job.unique is None:
            return None

        standing = self._keys.get(job.unique.key)

        if standing is None:
            holder = find_holder(self._write, job.unique.key)

            if holder is None:
                return None

            standing = Standing(holder.id, CODES[holder.state], holder.sequence)

        if job.unique.conflict is OnConflict.REFUSE:
            raise Refused(f"the unique key {job.unique.key!r} is held by job {standing.id}")

        return standing

    def _make_plan(self, job: NewJob) -> Plan:
        parents = self._parents(job)
        waiting = [parent for parent, _ in parents if parent.state < FIRST_FINAL]
        upstream = next((parent for parent, policy in parents if _breaks(parent, policy)), None)
        state = CANCELLED if upstream else first_state(job, self._write.now, len(waiting))
        plan = Plan(job, Standing(job.id, state), parents, len(waiting), upstream)

        if state != CANCELLED:
            for parent, _ in parents:
                parent.awaited = True

        return plan

    def _parents(self, job: NewJob) -> list[tuple[Standing, EdgePolicy]]:
        found: dict[int, tuple[Standing, EdgePolicy]] = {}

        for edge in job.edges:
            standing = self._find_parent(job, edge)
            known = found.get(id(standing))

            if known is None or known[1] is EdgePolicy.ENDED:
                found[id(standing)] = (standing, edge.policy)

        return list(found.values())

    def _find_parent(self, job: NewJob, edge: Edge) -> Standing:
        standing = self._standings.get(edge.parent)

        if standing is None:
            raise Refused(f"job {job.id} waits for job {edge.parent}, which is neither kept nor in the same group")

        return standing


def _breaks(parent: Standing, policy: EdgePolicy) -> bool:
    return policy is EdgePolicy.SUCCEEDED and parent.state >= FIRST_FINAL and parent.state != SUCCEEDED


def _store(write: Write, plans: Sequence[Plan]) -> None:
    if not plans:
        return

    for sequence, plan in enumerate(plans, write.take_numbers(len(plans))):
        plan.standing.sequence = sequence

    insert(write, [_row(write, plan) for plan in plans])

    for plan in plans:
        _tie(write, plan)


def _row(write: Write, plan: Plan) -> tuple[object, ...]:
    standing = plan.standing
    holds = HOLDS_KEY if holds_key_until_final(plan.unique) else 0
    traits = holds | (AWAITED if standing.awaited else 0) | (WAITS if plan.parents and standing.state != CANCELLED else 0)
    return make_row(write, plan.job, standing.sequence, standing.state, plan.pending, traits)


def _tie(write: Write, plan: Plan) -> None:
    """What stands outside the job's own row."""
    standing = plan.standing

    if standing.state == CANCELLED:
        _close(write, plan)
        return

    if plan.unique is not None:
        take_key(write, plan.unique, standing.sequence, plan.job.id.bytes)

    for parent, policy in plan.parents:
        released = int(parent.state >= FIRST_FINAL)
        write.run("insert into edges values (?, ?, ?, ?)", (parent.sequence, standing.sequence, policy.value, released))
        write.run(
            "update jobs set traits = traits | ? where sequence = ? and traits & ? = 0", (AWAITED, parent.sequence, AWAITED)
        )


def _close(write: Write, plan: Plan) -> None:
    if plan.upstream is None:
        close_stillborn(write, plan.job, plan.standing.sequence, Reason.EXPIRED)
    else:
        message = f"job {plan.upstream.id}, which it was to wait for, {STATES[plan.upstream.state]}"
        close_stillborn(write, plan.job, plan.standing.sequence, Reason.UPSTREAM, message)
