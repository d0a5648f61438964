"""Limits, turns and pauses with arguments in the SQLite broker: what the contract cannot see."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from cherga.brokers.sqlite import SQLiteBroker
from cherga.brokers.sqlite.declare import define
from cherga.brokers.sqlite.empty import PAGE
from cherga.brokers.sqlite.lanes import KEYED
from cherga.brokers.sqlite.limits import stored_rules
from cherga.brokers.sqlite.offers import HELD_BACK, HINDRANCES
from cherga.brokers.sqlite.room import AHEAD
from cherga.brokers.sqlite.write import Write
from cherga.rules.pausing import write_arguments
from cherga.words.claim import ClaimAnswer, ClaimedJob, ClaimWish
from cherga.words.inspection import JobFilter
from cherga.words.job import JobState
from cherga.words.limits import LIMIT, OVERRIDE, LimitRule, Overflow, Rate
from cherga.words.push import Edge
from cherga.words.session import Death
from cherga.words.settlement import Charge, Settlement
from cherga.words.shared import Definition, PauseScope
from tests.sqlite_files import TASKS, claim, new_job, opened, push_each, raw, success

SEVEN = PauseScope(None, "export", write_arguments({"user": 7}))


class TestEffort:
    """What a call costs, in instructions that SQLite carries out."""

    def test_a_claim_with_few_free_slots_does_not_read_all_keys(self, tmp_path: Path) -> None:
        with opened(tmp_path / "few.db") as few, opened(tmp_path / "many.db") as many:
            set_limit(few, "key:k", max_running=1)
            set_limit(many, "key:k", max_running=1)
            push_keys(few, 30)
            push_keys(many, 3000)
            least, most = claiming(few), claiming(many)
            assert least > 100
            assert most < 3 * least

    def test_keys_that_are_full_cost_a_look_at_their_names_alone(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            set_limit(broker, "key:k", max_running=1)
            push_each(broker, 2, limit_keys=("key:k|full",))
            claim(broker)
            few = steps(broker, lambda: claim(broker))
            push_each(broker, 3000, limit_keys=("key:k|full",))
            assert steps(broker, lambda: claim(broker)) < few + 100

    def test_a_claim_without_rules_asks_no_more_than_it_did(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            push_each(broker, 10)
            claim(broker, limit=1)
            wish = ClaimWish(session="ours.1", limit=5, tasks=TASKS)
            statements = [event["sql"] for event in trace(broker, apsw.SQLITE_TRACE_STMT, lambda: broker.claim(wish))]
            assert not [sql for sql in statements if "definitions" in sql]
            assert not [sql for sql in statements if "rates" in sql or "counters_running" in sql or "turn" in sql]

    def test_limits_that_have_not_changed_are_not_read_again(self, tmp_path: Path) -> None:
        def work(broker: SQLiteBroker) -> None:
            push_each(broker, 1)
            broker.settle([success(job) for job in claim(broker)])

        with opened(tmp_path / "jobs.db") as broker:
            set_limit(broker, "key:k", max_running=1)
            work(broker)
            few = steps(broker, lambda: work(broker))
            broker.define([rule_of(f"key:k|{number}", OVERRIDE, max_running=2) for number in range(2000)])
            work(broker)
            assert steps(broker, lambda: work(broker)) < few + 100

    def test_limits_that_another_process_changes_hold_for_the_next_claim(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker, opened(tmp_path / "jobs.db") as other:
            set_limit(broker, "queue:default", max_running=1)
            push_each(broker, 9)
            assert len(claim(broker)) == 1

            for most in (3, 5):
                set_limit(other, "queue:default", max_running=most)
                assert len(claim(broker)) == 2

    def test_limits_that_were_taken_back_in_the_same_transaction_never_held(self, tmp_path: Path) -> None:
        def define_and_fail(write: Write) -> None:
            define(write, [rule_of("queue:default", max_length=1)])
            assert stored_rules(write).lengths
            raise LookupError

        with opened(tmp_path / "jobs.db") as broker, opened(tmp_path / "jobs.db") as other:
            with pytest.raises(LookupError):
                broker._write(define_and_fail)

            other.define([rule_of("queue:default", max_length=3)])
            assert [broker.push([[new_job()]])[0].refused is None for _ in range(4)] == [True, True, True, False]

    def test_limited_jobs_are_settled_as_cheaply_as_plain_ones(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            push_each(broker, 300)
            plain = settling(broker, claim(broker)[:100])
            set_limit(broker, "key:k", max_running=100)
            push_each(broker, 300, limit_keys=("key:k|1",))
            assert settling(broker, claim(broker)) < 1.5 * plain

    def test_held_jobs_are_looked_at_once(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            broker.pause(SEVEN, True)
            push_each(broker, 500, payload=payload(7))
            first = steps(broker, lambda: claim(broker, limit=10))
            assert steps(broker, lambda: claim(broker, limit=10)) < first / 10
            push_each(broker, 1, payload=payload(8))
            assert len(claim(broker, limit=10)) == 1


class TestHolding:
    def test_a_claim_moves_only_so_many_out_of_the_way_and_asks_to_go_on(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db", durability="process") as broker:
            broker.pause(SEVEN, True)
            push_each(broker, HELD_BACK + 500, payload=payload(7))
            (free,) = push_each(broker, 1, payload=payload(8))
            first, second = claim_answer(broker), claim_answer(broker)
            assert (first.jobs, first.again_in) == ([], 0.0)
            assert ([job.id for job in second.jobs], second.again_in) == ([free.id], None)

    def test_held_jobs_come_back_in_their_order_one_claim_after_the_other(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            broker.pause(SEVEN, True)
            jobs = [push_each(broker, 1, payload=payload(7 + n % 2))[0] for n in range(20)]
            assert [job.id for job in claim(broker)] == [job.id for job in jobs[1::2]]
            broker.pause(SEVEN, False)
            assert [claim(broker, limit=1)[0].id for _ in range(10)] == [job.id for job in jobs[::2]]
            assert claim(broker) == []

    def test_a_claim_of_nothing_brings_nothing_back(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            broker.pause(SEVEN, True)
            push_each(broker, 3, payload=payload(7))
            claim(broker)
            broker.pause(SEVEN, False)
            assert claim(broker, limit=0) == []
            assert len(claim(broker)) == 3


class TestManyAtOnce:
    def test_a_push_of_many_into_a_full_queue_leaves_the_newest(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db", durability="process") as broker:
            set_limit(broker, "queue:default", max_length=100, overflow=Overflow.DROP_OLDEST)
            old = push_each(broker, 50, delay=60)
            parent = push_each(broker, 1)[0]
            broker.push([[new_job(edges=(Edge(parent.id),))]])
            jobs = push_each(broker, 2 * AHEAD + 250)
            assert {row.id for row in broker.find(JobFilter(unfinished=True), limit=200)} == {job.id for job in jobs[-100:]}
            assert [row and row.state for row in broker.get([old[0].id, jobs[0].id])] == [JobState.CANCELLED] * 2

    def test_the_first_of_many_rates_to_open_is_told(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db", durability="process") as broker:
            set_limit(broker, "key:k", rate=Rate(1, 3600))

            for _ in range(2):
                push_keys(broker, HINDRANCES + 50)

            claim(broker, limit=5)
            broker.time_offset = 600
            assert len(claim(broker)) == HINDRANCES + 45
            broker.time_offset = 900
            again_in = claim_answer(broker).again_in
            assert again_in is not None
            assert 2670 < again_in <= 2700


class TestEmptyLanes:
    def test_lanes_with_keys_go_with_their_last_job(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker, raw(tmp_path / "jobs.db") as db:
            push_keys(broker, 50)
            broker.settle([success(job, keep=1) for job in claim(broker)[:49]])
            broker.time_offset = 2
            assert broker.prune() == 49
            broker.prune()
            assert db.execute("select count(*) from lanes where number >= ?", (KEYED,)).get == 1
            assert db.execute("select count(*) from counters where lane >= ? and count <> 0", (KEYED,)).get == 1

    def test_lanes_of_jobs_that_were_not_kept_all_go_at_once(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db", durability="process") as broker, raw(tmp_path / "jobs.db") as db:
            push_keys(broker, 3 * PAGE)
            broker.settle([success(job, keep=0) for job in claim(broker, limit=3 * PAGE)])
            assert db.execute("select count(*) from lanes where number >= ?", (KEYED,)).get == 3 * PAGE
            broker.prune()
            assert db.execute("select count(*) from lanes where number >= ?", (KEYED,)).get == 0
            assert db.execute("select count(*) from counters where lane >= ?", (KEYED,)).get == 0

    def test_a_number_is_never_used_again(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker, raw(tmp_path / "jobs.db") as db:
            numbers = []

            for _ in range(3):
                push_keys(broker, 1)
                numbers.append(db.execute("select max(number) from lanes").get)
                broker.settle([success(job, keep=0) for job in claim(broker)])
                broker.prune()

            assert len(set(numbers)) == 3

    def test_another_process_meets_the_new_lane_of_an_old_key(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as ours, opened(tmp_path / "jobs.db") as theirs:
            set_limit(ours, "key:k", max_running=1)

            for broker, other in [(ours, theirs), (theirs, ours)] * 2:
                push_keys(broker, 1)
                push_keys(other, 1)
                (job,) = claim(other)
                assert claim(broker) == []
                broker.settle([success(job, keep=0)])
                other.settle([success(one, keep=0) for one in claim(broker)])
                broker.prune()

    def test_a_file_whose_keys_stand_among_the_first_lanes_goes_on(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker, raw(tmp_path / "jobs.db") as db:
            db.execute(
                "insert into lanes (number, queue, task, limits, suspect) values (1, 'default', 'export', '[\"key:k|0\"]', 0)"
            )
            set_limit(broker, "key:k", max_running=1)
            push_keys(broker, 2)
            push_keys(broker, 1)
            push_each(broker, 1)
            assert len(claim(broker)) == 3
            broker.prune()
            assert claim(broker) == []


def set_limit(broker: SQLiteBroker, name: str, **rule: Any) -> None:
    """Declare a rule."""
    broker.define([rule_of(name, **rule)])


def rule_of(name: str, kind: str = LIMIT, **rule: Any) -> Definition:
    """The declaration of a rule."""
    return Definition(kind, name, msgspec.msgpack.encode(LimitRule(**rule)))


def push_keys(broker: SQLiteBroker, count: int) -> None:
    """Push a job for each of so many values of a key."""
    broker.push([[new_job(limit_keys=(f"key:k|{number}",))] for number in range(count)])


def payload(user: int) -> bytes:
    """The arguments of a job for this user."""
    return msgspec.msgpack.encode({"user": user})


def claim_answer(broker: SQLiteBroker) -> ClaimAnswer:
    """What a claim of ten jobs gives."""
    claim(broker, limit=0)
    return broker.claim(ClaimWish(session="ours.1", limit=10, tasks=TASKS))


def claiming(broker: SQLiteBroker) -> int:
    """What it costs to claim ten jobs, for the second time."""
    claim(broker, limit=10)
    return steps(broker, lambda: claim(broker, limit=10))


def settling(broker: SQLiteBroker, jobs: Sequence[ClaimedJob]) -> int:
    """What it costs to end these hundred jobs."""
    assert len(jobs) == 100
    return steps(broker, lambda: broker.settle([success(job) for job in jobs]))


def steps(broker: SQLiteBroker, call: Callable[[], object]) -> int:
    """Instructions that SQLite carries out for this call."""
    profiles = trace(broker, apsw.SQLITE_TRACE_PROFILE, call)
    return sum(profile["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"] for profile in profiles)


def trace(broker: SQLiteBroker, mask: int, call: Callable[[], object]) -> list[Any]:
    """What the connection that writes does meanwhile."""
    events: list[Any] = []
    db = broker._store._db
    db.trace_v2(mask, events.append, id=events)
    call()
    db.trace_v2(0, None, id=events)
    return events


@pytest.mark.parametrize("seed", range(4))
def test_every_lane_with_keys_knows_its_best_job(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    with opened(tmp_path / "jobs.db", durability="process") as broker, raw(tmp_path / "jobs.db") as db:
        set_limit(broker, "key:k", max_running=3, rate=Rate(50, 60))

        for _ in range(150):
            chance.choice([_push, _push, _claim, _cancel, _die, _pause, _tidy])(broker, chance)
            assert db.execute(_STALE).fetchall() == []


_STALE = f"""
select number, head, rank from lanes left join (select lane, min(rank) as rank from jobs where state = 2 group by lane)
on lane = number where number between {KEYED} and {2 * KEYED - 1} and head is not rank
"""


def _push(broker: SQLiteBroker, chance: random.Random) -> None:
    keys = (f"key:k|{chance.randrange(3)}",)
    jobs = [
        new_job(
            limit_keys=keys,
            priority=chance.randrange(3),
            payload=payload(chance.randrange(5, 9)),
            delay=chance.choice([None, 20]),
        )
        for _ in range(chance.randrange(1, 5))
    ]
    broker.push([[job] for job in jobs])


def _claim(broker: SQLiteBroker, chance: random.Random) -> None:
    for job in claim(broker, limit=chance.randrange(1, 6), alone=chance.random() < 0.5):
        match chance.randrange(4):
            case 0:
                broker.settle([success(job, keep=chance.choice([0, 10]))])
            case 1:
                broker.settle([Settlement(job.id, job.sequence, job.token, JobState.READY, charge=Charge.REFUND)])
            case 2:
                broker.settle([Settlement(job.id, job.sequence, job.token, JobState.SCHEDULED, delay=15.0)])


def _cancel(broker: SQLiteBroker, chance: random.Random) -> None:
    ids = [row.id for row in broker.find(JobFilter(), limit=50) if chance.random() < 0.2]
    broker.move(ids, chance.choice([JobState.CANCELLED, JobState.READY]))


def _die(broker: SQLiteBroker, chance: random.Random) -> None:
    broker.reap([Death("ours.1", chance.choice([None, frozenset()]), chance.random() < 0.5)])


def _pause(broker: SQLiteBroker, chance: random.Random) -> None:
    broker.pause(SEVEN, chance.random() < 0.5)


def _tidy(broker: SQLiteBroker, chance: random.Random) -> None:
    broker.time_offset += chance.randrange(20)
    broker.promote()
    broker.prune()
