"""Storing one group whose jobs hold unique keys or wait for others: first everything is looked up, then written."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from uuid import UUID

from msgspec import Struct

from cherga.brokers.sqlite.newcomers import close_stillborn, find_kept, first_state, insert, make_row
from cherga.brokers.sqlite.rows import (
    AWAITED,
    BLOCKED,
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
    """Where a job stands that others of the group may wait for or find. ``sequence`` 0: not stored yet.

    Two ids of a group may share one: then the second names the holder of its unique key.
    """

    id: UUID
    state: int
    sequence: int = 0
    awaited: bool = False


class Plan(Struct):
    """A job to store, where it will stand, and for whom it will wait."""

    job: NewJob
    standing: Standing
    parents: list[tuple[Standing, EdgePolicy]] = []
    pending: int = 0
    upstream: Standing | None = None
    """The ended job because of which this one is cancelled at once."""

    @property
    def unique(self) -> Unique | None:
        """The key that it will hold."""
        return None if self.standing.state == CANCELLED else self.job.unique


def push_group(write: Write, group: Sequence[NewJob]) -> PushAnswer:
    """Store the group, or answer why not."""
    planner = Planner(write, group)

    try:
        plans = planner.plan()
    except Refused as refusal:
        return PushAnswer(refused=str(refusal))

    _store(write, plans)
    return PushAnswer(tuple(planner.answer(job) for job in group))


class Planner:
    """Decides for each job of a group what becomes of it, without writing anything."""

    def __init__(self, write: Write, group: Sequence[NewJob]) -> None:
        self._write = write
        self._group = group
        wanted = {job.id for job in group} | {edge.parent for job in group for edge in job.edges}
        kept = find_kept(write, wanted)
        self._standings = {id: Standing(id, state, sequence) for id, (sequence, state) in kept.items()}
        self._keys: dict[str, Standing] = {}
        self._plans: dict[UUID, Plan] = {}

    def plan(self) -> list[Plan]:
        """The jobs to store, in the order of the group; ``Refused`` says what hinders."""
        for job in self._group:
            if job.id not in self._standings:
                self._place(job)

        for plan in self._parents_first():
            self._decide(plan)

        return list(self._plans.values())

    def answer(self, job: NewJob) -> PushedJob:
        """Who stands for this job of the group: itself, or the holder of its key."""
        standing = self._standings[job.id]
        return PushedJob(standing.id, STATES[standing.state], existing=standing.id != job.id)

    def _place(self, job: NewJob) -> None:
        standing = self._find_holder(job)

        if standing is None:
            standing = Standing(job.id, BLOCKED)
            self._plans[job.id] = Plan(job, standing)

            if job.unique is not None:
                self._keys[job.unique.key] = standing

        self._standings[job.id] = standing

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

    def _parents_first(self) -> list[Plan]:
        """A job that ends the moment it is stored decides about those that wait for it."""
        plans = self._plans
        graph = {id: [edge.parent for edge in plan.job.edges if edge.parent in plans] for id, plan in plans.items()}

        try:
            return [plans[id] for id in TopologicalSorter(graph).static_order()]
        except CycleError as error:
            raise Refused(f"the jobs wait for each other in a circle: {', '.join(map(str, error.args[1]))}") from None

    def _decide(self, plan: Plan) -> None:
        plan.parents = self._find_parents(plan.job)
        plan.pending = sum(parent.state < FIRST_FINAL for parent, _ in plan.parents)
        plan.upstream = next((parent for parent, policy in plan.parents if _breaks(parent, policy)), None)
        plan.standing.state = CANCELLED if plan.upstream else first_state(plan.job, self._write.now, plan.pending)

        if plan.standing.state != CANCELLED:
            for parent, _ in plan.parents:
                parent.awaited = True

    def _find_parents(self, job: NewJob) -> list[tuple[Standing, EdgePolicy]]:
        """Each parent once, with the stricter policy where two edges name it."""
        found: dict[UUID, tuple[Standing, EdgePolicy]] = {}

        for edge in job.edges:
            standing = self._find_parent(job, edge)

            if standing.id not in found or edge.policy is EdgePolicy.SUCCEEDED:
                found[standing.id] = (standing, edge.policy)

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
