"""Queues that hold only so many waiting jobs: whether a group still finds room, and what makes way for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import msgspec

from cherga.brokers.sqlite.declared import Rules
from cherga.brokers.sqlite.endings import Ending, end
from cherga.brokers.sqlite.held import find_held
from cherga.brokers.sqlite.limits import stored_rules
from cherga.brokers.sqlite.rows import AWAITED, CANCELLED
from cherga.brokers.sqlite.write import Write
from cherga.rules.endings import QUEUE_WAS_FULL
from cherga.rules.limits import queue_limit
from cherga.rules.refusals import full_queue
from cherga.words.job import Reason
from cherga.words.limits import LimitRule, Overflow
from cherga.words.push import NewJob

AHEAD = 200
"""Jobs that are looked up ahead, because the next groups of the push will need room too."""

_WAITING = """
select total(count) from lanes cross join counters on counters.lane = lanes.number and counters.state <= 3
where lanes.queue = ?
"""

_OLDEST = """
select json_group_array(sequence) from (
    select sequence from jobs indexed by jobs_ready
    where state = 2 and lane in (select number from lanes where queue = ?1)
    and sequence not in (select value from json_each(?3))
    union all
    select sequence from jobs indexed by jobs_due
    where state = 1 and +lane in (select number from lanes where queue = ?1)
    and sequence not in (select value from json_each(?3))
    order by sequence limit ?2
)
"""

_read_numbers = msgspec.json.Decoder(list[int]).decode
_write_numbers = msgspec.json.Encoder().encode


class Room:
    """The room that the queues of one push still have."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._rules: Rules = stored_rules(write)
        self._counts: dict[str, int] = {}
        self._oldest: dict[str, list[int]] = {}

    def is_limited(self, groups: Sequence[Sequence[NewJob]]) -> bool:
        """True when any of the groups' queues holds only so many."""
        return self._rules.lengths and any(self._cap(job.queue) is not None for group in groups for job in group)

    def make(self, queues: Sequence[str], spared: Collection[int]) -> str | None:
        """Find room for one job more in each of these queues, the ``spared`` jobs staying; else say why there is none."""
        wanted = Counter(queue for queue in queues if self._cap(queue) is not None)
        missing = {queue: self._missing(queue, number) for queue, number in wanted.items()}
        dropped: list[int] = []

        for queue, number in missing.items():
            oldest = self._find_oldest(queue, number, spared)

            if len(oldest) < number:
                return self._refuse(queue)

            dropped += oldest

        for queue, number in wanted.items():
            self._counts[queue] += number - missing[queue]
            self._oldest[queue] = self._oldest.get(queue, [])[missing[queue] :]

        for sequence in dropped:
            self._drop(sequence)

        return None

    def _missing(self, queue: str, number: int) -> int:
        """The number of jobs too many that the queue would hold with this number more."""
        rule = self._cap(queue)
        return 0 if rule is None or rule.max_length is None else max(0, self._waiting(queue) + number - rule.max_length)

    def _waiting(self, queue: str) -> int:
        if queue not in self._counts:
            self._counts[queue] = int(self._write.value(_WAITING, (queue,))) + self._noted(queue)

        return self._counts[queue]

    def _noted(self, queue: str) -> int:
        """The changes of this transaction so far."""
        noted = [(self._write.lanes.get(self._write.db, lane), count) for lane, count in self._write.noted_waiting()]
        return sum(count for lane, count in noted if lane is not None and lane.queue == queue)

    def _find_oldest(self, queue: str, number: int, spared: Collection[int]) -> list[int]:
        """The jobs to drop; too few where the queue drops none, or has none that it could drop."""
        rule = self._cap(queue)

        if not number or rule is None or rule.overflow is not Overflow.DROP_OLDEST:
            return []

        if spared:
            self._oldest.clear()
            return self._read_oldest(queue, number, spared)

        if len(self._oldest.get(queue, ())) < number:
            self._oldest[queue] = self._read_oldest(queue, number + AHEAD, ())

        return self._oldest[queue][:number]

    def _read_oldest(self, queue: str, number: int, spared: Collection[int]) -> list[int]:
        return _read_numbers(self._write.value(_OLDEST, (queue, number, _write_numbers(list(spared)).decode())))

    def _drop(self, sequence: int) -> None:
        held = find_held(self._write, sequence)

        if held is not None and held.traits & AWAITED:
            self._counts.clear()  # its dependants may end with it
            self._oldest.clear()

        if held is not None:
            end(self._write, held, Ending(to=CANCELLED, reason=Reason.DROPPED, message=QUEUE_WAS_FULL))

    def _refuse(self, queue: str) -> str:
        rule = self._cap(queue)
        allowed = 0 if rule is None else rule.max_length
        return full_queue(queue, self._waiting(queue), allowed or 0)

    def _cap(self, queue: str) -> LimitRule | None:
        rule = self._rules.rule(queue_limit(queue))
        return None if rule is None or rule.max_length is None else rule
