"""Calls for many jobs: one attempt of a batch task is one call, and each of its jobs ends by itself."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from math import inf
from typing import Any

from msgspec.structs import replace

from cherga.client.context import Context
from cherga.rules.decide import Policy
from cherga.words.claim import ClaimedJob
from cherga.words.outcomes import Outcome
from cherga.words.push import OnCrash
from cherga.worker.assignment import Assignment, Steps


class Call(Assignment):
    """Stands for all its jobs while the function runs: its time is up, or it is interrupted, for all at once.

    Its own ``job`` is the first one under a token that no broker knows.
    """

    __slots__ = ("members", "open", "outcomes", "places", "present")

    def __init__(self, members: Sequence[Assignment], places: list[int]) -> None:
        first = members[0]
        super().__init__(replace(first.job, token=secrets.randbits(62) | 1), first.task, _policy(members))
        self.members = members
        self.open = {member.job.token: member for member in members}
        """The jobs that nobody has settled yet."""
        self.outcomes: dict[int, Outcome] = {}
        """The facts about each job, whatever becomes of the call; by claim token."""
        self.places = places
        """The places in the table in shared memory that say that they run."""
        self.present: list[Assignment] = []
        """The jobs whose values the function received, in its order."""
        self.session = first.session
        self.feed = next((member.feed for member in members if member.feed is not None), None)

    @property
    def pending(self) -> bool:
        """The call waits for a slot."""
        return self.slot < 0 and bool(self.open)

    @property
    def jobs(self) -> Sequence[ClaimedJob]:
        return [member.job for member in self.members]

    def take(self, member: Assignment) -> bool:
        """True when the caller is the one who settles this job: true once."""
        return self.open.pop(member.job.token, None) is not None

    def undecided(self) -> list[Assignment]:
        return [each for token, each in list(self.open.items()) if each.verdict is None and token not in self.outcomes]

    def end_of(self, member: Assignment, otherwise: Outcome) -> Outcome:
        """The outcome of this job when the call ends so."""
        return member.verdict or self.outcomes.get(member.job.token) or otherwise

    def once(self) -> frozenset[int]:
        """Tokens of those that must not run twice."""
        return frozenset(each.job.token for each in self.members if each.policy.on_crash is OnCrash.FAIL)


class BatchContext(Context):
    """``ctx`` in a batch: what it tells, it tells of every job; what it says of one job is that of the first."""

    __slots__ = ("jobs",)

    is_batch = True

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.jobs: Sequence[ClaimedJob] = ()
        self._meta = {}


class Verdicts:
    """Takes down what a running batch says of its jobs; ``steps`` are those for one of them."""

    def __init__(self, call: Call, steps: Steps[Assignment]) -> None:
        self._call = call
        self._steps = steps

    def succeed(self, place: int, result: object) -> None:
        member = self._call.present[place]
        self._call.outcomes[member.job.token] = self._steps.returned(member, result)

    def fail(self, place: int, error: BaseException) -> None:
        member = self._call.present[place]
        self._call.outcomes[member.job.token] = self._steps.raised(member, error)

    def share(self, results: Sequence[object]) -> None:
        """Give each job its own, where nothing was said of it before. An exception fails it."""
        for place, (member, result) in enumerate(zip(self._call.present, results, strict=True)):
            if member.job.token in self._call.outcomes:
                continue

            if isinstance(result, BaseException):
                self.fail(place, result)
            else:
                self.succeed(place, result)


def misfit(value: object, jobs: int) -> str | None:
    """The reason why a batch of so many jobs cannot return this; None when it can."""
    if not isinstance(value, list | tuple):
        return f"the result of a batch has to be None or a list: expected {jobs} results, got {type(value).__name__}"

    if len(value) != jobs:
        return f"the result of a batch has to be as long as the batch: expected {jobs} results, got {len(value)}"

    return None


def _policy(members: Sequence[Assignment]) -> Policy:
    """The task's, with the shortest of the times that the jobs have; it runs once if one of them does."""
    limit = min((inf if each.policy.max_time is None else each.policy.max_time for each in members), default=inf)
    on_crash = OnCrash.FAIL if any(each.policy.on_crash is OnCrash.FAIL for each in members) else OnCrash.RETRY
    return replace(members[0].task.policy, max_time=None if limit == inf else limit, on_crash=on_crash)
