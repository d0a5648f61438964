"""Random runs under limits: whatever happens, no limit is exceeded, nothing is counted wrongly, and all jobs get through."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from cherga.rules.limits import limit_names
from cherga.testing.contract.limits import set_limit
from cherga.testing.contract.stage import Stage, new_job
from cherga.words.claim import ClaimedJob
from cherga.words.inspection import JobFilter
from cherga.words.job import JobState
from cherga.words.limits import OVERRIDE, Rate
from cherga.words.session import Death
from cherga.words.settlement import Charge
from cherga.words.shared import PauseScope

KEYS = tuple(f"key:user|{value}" for value in "abc")
NAMES = ("task:export", "task:mail", "queue:p", "queue:q", *KEYS)
SESSIONS = ("worker.1", "worker.2", "worker.3")
HOUR = 3600.0


class Crowds:
    """The limits, all at once."""

    @pytest.mark.parametrize("seed", range(4))
    def test_a_random_run_keeps_every_limit(self, stage: Stage, seed: int) -> None:
        crowd = _Crowd(stage, Random(seed))

        for _ in range(120):
            crowd.step()

        crowd.finish()


class _Crowd:
    """The claims of three sessions, and a plain count of them."""

    def __init__(self, stage: Stage, random: Random) -> None:
        self._stage = stage
        self._random = random
        self._running: dict[str, list[ClaimedJob]] = {session: [] for session in SESSIONS}
        self._most: dict[str, int] = {}
        self._rate = Rate(25, HOUR)
        self._starts: list[float] = []
        self._time = 0.0
        set_limit(stage, "queue:q", OVERRIDE, rate=self._rate)

    def step(self) -> None:
        """Do something, and count."""
        acts = (self._push, self._push, self._claim, self._claim, self._claim, self._settle, self._settle, self._change)
        self._random.choice((*acts, self._die, self._pass_time, self._pause))()
        self._count()

    def finish(self) -> None:
        """Open everything and work until nothing is left."""
        for name in NAMES:
            set_limit(self._stage, name, OVERRIDE, max_running=2)

        for scope in self._stage.broker.paused():
            self._stage.broker.pause(scope, False)

        for _ in range(1000):
            for session in SESSIONS:
                self._write_all(session)

            self._stage.pass_time(60)
            self._stage.tidy()

            if not self._stage.broker.find(JobFilter(unfinished=True), 1):
                return

            self._running["worker.1"] = self._stage.claim(5, alone=True)

        raise AssertionError("expected every job to get through, and some still wait after 1,000 rounds")

    def _push(self) -> None:
        keys = tuple(self._random.sample(KEYS, self._random.randrange(3)))
        task, queue = self._random.choice(["export", "mail"]), self._random.choice("pq")
        self._stage.push(*(new_job(task, queue=queue, limit_keys=keys) for _ in range(self._random.randrange(1, 6))))

    def _claim(self) -> None:
        session = self._random.choice(SESSIONS)
        running, before = self._count_running(), len(self._starts)
        jobs = self._stage.claim(self._random.choice([1, 3, 50]), session=session, alone=not self._running[session])
        self._running[session] += jobs
        self._starts += [self._time] * sum(job.queue == "q" for job in jobs)
        after = self._count_running()
        assert [name for name, most in self._most.items() if after[name] > max(most, running[name])] == []
        inside = [at for at in self._starts if at > self._time - self._rate.period]
        assert len(inside) <= self._rate.count or len(self._starts) == before

    def _settle(self) -> None:
        session = self._random.choice(SESSIONS)

        if jobs := self._running[session]:
            job = jobs.pop(self._random.randrange(len(jobs)))
            to = self._random.choice([JobState.SUCCEEDED, JobState.FAILED, JobState.READY, JobState.SCHEDULED])
            self._stage.write(job, to, delay=5.0)

    def _change(self) -> None:
        name = self._random.choice([name for name in NAMES if name != "queue:q"])
        self._most[name] = self._random.choice([0, 1, 2, 5])
        set_limit(self._stage, name, max_running=self._most[name])

    def _die(self) -> None:
        session = self._random.choice(SESSIONS)
        started = None if self._random.random() < 0.5 else frozenset(job.token for job in self._running[session])
        self._stage.broker.reap([Death(session, started, orderly=True)])
        self._running[session].clear()

    def _pass_time(self) -> None:
        seconds = self._random.choice([1.0, 600.0, HOUR])
        self._time += seconds
        self._stage.pass_time(seconds)
        self._stage.tidy()

    def _pause(self) -> None:
        scope = PauseScope(self._random.choice([None, "p"]), self._random.choice(["export", "mail"]))
        self._stage.broker.pause(scope, self._random.random() < 0.5)

    def _count(self) -> None:
        running = self._count_running()
        uses = self._stage.broker.limits(NAMES)
        assert {use.name: use.running for use in uses} == {use.name: running[use.name] for use in uses}

    def _count_running(self) -> Counter[str]:
        rows = self._stage.broker.find(JobFilter(states=frozenset({JobState.RUNNING})), 1000)
        return Counter(name for row in rows for name in limit_names(row.queue, row.task, row.limit_keys))

    def _write_all(self, session: str) -> None:
        for job in self._running[session]:
            self._stage.write(job, charge=Charge.ATTEMPT)

        self._running[session] = []
