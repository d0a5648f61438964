"""A small model of what a broker promises, to compare random runs with. It knows no batches, pages, threads or files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from cherga.rules.settings import BrokerSettings
from cherga.words.claim import ClaimedJob
from cherga.words.job import JobState
from cherga.words.push import GROUP_TASK, EdgePolicy, NewJob
from cherga.words.settlement import Charge
from cherga.words.unique import OnConflict

S = JobState

Turn = tuple[int, int]
"""Since when a job is ready: the step of the run and, where the order within it is promised, the place."""


@dataclass
class Sketch:
    """The model of a job."""

    id: UUID
    priority: int
    key: str | None
    parent: UUID | None = None
    group: bool = False
    follows: UUID | None = None
    """The holder of its key, behind which it was pushed."""
    state: JobState = S.BLOCKED
    attempt: int = 0
    claims: int = 0
    crashes: int = 0
    suspect: int = 0
    """The number of suspects that may run together with it."""
    interruptions: int = 0
    cancelling: bool = False
    run_at: float = 0.0
    turn: Turn | None = None
    """The place in the line; None where no order among its priority is promised."""
    parents: dict[UUID, EdgePolicy] = field(default_factory=dict)
    """The jobs that have not released it."""


class Model:
    """Jobs, and one worker session."""

    def __init__(self, settings: BrokerSettings) -> None:
        self.jobs: dict[UUID, Sketch] = {}
        self.now = 0.0
        self.step = 0
        self._settings = settings
        self._orphans: list[UUID] = []

    # --- what happens

    def push(self, group: Sequence[NewJob]) -> list[UUID]:
        """Store a group; return for each job its own id or that of the holder of its key."""
        keys: dict[str, Sketch] = {}
        pushed = [self._push(new, place, keys) for place, new in enumerate(group)]
        self._cancel_orphans()
        return pushed

    def claim(self, jobs: Sequence[ClaimedJob], limit: int, alone: bool) -> None:
        """Check that these are jobs that the claim had to give, in an order that is promised."""
        suspects = [job.suspect for job in self.jobs.values() if job.state is S.READY and job.suspect]
        company = max(suspects) if alone and suspects else 0
        ready, most = self.ready(company), min(limit, company or limit)
        taken = [self.jobs[job.id] for job in jobs]
        left = [job for job in ready if job not in taken]
        assert len(taken) == min(most, len(ready))
        assert all(job in ready for job in taken)
        assert not any(_overtakes(behind, before) for place, before in enumerate(taken) for behind in taken[place + 1 :])
        assert not any(_overtakes(passed, job) for passed in left for job in taken)

        for job in taken:
            job.state, job.attempt, job.claims = S.RUNNING, job.attempt + 1, job.claims + 1

    def settle(self, id: UUID, to: JobState, charge: Charge, delay: float) -> None:
        """Write an outcome."""
        job = self.jobs[id]
        self._charge(job, charge)

        if job.cancelling and not to.final:
            to = S.CANCELLED

        self._again(job, to, delay, ordered=charge is Charge.ATTEMPT)

    def die(self, begun: bool, orderly: bool) -> None:
        """The session ends with all it runs."""
        running = [job for job in self.jobs.values() if job.state is S.RUNNING]

        for job in running:
            charge = (Charge.INTERRUPTION if orderly else self._crash(job, len(running))) if begun else Charge.REFUND
            self._charge(job, charge)
            wait = self._settings.crash_backoff[min(job.crashes, 3) - 1] if charge is Charge.CRASH else 0.0
            self._again(job, self._after_death(job, charge, wait), wait, ordered=False)

    def cancel(self, id: UUID, family: bool = False) -> bool:
        """A person's wish."""
        job = self.jobs[id]
        touched = not job.state.final
        self._cancel(job)

        if family:
            self._orphans.append(id)

        self._cancel_orphans()
        return touched

    def rerun(self, id: UUID) -> bool:
        """The other wish."""
        job = self.jobs[id]

        if job.group or job.state in (S.READY, S.RUNNING, S.BLOCKED) or (job.state.final and self._rival(job.key)):
            return False

        if job.state.final:
            job.attempt = job.crashes = job.interruptions = job.suspect = 0
            job.parents, job.cancelling = {}, False

        job.state, job.turn = S.READY, (self.step, 0)
        return True

    def tidy(self) -> None:
        """Promote and release until nothing moves."""
        self.step += 1

        while sum(self._tidy(job) for job in self.jobs.values()):
            self._cancel_orphans()

    # --- how it stands

    def ready(self, company: int) -> list[Sketch]:
        """Ready jobs that may run with so many suspects, or, for 0, those that are none."""
        return [job for job in self.jobs.values() if job.state is S.READY and job.suspect == company]

    def cancelling(self) -> set[UUID]:
        """Running jobs that somebody wants cancelled."""
        return {job.id for job in self.jobs.values() if job.state is S.RUNNING and job.cancelling}

    def families(self) -> dict[UUID, Counter[JobState]]:
        """The states of each job's children."""
        families: dict[UUID, Counter[JobState]] = {id: Counter() for id in self.jobs}

        for job in self.jobs.values():
            if job.parent is not None:
                families[job.parent][job.state] += 1

        return families

    # --- inside

    def _push(self, new: NewJob, place: int, keys: dict[str, Sketch]) -> UUID:
        key = new.unique.key if new.unique else None
        conflict = new.unique.conflict if new.unique else None
        rival = keys.get(key or "") or self._rival(key)
        follows = rival.id if rival and rival.state is S.RUNNING and conflict is OnConflict.LATEST else None

        if rival and not follows:
            if conflict is not OnConflict.EXISTING:
                self._replace(rival, new)

            return rival.id

        job = self.jobs[new.id] = Sketch(new.id, new.priority, key, new.parent, new.task == GROUP_TASK, follows)
        job.run_at = self.now + (new.delay or 0.0)
        job.parents = ({follows: EdgePolicy.ENDED} if follows else {}) | {edge.parent: edge.policy for edge in new.edges}
        self._release(job, place)

        if key:
            keys[key] = job

        return new.id

    def _rival(self, key: str | None) -> Sketch | None:
        """The job that waits for the end of the holder, else the holder."""
        rivals = [job for job in self.jobs.values() if key and job.key == key and not job.state.final]
        return max(rivals, key=lambda job: job.follows in [other.id for other in rivals], default=None)

    def _replace(self, job: Sketch, new: NewJob) -> None:
        if job.state.final or job.state is S.RUNNING:
            return

        job.priority, job.parent, job.attempt = new.priority, new.parent, 0
        job.run_at = self.now + (new.delay or 0.0)

        if job.state is not S.BLOCKED:
            job.turn = job.turn if job.state is S.READY else None
            job.state = S.SCHEDULED if new.delay else S.READY

    def _cancel(self, job: Sketch) -> None:
        if job.state is S.RUNNING:
            job.cancelling = True
        elif not job.state.final:
            job.state = S.CANCELLED

    def _cancel_orphans(self) -> None:
        while self._orphans:
            parent = self._orphans.pop()
            children = [
                job for job in self.jobs.values() if job.parent == parent and not job.state.final and not job.cancelling
            ]
            self._orphans += [child.id for child in children]

            for child in children:
                self._cancel(child)

    def _again(self, job: Sketch, to: JobState, delay: float, ordered: bool) -> None:
        job.state, job.run_at = to, self.now + delay
        job.turn = (self.step, 0) if ordered else None

    def _charge(self, job: Sketch, charge: Charge) -> None:
        job.attempt -= charge in (Charge.REFUND, Charge.INTERRUPTION, Charge.LOSS)
        job.interruptions += charge is Charge.INTERRUPTION
        job.crashes += charge is Charge.CRASH

    def _crash(self, job: Sketch, company: int) -> Charge:
        """Half as many suspects may run together next time; who was the first time in company is charged for that alone."""
        alone, first = job.suspect == 1 or company == 1, not job.suspect
        most = min(company, job.suspect or company)
        job.suspect = 1 if alone else next(power for power in (64, 32, 16, 8, 4, 2, 1) if power < most)
        return Charge.CRASH if alone or first else Charge.LOSS

    def _after_death(self, job: Sketch, charge: Charge, wait: float) -> JobState:
        if job.cancelling:
            return S.CANCELLED

        if charge is Charge.CRASH and job.suspect == 1 and job.crashes >= self._settings.crash_cap:
            return S.FAILED

        return S.SCHEDULED if wait else S.READY

    def _tidy(self, job: Sketch) -> bool:
        before = job.state

        if job.state is S.SCHEDULED and job.run_at <= self.now:
            job.state, job.turn = S.READY, (self.step, 0)
        elif job.state is S.BLOCKED:
            self._release(job, 0)

        return job.state is not before

    def _release(self, job: Sketch, place: int) -> None:
        ended = {id for id in job.parents if self.jobs[id].state.final}

        missed = {job.parents[id] for id in ended if self.jobs[id].state is not S.SUCCEEDED} - {EdgePolicy.ENDED}

        if missed:
            job.state = S.CANCELLED
            self._orphans += [job.id] if EdgePolicy.TOGETHER in missed else []
            return

        job.parents = {id: policy for id, policy in job.parents.items() if id not in ended}

        if not job.parents and job.group:
            job.state = S.SUCCEEDED
        elif not job.parents:
            job.state = S.SCHEDULED if job.run_at > self.now else S.READY
            job.turn = (self.step, place)


def _overtakes(later: Sketch, earlier: Sketch) -> bool:
    """True when ``later`` had to go before ``earlier``."""
    if later.priority != earlier.priority:
        return later.priority > earlier.priority

    return later.turn is not None and earlier.turn is not None and later.turn < earlier.turn
