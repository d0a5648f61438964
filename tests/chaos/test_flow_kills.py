"""Chains and groups while workers are killed and stand still: every one ends, every callback runs as its policy says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cherga import JobCancelled, JobState, QueueTasks, chain, group
from cherga.client.grouping import GroupJob
from cherga.client.handle import Job
from tests.flow_jobs import make_app
from tests.saboteur import Saboteur, check_that_nothing_is_left, count_ended, seeds
from tests.workers import Workplace

MEMBERS = 60
MORE_THAN_A_PAGE = 220
"""So many that they are cancelled in several writes."""
CHAINS = 12
DEEDS = (Saboteur.kill_process, Saboteur.kill_worker, Saboteur.kill_supervisor, Saboteur.stop_worker)
WAIT = 40.0


@pytest.fixture
def app(place: Workplace) -> Iterator[QueueTasks]:
    """Enqueues on the file of the workers."""
    app = make_app(place.url)
    yield app
    app.close()


@pytest.mark.parametrize("seed", seeds(4))
def test_chains_and_groups_are_complete_though_workers_die_at_any_moment(place: Workplace, app: QueueTasks, seed: int) -> None:
    flows = Flows(app)
    saboteur = Saboteur(place, seed, workers=2)
    flows.enqueue()
    saboteur.harm(9, lambda: count_ended(place), flows.jobs * 3 // 4, *DEEDS)
    flows.check()
    check_that_nothing_is_left(place)
    flows.check_members()
    assert any(job.row.claims > 1 for job in app.jobs(limit=1000))


class Flows:
    """Of each kind some, and what is to come of them."""

    def __init__(self, app: QueueTasks) -> None:
        self._s = app.s
        self._app = app
        self._whole: list[GroupJob[Any]] = []
        self._chains: list[Job[Any]] = []
        self._nested: list[Job[Any]] = []

    @property
    def jobs(self) -> int:
        """How many have been stored."""
        return sum(row.count for row in self._app.broker.counts())

    def enqueue(self) -> None:
        members = [self._s("number", n, 0.03) for n in range(MEMBERS)]
        some_fail = [self._s("fall") if n % 20 == 7 else member for n, member in enumerate(members)]
        self._whole = [group(members, then=self._s("collect")).enqueue() for _ in range(3)]
        self._forgiving = group(some_fail, then=self._s("collect"), policy="ended").enqueue()
        self._strict = group(some_fail, then=self._s("collect")).enqueue()
        many = some_fail + [self._s("number", n, 0.03) for n in range(MORE_THAN_A_PAGE)]
        self._together = group(many, then=self._s("collect"), policy="together").enqueue()
        self._chains = [self._chain(n).enqueue() for n in range(CHAINS)]
        self._nested = [self._nest(n).enqueue() for n in range(CHAINS)]

    def _chain(self, n: int) -> Any:
        return chain(self._s("number", n), *(self._s("increase") for _ in range(4)))

    def _nest(self, n: int) -> Any:
        """n, then side by side n+1, n+2 and [n+1, n+1], then the list of them."""
        inner = group(self._s("increase"), self._s("increase"))
        twice = chain(self._s("increase"), self._s("increase"))
        return chain(self._s("number", n), group(self._s("increase"), twice, inner), self._s("collect"))

    def check(self) -> None:
        everyone = list(range(MEMBERS))
        successful = [None if n % 20 == 7 else n for n in everyone]

        for job in self._whole:
            assert job.results(WAIT) == everyone
            assert _callback(job).result(WAIT) == everyone

        assert self._forgiving.results(WAIT) == successful
        assert _callback(self._forgiving).result(WAIT) == successful

        for job in (self._strict, self._together):
            with pytest.raises(JobCancelled):
                job.results(WAIT)

            assert _callback(job).refresh().status is JobState.CANCELLED

        assert [job.result(WAIT) for job in self._chains] == [n + 4 for n in range(CHAINS)]
        assert [job.result(WAIT) for job in self._nested] == [[n + 1, n + 2, [n + 1, n + 1]] for n in range(CHAINS)]

    def check_members(self) -> None:
        """Where nothing was cancelled together, every other member has run; for when all have ended."""
        statuses = [member.status for member in self._strict.members()]
        assert [status is JobState.SUCCEEDED for status in statuses] == [n % 20 != 7 for n in range(MEMBERS)]


def _callback(job: GroupJob[Any]) -> Job[Any]:
    assert job.callback is not None
    return job.callback
