"""Memory brokers with one fault each. The contract suite must find every one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from msgspec.structs import replace

from cherga.brokers.memory import MemoryBroker
from cherga.brokers.memory.kinship import Kinship
from cherga.brokers.memory.listening import MemoryJobListener, MemoryListener
from cherga.words.claim import ClaimAnswer, ClaimWish, Promoted
from cherga.words.job import JobState
from cherga.words.push import NewJob, PushAnswer
from cherga.words.report import Report
from cherga.words.session import Death
from cherga.words.settlement import Charge, Settled, Settlement
from cherga.words.shared import Shared


class WithoutFence(MemoryBroker):
    """Takes any settlement of a running job for one of the current attempt."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        return super().settle([replace(each, token=self._token(each)) for each in settlements])

    def report(self, reports: Sequence[Report]) -> list[bool]:
        return super().report([replace(each, token=self._token(each)) for each in reports])

    def _token(self, of: Settlement | Report) -> int:
        row = self._store.rows.get(of.id)
        return of.token if row is None or row.token is None else row.token


class CountingAtSettle(MemoryBroker):
    """Counts an attempt when it ends, so that a crash costs none."""

    def claim(self, wish: ClaimWish) -> ClaimAnswer:
        answer = super().claim(wish)

        for job in answer.jobs:
            row = self._store.rows[job.id]
            self._store.rows[job.id] = replace(row, attempt=row.attempt - 1)

        return answer

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        for each in settlements:
            row = self._store.rows.get(each.id)

            if row and row.token == each.token and row.state is JobState.RUNNING:
                self._store.rows[each.id] = replace(row, attempt=row.attempt + 1)

        return super().settle(settlements)


class Unfair(MemoryBroker):
    """Hands out the last that came."""

    def claim(self, wish: ClaimWish) -> ClaimAnswer:
        answer = super().claim(replace(wish, limit=10_000))
        back, kept = answer.jobs[: -wish.limit], answer.jobs[-wish.limit :]
        self.settle([Settlement(job.id, job.sequence, job.token, JobState.READY, charge=Charge.REFUND) for job in back])
        return replace(answer, jobs=kept[::-1])


class LosingReleases(MemoryBroker):
    """Releases the first page of dependants and forgets the rest."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        answers = super().settle(settlements)
        self._store.releases.clear()
        return answers


class ForgettingDependants(MemoryBroker):
    """Releases nobody."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        waiting, self._store.waiting = self._store.waiting, {}
        answers = super().settle(settlements)
        self._store.waiting = waiting
        return answers


class HandingOutTwice(MemoryBroker):
    """Leaves what it handed out where it was."""

    def claim(self, wish: ClaimWish) -> ClaimAnswer:
        answer = super().claim(wish)

        for job in answer.jobs:
            self._store.change(self._store.rows[job.id], state=JobState.READY)

        return answer


class StoringHalves(MemoryBroker):
    """Stores what it can of a group."""

    def push(self, groups: Sequence[Sequence[NewJob]]) -> list[PushAnswer]:
        return [self._push_singly(group) for group in groups]

    def _push_singly(self, group: Sequence[NewJob]) -> PushAnswer:
        answers = super().push([[job] for job in group])
        refused = next((answer.refused for answer in answers if answer.refused), None)
        return PushAnswer(() if refused else tuple(job for answer in answers for job in answer.jobs), refused)


class WithoutKeys(MemoryBroker):
    """Knows no unique keys."""

    def push(self, groups: Sequence[Sequence[NewJob]]) -> list[PushAnswer]:
        return super().push([[replace(job, unique=None) for job in group] for group in groups])


class ForgivingCrashes(MemoryBroker):
    """Charges no crash."""

    def reap(self, deaths: Sequence[Death] = (), limit: int = 1000) -> list[UUID]:
        return super().reap([replace(death, started=frozenset()) for death in deaths], limit)


class WithoutGrace(MemoryBroker):
    """Takes every lease for expired that ran out while nobody could renew it."""

    def reap(self, deaths: Sequence[Death] = (), limit: int = 1000) -> list[UUID]:
        self._store.swept = None
        return super().reap(deaths, limit)


class _Impatient(MemoryListener):
    def wait(self, timeout: float | None) -> bool:
        return super().wait(0)


class Deaf(MemoryBroker):
    """Wakes nobody."""

    def listen(self, topics: Iterable[str]) -> MemoryListener:
        return _Impatient(frozenset(), lambda _: None)

    def listen_to_jobs(self) -> MemoryJobListener:
        listener = super().listen_to_jobs()
        listener.note = lambda id: None  # type: ignore[method-assign]
        return listener


class TickingTwice(MemoryBroker):
    """Fires for everybody who comes."""

    def tick(self, schedule: str, due: float, following: float | None, group: Sequence[NewJob]) -> bool:
        self.push([group])
        return True


class SwappingBlindly(MemoryBroker):
    """Swaps whatever version is named."""

    def swap(self, key: str, version: int, value: bytes | None) -> bool:
        return super().swap(key, self.load([key])[0].version, value)


class ReusingVersions(MemoryBroker):
    """Counts the versions of each value by themselves, from one after it was deleted."""

    def swap(self, key: str, version: int, value: bytes | None) -> bool:
        swapped = super().swap(key, version, value)

        if swapped and value is not None:
            self._store.shared[key] = Shared(value, version + 1)

        return swapped


class PruningParents(MemoryBroker):
    """Deletes what dependants still wait for, and members before their group."""

    def prune(self, limit: int = 500) -> int:
        kinship, self._store.kinship = self._store.kinship, Kinship()

        for row in self._store.rows.values():
            if row.state.final:
                self._store.outdated.add(row.prune_at or 0.0, row.sequence, row.id)

        count = super().prune(limit)
        self._store.kinship = kinship
        return count


class PushingChildrenFirst(MemoryBroker):
    """Pushes children before it looks at the token."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        self.push([group for each in settlements for group in each.children])
        return super().settle(settlements)


class Early(MemoryBroker):
    """Promotes what will be due soon."""

    def promote(self, limit: int = 1000) -> Promoted:
        self.time_offset += 100
        promoted = super().promote(limit)
        self.time_offset -= 100
        return promoted


class IgnoringCancels(MemoryBroker):
    """Does not mark what runs."""

    def move(self, ids: Sequence[UUID], to: JobState, message: str | None = None, family: bool = False) -> list[UUID]:
        rows = [row for row in self.get(ids) if row]
        super().move([row.id for row in rows if row.state is not JobState.RUNNING], to, message, family)
        return list(ids)


class RepeatingSettlements(MemoryBroker):
    """Takes a repeated settlement for a stale one."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        over = [self._is_over(each) for each in settlements]
        answers = super().settle(settlements)
        return [Settled.REFUSED if late else answer for late, answer in zip(over, answers, strict=True)]

    def _is_over(self, settlement: Settlement) -> bool:
        row = self._store.rows.get(settlement.id)
        return row is None or row.state is not JobState.RUNNING


class MixingSuspects(MemoryBroker):
    """Hands out suspects among the others."""

    def claim(self, wish: ClaimWish) -> ClaimAnswer:
        suspect = super().claim(replace(wish, limit=min(1, wish.limit), alone=True))
        others = super().claim(replace(wish, limit=wish.limit - len(suspect.jobs)))
        return replace(others, jobs=suspect.jobs + others.jobs)
