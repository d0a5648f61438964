"""Memory and SQLite side by side: the same random life, and after each step the same answers and the same rows, word for word.

Times are counted in steps of the clock, which is moved by whole steps alone.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from msgspec.structs import asdict, replace

from cherga.brokers.memory import MemoryBroker
from cherga.brokers.sqlite import SQLiteBroker
from cherga.doors.broker import FullBroker
from cherga.rules.settings import BrokerSettings
from cherga.testing.contract.keeping import packed
from cherga.testing.contract.stage import TASKS, session_info
from cherga.words.claim import ClaimedJob, ClaimWish
from cherga.words.inspection import JobFilter
from cherga.words.job import Attempt, JobError, JobRow, JobState, Reason
from cherga.words.keeping import KEEPING, Keeping
from cherga.words.limits import LIMIT, LimitRule, Overflow, Rate
from cherga.words.push import GROUP_TASK, Edge, EdgePolicy, NewJob, OnCrash, Overrides
from cherga.words.session import Death
from cherga.words.settlement import Charge, Settlement
from cherga.words.shared import Definition
from cherga.words.unique import OnConflict, Unique, UniqueWhile

STEP = 1000.0
"""Seconds. However slow the machine is, a run takes less than half of it."""
SETTINGS = BrokerSettings(
    namespace="contract",
    crash_cap=2,
    crash_backoff=(0.0, 2 * STEP),
    result_ttl=5 * STEP,
    failure_ttl=7 * STEP,
    lease=1000 * STEP,
    sweep=1000 * STEP,
)
APART = {"token", "sequence", "position"}
"""What a broker draws or counts for itself."""
FINAL = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
TIMES = {name for name in JobRow.__struct_fields__ if name.endswith("_at")}
RULES = [
    Definition(LIMIT, "task:mail", msgspec.msgpack.encode(LimitRule(max_running=2))),
    Definition(LIMIT, "task:shrink", msgspec.msgpack.encode(LimitRule(rate=Rate(3, 2 * STEP)))),
    Definition(LIMIT, "queue:short", msgspec.msgpack.encode(LimitRule(max_length=3, overflow=Overflow.DROP_OLDEST))),
    Definition(LIMIT, "queue:full", msgspec.msgpack.encode(LimitRule(max_length=2))),
    Definition(KEEPING, "mail", msgspec.msgpack.encode(Keeping(failure_ttl=3 * STEP))),
]


class Pair:
    """Two brokers that are asked the same, under one chance."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.brokers: tuple[FullBroker, FullBroker] = (
            MemoryBroker("memory://", SETTINGS),
            SQLiteBroker(f"sqlite:///{folder}/queue.db?durability=process", SETTINGS),
        )
        self.steps = 0
        self.ids: list[UUID] = []
        self.running: dict[UUID, tuple[ClaimedJob, ClaimedJob]] = {}

        for broker in self.brokers:
            broker.open()
            broker.reap()
            broker.define(RULES)
            broker.register(session_info("worker.1"))

    def close(self) -> None:
        for broker in self.brokers:
            broker.close()

    # --- what happens

    def act(self) -> str:
        """One step of a life; return what it was."""
        acts = (
            self.push,
            self.push,
            self.claim,
            self.claim,
            self.settle,
            self.settle,
            self.cancel,
            self.rerun,
            self.die,
            self.wait,
        )
        act = self.chance.choice(acts)
        told = act()
        self.tidy()
        return f"{act.__name__}: {told}"

    def push(self) -> object:
        group = self._group()
        before = set(self.ids)
        one, other = (broker.push([group])[0] for broker in self.brokers)
        assert one == other
        self.ids += [job.id for job in group if job.id not in before and one.refused is None]
        return group

    def claim(self) -> object:
        wish = ClaimWish(session="worker.1", limit=self.chance.randint(1, 4), tasks=TASKS, alone=self.chance.random() < 0.3)
        one, other = (broker.claim(wish) for broker in self.brokers)
        assert [_plain(job) for job in one.jobs] == [_plain(job) for job in other.jobs]
        assert (one.suspects, one.unknown) == (other.suspects, other.unknown)
        self.running |= {job.id: (job, twin) for job, twin in zip(one.jobs, other.jobs, strict=True)}
        return [job.id for job in one.jobs]

    def settle(self) -> object:
        if not self.running:
            return None

        jobs = self.running.pop(self.chance.choice(list(self.running)))
        to = self.chance.choice([*FINAL, JobState.READY, JobState.SCHEDULED])
        fields = self._outcome(to, jobs[0])
        one, other = (
            broker.settle([Settlement(job.id, job.sequence, job.token, to, **fields)])
            for broker, job in zip(self.brokers, jobs, strict=True)
        )
        assert one == other
        return to, fields

    def cancel(self) -> object:
        return self._move(JobState.CANCELLED, self.chance.choice([None, "not today"]), self.chance.random() < 0.3)

    def rerun(self) -> object:
        return self._move(JobState.READY, None, False)

    def die(self) -> object:
        started = self.chance.choice([None, *[list(self.running)[: self.chance.randint(0, 3)]] * 3])
        orderly = self.chance.random() < 0.4
        told = []

        for place, broker in enumerate(self.brokers):
            tokens = None if started is None else frozenset(self.running[id][place].token for id in started)
            told.append(sorted(broker.reap([Death("worker.1", tokens, orderly)])))
            broker.register(session_info("worker.1"))

        assert told[0] == told[1]
        self.running.clear()
        return started, orderly

    def wait(self) -> object:
        self.steps += (passed := self.chance.randint(1, 3))

        for broker in self.brokers:
            broker.time_offset = self.steps * STEP

        pruned = [sum(iter(broker.prune, 0)) for broker in self.brokers]
        assert pruned[0] == pruned[1]
        return passed

    def tidy(self) -> None:
        """Promote until nothing moves, and hear the news."""
        for broker in self.brokers:
            while broker.promote().count:
                pass

        one, other = (self._news(broker) for broker in self.brokers)
        assert one == other

    # --- how it stands

    def compare(self) -> None:
        """Every row, and the order of them all."""
        one, other = (broker.find(JobFilter(), 1000) for broker in self.brokers)
        assert [row.id for row in one] == [row.id for row in other]

        for row, twin in zip(one, other, strict=True):
            shown, expected = self._shown(row), self._shown(twin)
            assert {name: (shown[name], expected[name]) for name in shown if shown[name] != expected[name]} == {}, row.id

        counts = [sorted((each for each in broker.counts()), key=repr) for broker in self.brokers]
        assert counts[0] == counts[1]
        assert self.brokers[0].families(self.ids) == self.brokers[1].families(self.ids)

    def _shown(self, row: JobRow) -> dict[str, Any]:
        fields = {name: value for name, value in asdict(row).items() if name not in APART}
        fields |= {name: None if fields[name] is None else self._step(fields[name]) for name in TIMES}
        attempts = msgspec.msgpack.decode(row.attempts or b"\x90", type=list[Attempt])
        fields["attempts"] = [
            replace(each, started_at=self._step(each.started_at), finished_at=self._step(each.finished_at)) for each in attempts
        ]
        return fields

    def _step(self, at: float) -> int:
        return round((at - self._began()) / STEP)

    def _began(self) -> float:
        """The clock at the beginning."""
        return self.brokers[0].promote().now - self.brokers[0].time_offset

    def _news(self, broker: FullBroker) -> list[dict[str, Any]]:
        notices = broker.notices("worker.1", TASKS)
        broker.told([each.number for each in notices])
        told = [{name: value for name, value in asdict(each).items() if name != "number"} for each in notices]
        return sorted(told, key=lambda each: str(each["id"]))

    # --- chance

    def _move(self, to: JobState, message: str | None, family: bool) -> object:
        ids = self.chance.sample(self.ids, min(len(self.ids), 2))
        one, other = (broker.move(ids, to, message, family) for broker in self.brokers)
        assert sorted(one) == sorted(other)
        return ids, message, family

    def _outcome(self, to: JobState, job: ClaimedJob) -> dict[str, Any]:
        if to.final:
            error = JobError("ValueError", "no") if to is JobState.FAILED else None
            attempt = (
                None
                if to is JobState.SUCCEEDED
                else Attempt(job.attempt, "worker", self._now(), self._now(), Reason.ERROR, error)
            )
            return {
                "reason": None if to is JobState.SUCCEEDED else Reason.ERROR,
                "attempt": attempt,
                "result": b"\xc0" if to is JobState.SUCCEEDED else None,
                "keep": self.chance.choice([0.0, 4 * STEP]),
                "message": self.chance.choice([None, "said"]),
                "meta": self.chance.choice([None, b"\x80"]),
            }

        return {
            "charge": self.chance.choice([Charge.ATTEMPT, Charge.REFUND, Charge.INTERRUPTION]),
            "delay": 2 * STEP if to is JobState.SCHEDULED else None,
            "progress": self.chance.choice([None, b"\x91\x01"]),
        }

    def _now(self) -> float:
        return self._began() + self.steps * STEP

    def _group(self) -> list[NewJob]:
        group = [self._job() for _ in range(self.chance.randint(1, 3))]
        again = [self.chance.choice(self.ids)] if self.ids and self.chance.random() < 0.1 else []

        if self.chance.random() < 0.3:
            policy = self.chance.choice(list(EdgePolicy))
            edges = tuple(Edge(job.id, policy) for job in group)
            group.append(replace(self._job(), task=self.chance.choice([GROUP_TASK, "export"]), unique=None, edges=edges))

        return [*group, *(replace(group[0], id=id, edges=()) for id in again)]

    def _job(self) -> NewJob:
        chance = self.chance
        known = [Edge(chance.choice(self.ids), chance.choice(list(EdgePolicy)))] if self.ids and chance.random() < 0.2 else []
        return NewJob(
            id=UUID(int=chance.getrandbits(128)),
            task=chance.choice(["export", "export", "mail", "shrink"]),
            payload=b"\x90",
            queue=chance.choice(["default", "default", "short", "full"]),
            priority=chance.choice([0, 0, 5]),
            delay=chance.choice([None, None, 2 * STEP]),
            expires_in=chance.choice([None, None, None, 0.0, 3 * STEP]),
            owner=chance.choice([None, "user:1"]),
            unique=self._unique(),
            edges=tuple(known),
            parent=chance.choice([None, None, *self.ids[-1:]]),
            head=chance.choice(
                [
                    None,
                    None,
                    packed(overrides=Overrides(failure_ttl=2 * STEP, result_ttl=STEP)),
                    packed(overrides=Overrides(on_crash=OnCrash.FAIL)),
                    packed(keeping=Keeping(failure_ttl=4 * STEP)),
                ]
            ),
        )

    def _unique(self) -> Unique | None:
        if self.chance.random() < 0.7:
            return None

        hold = self.chance.choice(list(UniqueWhile))
        period = 3 * STEP if hold is UniqueWhile.PERIOD else None
        return Unique(self.chance.choice("ab"), hold, period, self.chance.choice(list(OnConflict)))


def _plain(job: ClaimedJob) -> dict[str, Any]:
    return {name: value for name, value in asdict(job).items() if name not in APART and not name.endswith("_at")}


@pytest.mark.parametrize("seed", range(10))
def test_both_brokers_tell_the_same_life_in_the_same_words(tmp_path: Path, seed: int) -> None:
    pair, story = Pair(tmp_path, seed), []

    try:
        for _ in range(60):
            story.append(pair.act())
            pair.compare()
    except AssertionError as error:
        error.add_note(f"after {len(story)} steps, the last: {story[-1:]}")
        raise
    finally:
        pair.close()
