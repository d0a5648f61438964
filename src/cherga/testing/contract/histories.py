"""Random runs: every change of state must be legal, and everything must stand where the model says."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from uuid import UUID

import pytest

from cherga.rules.lifecycle import MOVES, Move
from cherga.testing.contract.model import Model, Sketch
from cherga.testing.contract.stage import SETTINGS, Stage, ids, new_job
from cherga.words.claim import ClaimedJob
from cherga.words.inspection import JobFilter
from cherga.words.job import JobRow, JobState
from cherga.words.push import GROUP_TASK, Edge, EdgePolicy, NewJob
from cherga.words.session import Death
from cherga.words.settlement import Charge
from cherga.words.unique import OnConflict, Unique

STEPS = 100
KEYS = ("a", "b", "c")
CONFLICTS = (OnConflict.EXISTING, OnConflict.REPLACE, OnConflict.LATEST)
WRITES = [
    (JobState.SUCCEEDED, Charge.ATTEMPT),
    (JobState.SUCCEEDED, Charge.ATTEMPT),
    (JobState.FAILED, Charge.ATTEMPT),
    (JobState.CANCELLED, Charge.ATTEMPT),
    (JobState.READY, Charge.ATTEMPT),
    (JobState.READY, Charge.REFUND),
    (JobState.READY, Charge.INTERRUPTION),
    (JobState.SCHEDULED, Charge.ATTEMPT),
    (JobState.SCHEDULED, Charge.REFUND),
]


class Histories:
    """The seed of a run is the number in its name."""

    @pytest.mark.parametrize("seed", range(8))
    def test_a_random_run_goes_as_the_model_says(self, stage: Stage, seed: int) -> None:
        run = _Run(stage, random.Random(seed))

        try:
            for _ in range(STEPS):
                run.step()
        except AssertionError as error:
            error.add_note("what was done: " + "; ".join(run.log))
            raise

        assert run.model.jobs


class _Run:
    """A random run on a broker and on the model side by side."""

    def __init__(self, stage: Stage, chance: random.Random) -> None:
        self.model = Model(SETTINGS)
        self._stage = stage
        self._chance = chance
        self._running: list[ClaimedJob] = []
        self.log: list[str] = []
        self._acts: list[tuple[int, Callable[[], None], frozenset[Move]]] = [
            (6, self._push, frozenset({Move.PUSH, Move.REPLACE, Move.CANCEL})),
            (1, self._push_family, frozenset({Move.PUSH})),
            (6, self._claim, frozenset({Move.CLAIM})),
            (8, self._settle, frozenset({Move.SETTLE, Move.RELEASE, Move.CANCEL})),
            (2, self._cancel, frozenset({Move.CANCEL, Move.RELEASE})),
            (1, self._cancel_family, frozenset({Move.CANCEL, Move.RELEASE})),
            (2, self._rerun, frozenset({Move.RETRY})),
            (2, self._pass_time, frozenset()),
            (1, self._die, frozenset({Move.REAP, Move.RELEASE, Move.CANCEL})),
        ]

    def step(self) -> None:
        """Do one thing, tidy, compare."""
        ((_, act, moves),) = self._chance.choices(self._acts, [weight for weight, *_ in self._acts])
        self.log.append(act.__name__.strip("_"))
        self._watch(act, moves)
        self._watch(self._tidy, frozenset({Move.PROMOTE, Move.RELEASE, Move.CANCEL}))
        self._compare()

    # --- acts

    def _push(self) -> None:
        known = list(self.model.jobs)
        self._push_all([self._new_job(known) for _ in range(self._chance.randint(1, 3))])

    def _push_family(self) -> None:
        """Members that fail together, and their group or callback."""
        id, task = self._new_id(), self._chance.choice((GROUP_TASK, "export"))
        members = [new_job(id=self._new_id(), parent=id) for _ in range(self._chance.randint(1, 4))]
        self._push_all([*members, new_job(task, id=id, edges=tuple(Edge(each.id, EdgePolicy.TOGETHER) for each in members))])

    def _push_all(self, group: list[NewJob]) -> None:
        self.log += [_describe(job) for job in group]
        answer = self._stage.push(*group)
        assert [pushed.id for pushed in answer.jobs] == self.model.push(group)

    def _new_job(self, known: list[UUID]) -> NewJob:
        """Children wait for nobody: else it would depend on the order whether one is cancelled with or before its family."""
        recent = known[-6:]
        awaited = self._chance.sample(recent, min(len(recent), self._chance.choice((0, 0, 1, 2))))
        edges = tuple(zip(awaited, self._policies(), strict=False))

        if self._chance.random() < 0.1:
            return new_job(GROUP_TASK, id=self._new_id(), edges=tuple(Edge(*edge) for edge in edges))

        key = self._chance.choice((None, None, *KEYS))

        return new_job(
            id=self._new_id(),
            priority=self._chance.randint(-1, 1),
            delay=self._chance.choice((None, None, 150.0)),
            unique=Unique(key, conflict=self._chance.choice(CONFLICTS)) if key else None,
            edges=tuple(Edge(*edge) for edge in edges),
            parent=None if edges or key else self._chance.choice([None, *recent[-1:]]),
        )

    def _new_id(self) -> UUID:
        return UUID(int=self._chance.getrandbits(128))

    def _policies(self) -> list[EdgePolicy]:
        """For up to two edges. Beside another policy it would depend on the order whether ``together`` is heard."""
        policies = self._chance.choices([*EdgePolicy], k=2)
        return [EdgePolicy.TOGETHER] * 2 if EdgePolicy.TOGETHER in policies else policies

    def _claim(self) -> None:
        limit = self._chance.randint(1, 4)
        alone = not self._running
        jobs = self._stage.claim(limit, alone=alone)
        self.log += [_name(job.id) for job in jobs]
        self.model.claim(jobs, limit, alone)
        self._running += jobs

    def _settle(self) -> None:
        if self._running:
            job = self._running.pop(self._chance.randrange(len(self._running)))
            to, charge = self._chance.choice(WRITES)
            self.log.append(f"{_name(job.id)} {to} {charge.name}")
            self._stage.write(job, to, charge=charge, delay=150.0)
            self.model.settle(job.id, to, charge, 150.0 if to is JobState.SCHEDULED else 0.0)

    def _cancel(self) -> None:
        self._move(JobState.CANCELLED, self.model.cancel)

    def _cancel_family(self) -> None:
        self._move(JobState.CANCELLED, partial(self.model.cancel, family=True), family=True)

    def _rerun(self) -> None:
        self._move(JobState.READY, self.model.rerun)

    def _move(self, to: JobState, modelled: Callable[[UUID], bool], family: bool = False) -> None:
        if self.model.jobs:
            id = self._chance.choice(list(self.model.jobs))
            self.log.append(_name(id))
            assert self._stage.broker.move([id], to, family=family) == ([id] if modelled(id) else [])

    def _pass_time(self) -> None:
        self._stage.pass_time(100.0)
        self.model.now += 100.0

    def _die(self) -> None:
        begun, orderly = self._chance.random() < 0.7, self._chance.random() < 0.5
        self.log.append(f"begun {begun}, orderly {orderly}")
        freed = self._stage.broker.reap([Death("worker.1", None if begun else frozenset(), orderly)])
        assert set(freed) == set(ids(self._running))
        self.model.die(begun, orderly)
        self._running = []

    def _tidy(self) -> None:
        self._stage.tidy()
        self.model.tidy()

    # --- checks

    def _watch(self, act: Callable[[], None], moves: frozenset[Move]) -> None:
        """Do it, and check that nothing moved in a way that the lifecycle does not know."""
        before = self._states()
        act()
        legal = {pair for move in moves for pair in MOVES[move]}
        changes = {(before.get(id), after) for id, after in self._states().items()}
        assert {(old, new) for old, new in changes if old is not new} <= legal

    def _states(self) -> dict[UUID, JobState]:
        return {row.id: row.state for row in self._stage.broker.find(JobFilter(), limit=10_000)}

    def _compare(self) -> None:
        rows = {row.id: row for row in self._stage.broker.get(list(self.model.jobs)) if row}
        assert {id: _of_row(row) for id, row in rows.items()} == {id: _of_sketch(job) for id, job in self.model.jobs.items()}
        families = self._stage.broker.families(list(self.model.jobs))
        assert [family.counts for family in families] == list(self.model.families().values())
        signals = self._stage.broker.heartbeat(["worker.1"])
        assert {cancel.id for cancel in signals.cancels} == self.model.cancelling()


def _name(id: UUID) -> str:
    return id.hex[:6]


def _describe(job: NewJob) -> str:
    edges = "+".join(f"{_name(edge.parent)} {edge.policy}" for edge in job.edges)
    unique = job.unique and f"{job.unique.key} {job.unique.conflict}"
    return f"{_name(job.id)} {job.task} {job.priority} {unique} {job.delay} [{edges}] of {job.parent and _name(job.parent)}"


Standing = tuple[JobState, int, int, int, int, int]


def _of_row(row: JobRow) -> Standing:
    pending = row.pending if row.state is JobState.BLOCKED else 0
    return row.state, row.attempt, row.claims, row.crashes, row.interruptions, pending


def _of_sketch(job: Sketch) -> Standing:
    pending = len(job.parents) if job.state is JobState.BLOCKED else 0
    return job.state, job.attempt, job.claims, job.crashes, job.interruptions, pending
