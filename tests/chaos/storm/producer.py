"""A producer of the storm: stores jobs of all kinds step by step, and goes on where a killed one of the same name was.

``python -m tests.chaos.storm.producer SEED WHO STEPS``
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from cherga import BrokerUnavailable, EnqueueUnknown, Job, QueueTasks, chain, group
from tests.chaos.storm.diary import DIARY, read, write
from tests.chaos.storm.jobs import make_app

NAMESPACE = UUID("4d0c3f5e-5a0a-4b6e-9f1c-7d1d6f1c2a10")
MEMBERS = 5
LINKS = 3
LONGEST = 0.03
"""Seconds that a usual job takes at most."""
LONG = 1.5
PAUSE = 0.02

_pause = threading.Event().wait


class Producer:
    """Knows by its seed what each step stores. ``n`` is a number that no other step has."""

    def __init__(self, app: QueueTasks, seed: int, who: int) -> None:
        self._app = app
        self._seed = seed
        self._who = who
        self._chance = random.Random(0)
        self._step = 0

    def work(self, steps: int) -> None:
        """Take those steps that nobody of this name has finished."""
        for step in range(self._done(), steps):
            self._step = step
            self._until_stored()
            _pause(self._chance.random() * PAUSE)

    def _done(self) -> int:
        mine = [line.step for line in read(Path(os.environ[DIARY])) if line.event == "stored" and line.worker == self._name]
        return max(mine, default=-1) + 1

    @property
    def _name(self) -> str:
        return f"producer-{self._who}"

    @property
    def _n(self) -> int:
        return (self._who * 100_000 + self._step) * 10

    def _until_stored(self) -> None:
        """The same again, as promised, while nobody knows whether it is stored."""
        while True:
            self._chance = random.Random(f"{self._seed}-{self._who}-{self._step}")
            (store,) = self._chance.choices(list(STEPS), list(STEPS.values()))
            write("ask", worker=self._name, step=self._step, words=store.__name__)

            try:
                jobs = store(self)
            except (BrokerUnavailable, EnqueueUnknown) as error:
                write("unknown", worker=self._name, step=self._step, words=str(error))
                continue

            write("stored", worker=self._name, step=self._step, words=store.__name__, jobs=tuple(str(job.id) for job in jobs))
            return

    def _enqueue(self, task: str, *args: object, **options: Any) -> list[Job[Any]]:
        """One job, under an id that the step alone decides, from a thread or a coroutine."""
        asked = self._app.tasks[task].using(id=uuid5(NAMESPACE, f"{self._seed}-{self._n}"), **options)
        job = asked.enqueue(*args) if self._chance.random() < 0.5 else asyncio.run(_later(asked, *args))
        return [job]

    # --- the steps

    def usual(self) -> list[Job[Any]]:
        task = self._chance.choice(("plain", "coroutine", "once", "aonce", "limited"))
        return self._enqueue(task, self._n, round(self._chance.random() * LONGEST, 3))

    def long(self) -> list[Job[Any]]:
        task = self._chance.choice(("plain", "coroutine", "once", "aonce"))
        return self._enqueue(task, self._n, round(self._chance.random() * LONG, 3))

    def simple(self) -> list[Job[Any]]:
        kinds = ("values", "avalues", "flaky", "failing", "snoozing", "rated", "parent", "aparent", "overrun", "aoverrun")
        return self._enqueue(self._chance.choice(kinds), self._n)

    def many(self) -> list[Job[Any]]:
        task = self._chance.choice(("plain", "rows", "once"))
        return self._app.tasks[task].enqueue_many([(self._n + more,) for more in range(10)])

    def suicide(self) -> list[Job[Any]]:
        return self._enqueue("suicide", self._n)

    def stuck(self) -> list[Job[Any]]:
        return self._enqueue("stuck", self._n)

    def keyed(self) -> list[Job[Any]]:
        return self._enqueue("keyed", self._chance.randrange(4), self._n)

    def alone(self) -> list[Job[Any]]:
        conflict = self._chance.choice(("existing", "latest"))
        return self._enqueue("alone", self._chance.choice("abc"), self._n, on_conflict=conflict)

    def later(self) -> list[Job[Any]]:
        return self._enqueue("later", self._n, run_in=round(self._chance.random() * 2, 3))

    def brief(self) -> list[Job[Any]]:
        return self._enqueue("brief", self._n, expires=round(self._chance.random() * 0.2, 3))

    def cancelled(self) -> list[Job[Any]]:
        (job,) = self._enqueue("patient", self._n)
        _pause(self._chance.random() * 0.3)
        write("cancelled" if job.cancel() else "not cancelled", job=str(job.id))
        return [job]

    def chained(self) -> list[Job[Any]]:
        steps = [self._app.tasks["increase"].using(owner=self._flow()).s() for _ in range(LINKS - 1)]
        first = self._app.tasks["plain"].using(owner=self._flow()).s(self._n)
        return [chain(first, *steps).enqueue()]

    def grouped(self) -> list[Job[Any]]:
        member = self._app.tasks["plain"].using(owner=self._flow())
        job = group([member.s(self._n + more) for more in range(MEMBERS)], then=self._app.tasks["collect"].s()).enqueue()
        assert job.callback is not None
        return [job, job.callback]

    def _flow(self) -> str:
        """Each flow that was asked for, also in vain, has a name of its own."""
        return f"flow-{self._n}-{os.getpid()}"


async def _later(asked: Any, *args: object) -> Job[Any]:
    job: Job[Any] = await asked.aenqueue(*args)
    return job


Step = Callable[[Producer], list[Job[Any]]]
STEPS: dict[Step, float] = {
    Producer.usual: 40,
    Producer.simple: 15,
    Producer.many: 4,
    Producer.keyed: 6,
    Producer.alone: 6,
    Producer.later: 4,
    Producer.brief: 3,
    Producer.cancelled: 3,
    Producer.chained: 5,
    Producer.grouped: 4,
    Producer.long: 4,
    Producer.suicide: 0.5,
    Producer.stuck: 0.3,
}
"""What a step stores, and how often."""


if __name__ == "__main__":
    application = make_app()
    Producer(application, int(sys.argv[1]), int(sys.argv[2])).work(int(sys.argv[3]))
    application.close()
