"""Deciding what becomes of groups whose jobs hold unique keys or wait for others, without writing anything.

The groups of one push are planned one after the other, each seeing those before it, and stored together (``groups.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from cherga.brokers.sqlite.newcomers import find_kept
from cherga.brokers.sqlite.room import Room
from cherga.brokers.sqlite.rows import BLOCKED, CANCELLED, CODES, FIRST_FINAL, RUNNING, STATES
from cherga.brokers.sqlite.uniques import Holder, find_holders, shadow
from cherga.brokers.sqlite.write import Write
from cherga.rules.edges import satisfied, stricter
from cherga.rules.newcomers import first_state, read_times, waiting_state
from cherga.rules.refusals import circle, rivalry, unknown_parent
from cherga.rules.unique import Meeting, Rival, meet
from cherga.words.push import GROUP_TASK, Edge, EdgePolicy, NewJob, PushAnswer, PushedJob
from cherga.words.unique import Unique, UniqueWhile


class Refused(Exception):
    """The group cannot be stored; the message says why."""


class Standing(Struct):
    """A job that others of the push may wait for or find. ``sequence`` 0: not stored yet.

    Two ids may share one: then the second names the holder of its unique key, which is told below.
    """

    id: UUID
    state: int
    sequence: int = 0
    awaited: bool = False
    key: str = ""
    hold: UniqueWhile = UniqueWhile.UNFINISHED
    task: str = ""


class Plan(Struct):
    """A job to store, where it will stand, and for whom it will wait."""

    job: NewJob
    standing: Standing
    behind: Standing | None = None
    """The running holder of its key, whose successor it is."""
    parents: list[tuple[Standing, EdgePolicy]] = []
    pending: int = 0
    upstream: Standing | None = None
    """The ended job because of which this one is cancelled at once."""
    together: bool = False
    """Its children are to be cancelled with it."""

    @property
    def unique(self) -> Unique | None:
        """The way it will hold its key."""
        unique, state = self.job.unique, self.standing.state
        over = state == CANCELLED or (state >= FIRST_FINAL and unique is not None and unique.hold is not UniqueWhile.PERIOD)
        return None if over else unique


class Batch:
    """The facts that are known when a push is planned, and the plan so far."""

    def __init__(self, write: Write, groups: Sequence[Sequence[NewJob]], room: Room | None = None) -> None:
        self._room = room
        jobs = [job for group in groups for job in group]
        kept = find_kept(write, {job.id for job in jobs} | {edge.parent for job in jobs for edge in job.edges})
        keys = {job.unique.key for job in jobs if job.unique is not None}
        self.now = write.now
        self.standings = {id: Standing(id, state, sequence) for id, (sequence, state) in kept.items()}
        self.keys = self._stand(find_holders(write, keys | {shadow(key) for key in keys}))
        self.plans: dict[UUID, Plan] = {}
        self.replacements: dict[UUID, tuple[Standing, NewJob]] = {}
        """Stored holders, by their ids, and what takes their place."""

    def plan(self, group: Sequence[NewJob]) -> PushAnswer:
        """Plan to store the group, or answer why not."""
        draft = Draft(self)

        try:
            draft.plan(group)
            self._make_room(draft)
        except Refused as refusal:
            return PushAnswer(refused=str(refusal))

        self._accept(draft)
        return PushAnswer(tuple(draft.answers(group)))

    def _stand(self, holders: Mapping[str, Holder]) -> dict[str, Standing]:
        return {key: self._stand_for(holder) for key, holder in holders.items()}

    def _stand_for(self, holder: Holder) -> Standing:
        """The job has one standing, whether it is met as a holder or as a parent."""
        standing = self.standings.setdefault(holder.id, Standing(holder.id, holder.state, holder.sequence))
        standing.key, standing.hold, standing.task = holder.key, holder.hold, holder.task
        return standing

    def _make_room(self, draft: Draft) -> None:
        """Find room in the queues, without dropping a job that the group needs."""
        if self._room is None:
            return

        plans = draft.plans.values()
        queues = [plan.job.queue for plan in plans if plan.standing.state < RUNNING]
        needed = [parent for plan in plans for parent, _ in plan.parents] + [standing for standing, _ in draft.replacements]
        refusal = self._room.make(queues, [standing.sequence for standing in needed])

        if refusal is not None:
            raise Refused(refusal)

    def _accept(self, draft: Draft) -> None:
        self.standings.update(draft.standings)
        self.plans.update(draft.plans)
        self.keys.update((plan.standing.key, plan.standing) for plan in draft.plans.values() if plan.unique is not None)

        for standing, job in draft.replacements:
            if standing.state < FIRST_FINAL:
                self._replace(standing, job)

    def _replace(self, standing: Standing, job: NewJob) -> None:
        plan = self.plans.get(standing.id)
        pending = standing.state == BLOCKED
        standing.state = CODES[waiting_state(read_times(job, self.now), self.now, int(pending))]

        if plan is None:
            self.replacements[standing.id] = (standing, job)
        else:
            plan.job = replace(job, id=plan.job.id, edges=plan.job.edges)


class Draft:
    """A group that is being planned. Nothing of it counts before it is accepted."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self.standings: dict[UUID, Standing] = {}
        self.plans: dict[UUID, Plan] = {}
        self.replacements: list[tuple[Standing, NewJob]] = []
        self._keys: dict[str, Standing] = {}
        self._known: list[bool] = []
        """For each job, true when its id was kept, or planned, before."""

    def plan(self, group: Sequence[NewJob]) -> None:
        """Decide about each job; ``Refused`` says what hinders."""
        for job in group:
            self._known.append(self._find(job.id) is not None)

            if not self._known[-1]:
                self._place(job)

        for plan in self._parents_first():
            self._decide(plan)

    def answers(self, group: Sequence[NewJob]) -> list[PushedJob]:
        """The id that stands for each job of the group: its own, of the one kept under it, or of the holder of its key."""
        return [self._answer(job, known) for job, known in zip(group, self._known, strict=True)]

    def _answer(self, job: NewJob, known: bool) -> PushedJob:
        standing = self.standings.get(job.id) or self._batch.standings[job.id]
        return PushedJob(standing.id, STATES[standing.state], existing=known or standing.id != job.id)

    def _find(self, id: UUID) -> Standing | None:
        return self.standings.get(id) or self._batch.standings.get(id)

    def _place(self, job: NewJob) -> None:
        if job.unique is None:
            self._add(job, "")
            return

        key = job.unique.key
        holder = self._holder(shadow(key)) or self._holder(key)

        if holder is None:
            self._add(job, key)
        else:
            self._meet(job, job.unique, holder)

    def _holder(self, key: str) -> Standing | None:
        return self._keys.get(key) or self._batch.keys.get(key)

    def _add(self, job: NewJob, key: str, behind: Standing | None = None) -> None:
        hold = UniqueWhile.UNFINISHED if job.unique is None else job.unique.hold
        standing = Standing(job.id, BLOCKED, key=key, hold=hold, task=job.task)
        self.standings[job.id] = standing
        self.plans[job.id] = Plan(job, standing, behind)

        if key:
            self._keys[key] = standing

    def _meet(self, job: NewJob, unique: Unique, holder: Standing) -> None:
        """The key is held: what the enqueue wants then."""
        rival = Rival(holder.id, holder.task, STATES[holder.state], holder.hold)
        meeting = meet(unique, rival)
        refusal = rivalry(job, unique.key, rival, meeting)

        if refusal is not None:
            raise Refused(refusal)

        if meeting is Meeting.FOLLOWED:
            self._add(job, shadow(unique.key), holder)
            return

        self.standings[job.id] = holder

        if meeting is Meeting.REPLACED:
            self.replacements.append((holder, job))

    def _parents_first(self) -> list[Plan]:
        """A job that ends the moment it is stored decides about those that wait for it."""
        graph = {plan.standing.id: self._planned_parents(plan) for plan in self.plans.values() if plan.job.edges}
        waited_for = {id for parents in graph.values() for id in parents}
        free = [plan for id, plan in self.plans.items() if id not in graph and id not in waited_for]

        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            raise Refused(circle(error.args[1])) from None

        return free + [self.plans[id] for id in order]

    def _planned_parents(self, plan: Plan) -> list[UUID]:
        parents = [self._find_parent(plan.job, edge).id for edge in plan.job.edges]
        return [id for id in parents if id in self.plans]

    def _decide(self, plan: Plan) -> None:
        plan.parents = self._find_parents(plan)
        plan.pending = sum(parent.state < FIRST_FINAL for parent, _ in plan.parents)
        broken = [(parent, policy) for parent, policy in plan.parents if _breaks(parent, policy)]
        plan.upstream = broken[0][0] if broken else None
        plan.together = any(policy is EdgePolicy.TOGETHER for _, policy in broken)
        plan.standing.state = CANCELLED if broken else self._first_state(plan)

        if plan.standing.state != CANCELLED or plan.job.task == GROUP_TASK:  # a group keeps its members whatever became of it
            for parent, _ in plan.parents:
                parent.awaited = True

    def _first_state(self, plan: Plan) -> int:
        now = self._batch.now
        return CODES[first_state(plan.job, read_times(plan.job, now), now, plan.pending)]

    def _find_parents(self, plan: Plan) -> list[tuple[Standing, EdgePolicy]]:
        """Each parent once, with the stricter policy where two edges name it."""
        if not plan.job.edges and plan.behind is None:
            return []

        found: dict[UUID, tuple[Standing, EdgePolicy]] = {}

        if plan.behind is not None:
            found[plan.behind.id] = (plan.behind, EdgePolicy.ENDED)

        for edge in plan.job.edges:
            standing = self._find_parent(plan.job, edge)
            _, policy = found.get(standing.id, (standing, edge.policy))
            found[standing.id] = (standing, stricter(policy, edge.policy))

        return list(found.values())

    def _find_parent(self, job: NewJob, edge: Edge) -> Standing:
        standing = self._find(edge.parent)

        if standing is None:
            raise Refused(unknown_parent(job.id, edge.parent))

        return standing


def _breaks(parent: Standing, policy: EdgePolicy) -> bool:
    return parent.state >= FIRST_FINAL and not satisfied(policy, STATES[parent.state])
