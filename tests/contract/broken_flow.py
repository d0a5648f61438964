"""Memory brokers with one fault each in what belongs together: unique jobs, groups, families, schedules."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from msgspec.structs import replace

from cherga.brokers.memory import MemoryBroker
from cherga.words.claim import Promoted
from cherga.words.inspection import Family
from cherga.words.job import JobState
from cherga.words.push import GROUP_TASK, Edge, EdgePolicy, NewJob, PushAnswer, PushedJob
from cherga.words.settlement import Settled, Settlement
from cherga.words.shared import Definition
from cherga.words.unique import OnConflict


class _Pushing(MemoryBroker):
    """Changes each job before it is pushed."""

    def push(self, groups: Sequence[Sequence[NewJob]]) -> list[PushAnswer]:
        return super().push([[self._changed(job) for job in group] for group in groups])

    def _changed(self, job: NewJob) -> NewJob:
        return job

    def _with_conflict(self, job: NewJob, conflicts: dict[OnConflict, OnConflict]) -> NewJob:
        if job.unique is None:
            return job

        return replace(job, unique=replace(job.unique, conflict=conflicts.get(job.unique.conflict, job.unique.conflict)))


class ReplacingNothing(_Pushing):
    """Answers the holder as it is."""

    def _changed(self, job: NewJob) -> NewJob:
        return self._with_conflict(job, dict.fromkeys(OnConflict, OnConflict.EXISTING))


class WithoutSuccessors(_Pushing):
    """Answers a holder that runs as it is."""

    def _changed(self, job: NewJob) -> NewJob:
        return self._with_conflict(job, {OnConflict.LATEST: OnConflict.REPLACE})


class PushingToTheBack(MemoryBroker):
    """Lets a job that was replaced stand behind all others."""

    def push(self, groups: Sequence[Sequence[NewJob]]) -> list[PushAnswer]:
        answers = super().push(groups)

        for pushed in (job for answer in answers for job in answer.jobs):
            if pushed.existing and pushed.state is JobState.READY:
                row = self._store.change(self._store.rows[pushed.id], state=JobState.BLOCKED)
                self._store.change(row, state=JobState.READY)

        return answers


class ManySuccessors(MemoryBroker):
    """Forgets that one waits already."""

    def push(self, groups: Sequence[Sequence[NewJob]]) -> list[PushAnswer]:
        answers = super().push(groups)
        self._store.keys.successors.clear()
        return answers


class LosingKeys(MemoryBroker):
    """Lets the key go with its holder."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        self._store.keys.successors.clear()
        return super().settle(settlements)


class RunningGroups(MemoryBroker):
    """Waits for a worker that runs groups."""

    def push(self, groups: Sequence[Sequence[NewJob]]) -> list[PushAnswer]:
        answers = super().push(groups)
        self._make_ready()
        return [replace(answer, jobs=tuple(self._again(job.id) for job in answer.jobs)) for answer in answers]

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        answers = super().settle(settlements)
        self._make_ready()
        return answers

    def _make_ready(self) -> None:
        for row in [row for row in self._store.rows.values() if row.task == GROUP_TASK]:
            if row.state is JobState.SUCCEEDED:
                self._store.change(row, state=JobState.READY)

    def _again(self, id: UUID) -> PushedJob:
        return PushedJob(id, self._store.rows[id].state)


class SparingSiblings(_Pushing):
    """Lets the others go on when one has failed."""

    def _changed(self, job: NewJob) -> NewJob:
        return replace(job, edges=tuple(Edge(edge.parent, self._milder(edge.policy)) for edge in job.edges))

    def _milder(self, policy: EdgePolicy) -> EdgePolicy:
        return EdgePolicy.SUCCEEDED if policy is EdgePolicy.TOGETHER else policy


class LosingOrphans(MemoryBroker):
    """Cancels the first page of children and forgets the rest."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        answers = super().settle(settlements)
        self._store.orphans.clear()
        return answers

    def move(self, ids: Sequence[UUID], to: JobState, message: str | None = None, family: bool = False) -> list[UUID]:
        touched = super().move(ids, to, message, family)
        self._store.orphans.clear()
        return touched


class SparingGrandchildren(MemoryBroker):
    """Cancels children, and not theirs."""

    def move(self, ids: Sequence[UUID], to: JobState, message: str | None = None, family: bool = False) -> list[UUID]:
        children = [child for id in ids for child in self._store.kinship.children.get(id, ())] if family else []
        super().move(children, to, message)
        return super().move(ids, to, message)


class SparingChildrenOfTheDead(MemoryBroker):
    """Cancels the families of those alone that it could cancel."""

    def move(self, ids: Sequence[UUID], to: JobState, message: str | None = None, family: bool = False) -> list[UUID]:
        unfinished = [row.id for row in self.get(ids) if row and not row.state.final]
        return super().move(unfinished if family else ids, to, message, family)


class WithoutParents(_Pushing):
    """Keeps no parent."""

    def _changed(self, job: NewJob) -> NewJob:
        return replace(job, parent=None)


class CountingEndsAlone(MemoryBroker):
    """Takes no notice of progress."""

    def families(self, ids: Sequence[UUID]) -> list[Family]:
        families = super().families(ids)
        ends = [sum(count for state, count in family.counts.items() if state.final) for family in families]
        return [replace(family, done=float(end)) for family, end in zip(families, ends, strict=True)]


class ForgettingVersions(MemoryBroker):
    """Forgets what was taken back."""

    def define(self, definitions: Sequence[Definition]) -> None:
        super().define(definitions)
        self._store.definitions = {key: each for key, each in self._store.definitions.items() if each.data}


class HidingNothing(MemoryBroker):
    """Shows what was taken back."""

    def definitions(self, kind: str, names: Sequence[str] = ()) -> list[Definition]:
        of_kind = [each for each in self._store.definitions.values() if each.kind == kind]
        return [each for each in of_kind if not names or each.name in names]


class KeepingDueTimes(MemoryBroker):
    """Goes on by the old times when a schedule has changed."""

    def define(self, definitions: Sequence[Definition]) -> None:
        due = dict(self._store.schedules)
        super().define(definitions)
        self._store.schedules = due


class ForgettingDueTimes(MemoryBroker):
    """Starts afresh with every declaration."""

    def define(self, definitions: Sequence[Definition]) -> None:
        super().define(definitions)
        self._store.schedules.clear()


class HeldUp(MemoryBroker):
    """Fires again when the group was refused."""

    def tick(self, schedule: str, due: float, following: float | None, group: Sequence[NewJob]) -> bool:
        fired = super().tick(schedule, due, following, group)

        if fired and any(row is None for row in self.get([job.id for job in group])):
            self._store.schedules[schedule] = due

        return fired


class ByAnotherClock(MemoryBroker):
    """Tells schedules the host's clock and not its own."""

    def promote(self, limit: int = 1000) -> Promoted:
        return replace(super().promote(limit), now=self._clock.now())
