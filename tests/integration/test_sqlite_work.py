"""Pushing, claiming and settling: what the contract cannot see, such as what it costs and what stands in the tables."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import apsw
import msgspec
import pytest

from cherga.brokers.sqlite import SQLiteBroker, look
from cherga.rules.limits import queue_limit
from cherga.rules.settings import BrokerSettings
from cherga.testing import wait_until
from cherga.words.claim import ClaimWish
from cherga.words.errors import BrokerUnavailable
from cherga.words.inspection import JobFilter
from cherga.words.job import Attempt, JobRow, JobState, Reason
from cherga.words.limits import LIMIT, LimitRule
from cherga.words.push import GROUP_TASK, Edge, EdgePolicy, JobHead, NewJob
from cherga.words.session import Death
from cherga.words.settlement import Charge, Settled, Settlement
from cherga.words.shared import Definition, PauseScope
from cherga.words.unique import OnConflict, Unique, UniqueWhile
from tests.sqlite_files import TASKS, claim, new_job, opened, push_each, raw, success


class TestClosedLanes:
    def test_jobs_that_are_closed_cost_a_claim_nothing(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db", durability="process") as broker:
            broker.pause(PauseScope("paused"), True)
            few, many = self._effort(broker, 1), self._effort(broker, 5000)
            assert few > 100
            assert many < few + 50

    def _effort(self, broker: SQLiteBroker, closed: int) -> int:
        """Instructions that SQLite carries out to claim ten jobs beside so many closed ones."""
        push_each(broker, closed, queue="paused")
        push_each(broker, closed, task="unknown")
        push_each(broker, 10)
        profiles = trace(broker, apsw.SQLITE_TRACE_PROFILE, lambda: claim(broker, limit=10))
        return sum(profile["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"] for profile in profiles)

    @pytest.mark.parametrize("wish", [{"tasks": frozenset({"other"})}, {"queues": ("other",)}], ids=["task", "queue"])
    def test_a_claim_waits_for_no_writer_while_no_job_is_ready_for_it(self, tmp_path: Path, wish: dict[str, Any]) -> None:
        with opened(tmp_path / "jobs.db", BrokerSettings(busy_timeout=0.05)) as broker:
            push_each(broker, 3)
            known = ClaimWish(**{"session": "ours.1", "limit": 5, "tasks": TASKS, **wish})

            with raw(tmp_path / "jobs.db") as db:
                db.execute("begin immediate")
                answer = broker.claim(known)
                assert answer.jobs == []
                assert answer.unknown == ({"export"} if "tasks" in wish else set())

                with pytest.raises(BrokerUnavailable):
                    broker.claim(ClaimWish(session="ours.1", limit=5, tasks=TASKS))

    @pytest.mark.parametrize("obstacle", ["a pause", "a limit key", "a suspect"])
    def test_where_more_than_lanes_has_a_say_it_looks_at_all(self, tmp_path: Path, obstacle: str) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            push_each(broker, 1)
            claim(broker)
            push_each(broker, 1)
            other = ClaimWish(session="ours.1", limit=5, tasks=frozenset({"other"}))
            assert not trace(broker, apsw.SQLITE_TRACE_STMT, lambda: broker.claim(other))

            if obstacle == "a pause":
                broker.pause(PauseScope("elsewhere"), True)
            elif obstacle == "a limit key":
                push_each(broker, 1, limit_keys=("key:k|1",))
            else:
                claim(broker)
                broker.reap([Death("ours.1")])

            assert trace(broker, apsw.SQLITE_TRACE_STMT, lambda: broker.claim(other))

    def test_expired_jobs_are_passed_over(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            push_each(broker, 500, expires_in=10)
            (good,) = push_each(broker, 1)
            broker.time_offset = 11
            assert [job.id for job in claim(broker, limit=1)] == [good.id]

    def test_an_expired_suspect_is_not_in_the_way(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            push_each(broker, 1, expires_in=10)
            claim(broker)
            broker.reap([Death("ours.1")])
            (good,) = push_each(broker, 1)
            broker.time_offset = 11
            assert [job.id for job in claim(broker, alone=True)] == [good.id]

    @pytest.mark.parametrize("weights", [(3, 1), (1, 3), (1, 0), (0, 0)])
    def test_a_weighted_claim_is_filled_whatever_the_queues_hold(self, tmp_path: Path, weights: tuple[int, int]) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            push_each(broker, 30, queue="a")
            push_each(broker, 5, queue="b")
            claimed = [len(claim(broker, limit=20, queues=("a", "b"), weights=weights)) for _ in range(3)]
            assert claimed == [20, 15, 0]

    def test_many_lanes_are_merged_by_priority_and_age(self, tmp_path: Path) -> None:
        chance = random.Random(1)

        with opened(tmp_path / "jobs.db") as broker:
            jobs = [new_job(queue=f"q{chance.randrange(40)}", priority=chance.randint(-2, 2)) for _ in range(400)]
            broker.push([[job] for job in jobs])
            claimed = [job.id for limit in (1, 7, 50, 1000) for job in claim(broker, limit=limit)]
            assert claimed == [job.id for job in sorted(jobs, key=lambda job: -job.priority)]


class TestSteps:
    def test_a_batch_takes_few_steps_of_sqlite_however_many_jobs_it_holds(self, tmp_path: Path) -> None:
        """At each step another thread may take the interpreter and keep it for milliseconds, the file being locked."""
        with opened(tmp_path / "jobs.db") as broker:
            one, many = steps(broker, lambda: live(broker, 1)), steps(broker, lambda: live(broker, 1000))
            assert 10 < one < 50
            assert many < one + 50


def live(broker: SQLiteBroker, count: int) -> None:
    """The whole lives of so many jobs."""
    push_each(broker, count)
    broker.settle([success(job) for job in claim(broker)])


def steps(broker: SQLiteBroker, call: Callable[[], object]) -> int:
    """How many statements are begun, and rows read, on the connection that writes."""
    return len(trace(broker, apsw.SQLITE_TRACE_STMT | apsw.SQLITE_TRACE_ROW, call))


def trace(broker: SQLiteBroker, mask: int, call: Callable[[], object]) -> list[Any]:
    """What the connection that writes does meanwhile."""
    events: list[Any] = []
    db = broker._store._db
    db.trace_v2(mask, events.append, id=events)
    call()
    db.trace_v2(0, None, id=events)
    return events


class TestAlone:
    """A single plain job is stored in fewer statements than others."""

    FIELDS: tuple[dict[str, Any], ...] = (
        {},
        {"priority": 5, "owner": "user:7", "queue": "mail", "head": msgspec.msgpack.encode(JobHead(tags=("a",)))},
        {"delay": 60.0},
        {"expires_in": 60.0},
        {"expires_at": 1.0},
        {"limit_keys": ("key:k|1",)},
        {"parent": UUID(int=7)},
    )

    def test_it_stands_as_one_that_is_pushed_with_others(self, tmp_path: Path) -> None:
        with opened(tmp_path / "one.db") as one, opened(tmp_path / "many.db") as many:
            jobs = [new_job(**fields) for fields in self.FIELDS]
            alone = [answer for job in jobs for answer in one.push([[job]])]
            assert alone == many.push([[job] for job in jobs])
            assert [facts(row) for row in one.find(JobFilter())] == [facts(row) for row in many.find(JobFilter())]
            assert one.counts() == many.counts()

    @pytest.mark.parametrize("fields", FIELDS, ids=["plain", "all", "later", "expiring", "expired", "keyed", "child"])
    def test_a_second_time_it_is_there_and_counted_once(self, tmp_path: Path, fields: dict[str, Any]) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            job = new_job(**fields)
            (first,), (second,) = broker.push([[job]]), broker.push([[job]])
            assert not first.jobs[0].existing
            assert second.jobs[0] == msgspec.structs.replace(first.jobs[0], existing=True)
            assert sum(each.count for each in broker.counts()) == 1

    def test_a_queue_that_holds_only_so_many_holds_no_more_of_them(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            rule = LimitRule(max_length=2)
            broker.define([Definition(LIMIT, queue_limit("default"), msgspec.msgpack.encode(rule), 1)])
            answers = [broker.push([[new_job()]])[0] for _ in range(4)]
            assert [answer.refused is None for answer in answers] == [True, True, False, False]
            assert sum(each.count for each in broker.counts()) == 2


def facts(row: JobRow) -> JobRow:
    """The row without what differs between two pushes."""
    return msgspec.structs.replace(row, sequence=0, **dict.fromkeys(TIMES & set(row.__struct_fields__), 0.0))


TIMES = {"enqueued_at", "ready_at", "run_at", "expires_at", "finished_at", "prune_at"}


class TestManyThreads:
    def test_pushes_of_many_threads_share_transactions_and_each_gets_its_own_answers(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            jobs = [new_job() for _ in range(200)]

            with ThreadPoolExecutor(16) as pool:
                with broker._store.turn.lock:
                    answers = [pool.submit(broker.push, [[job]]) for job in jobs]
                    wait_until(lambda: len(broker._pushes._line) == 16, "all threads wait for their turn")

                assert [answer.result(30)[0].jobs[0].id for answer in answers] == [job.id for job in jobs]

            commits = {row.enqueued_at for row in broker.find(JobFilter(), limit=200)}
            assert len(commits) < 200

    def test_a_caller_whose_job_cannot_be_stored_harms_no_other(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            good = [new_job() for _ in range(100)]
            bad = [new_job(owner="\ud800") for _ in range(20)]

            def push(job: NewJob) -> str:
                try:
                    return "stored" if broker.push([[job]])[0].jobs else "refused"
                except UnicodeEncodeError:
                    return "unencodable"

            with ThreadPoolExecutor(16) as pool:
                ends = Counter(pool.map(push, [*good, *bad]))

            assert ends == {"stored": 100, "unencodable": 20}
            assert {row.id for row in broker.find(JobFilter(), limit=200)} == {job.id for job in good}

    def test_several_connections_in_one_process_never_hand_out_a_job_twice(self, tmp_path: Path) -> None:
        file = tmp_path / "jobs.db"

        with opened(file, durability="process") as one, opened(file, durability="process") as two:
            push_each(one, 400)

            def work(number: int) -> list[int]:
                broker, done = (one, two)[number % 2], []

                while jobs := claim(broker, limit=7, session=f"worker.{number}"):
                    broker.settle([success(job) for job in jobs])
                    done += [job.sequence for job in jobs]

                return done

            with ThreadPoolExecutor(6) as pool:
                assert sorted(number for done in pool.map(work, range(6)) for number in done) == list(range(1, 401))


class TestCounters:
    def test_they_agree_with_the_table_after_a_random_run(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db", BrokerSettings(succeeded_cap=40, failed_cap=40), durability="process") as broker:
            chance = random.Random(7)

            for _ in range(200):
                chance.choice(ACTS)(broker, chance)

            with raw(tmp_path / "jobs.db") as db:
                counted = db.execute("select lane, state, count from counters where count != 0 and state > 0").fetchall()
                there = db.execute("select lane, state, count(*) from jobs group by lane, state").fetchall()
                assert sorted(counted) == sorted(there)
                assert {state for _, state, _ in there} >= {2, 5, 7}
                assert db.execute(ORPHANS).get == 0
                keys = {key for (key,) in db.execute("select key from uniques")}
                assert {key.removesuffix("\0next") for key in keys} <= keys

    @pytest.mark.parametrize("seed", range(3))
    def test_no_release_is_lost_in_a_random_run(self, tmp_path: Path, seed: int) -> None:
        with opened(tmp_path / "jobs.db", BrokerSettings(succeeded_cap=40, failed_cap=40), durability="process") as broker:
            chance = random.Random(seed)

            with raw(tmp_path / "jobs.db") as db:
                for _ in range(150):
                    chance.choice(ACTS)(broker, chance)
                    assert db.execute(LOST).get == 0

                assert db.execute("select count(*) from edges").get > 0


def _push(broker: SQLiteBroker, chance: random.Random) -> None:
    known = [row.id for row in broker.find(JobFilter(), limit=30)]
    broker.push(
        [
            [
                new_job(
                    queue=chance.choice("ab"),
                    delay=chance.choice([None, 30.0]),
                    expires_in=chance.choice([None, None, 40.0]),
                    task=chance.choice(["export"] * 6 + [GROUP_TASK]),
                    unique=chance.choice([None, None, _unique(chance)]),
                    edges=tuple(
                        Edge(id, chance.choice(list(EdgePolicy)))
                        for id in chance.sample(known, min(len(known), chance.randrange(3)))
                    ),
                    parent=chance.choice([None, *known]),
                )
            ]
            for _ in range(chance.randrange(8))
        ]
    )


def _unique(chance: random.Random) -> Unique:
    return Unique(chance.choice("klm"), chance.choice(list(UniqueWhile)), 50.0, chance.choice(list(OnConflict)))


def _work(broker: SQLiteBroker, chance: random.Random) -> None:
    settlements = [
        Settlement(
            job.id,
            job.sequence,
            job.token,
            to=chance.choice(ENDS),
            charge=chance.choice(list(Charge)),
            delay=chance.choice([0.0, 20.0]),
            keep=chance.choice([0.0, 60.0, 1000.0]),
        )
        for job in claim(broker, limit=chance.randrange(1, 12), alone=chance.random() < 0.3)
    ]
    broker.settle(chance.sample(settlements, chance.randrange(len(settlements) + 1)))


def _tidy(broker: SQLiteBroker, chance: random.Random) -> None:
    broker.time_offset += chance.choice([0.0, 10.0, 40.0])
    broker.promote()
    broker.prune(20)


def _wish(broker: SQLiteBroker, chance: random.Random) -> None:
    ids = [row.id for row in broker.find(JobFilter(), limit=60)]
    to = chance.choice([JobState.READY, JobState.CANCELLED])
    broker.move(chance.sample(ids, min(len(ids), 5)), to, family=chance.random() < 0.3)


def _die(broker: SQLiteBroker, chance: random.Random) -> None:
    broker.reap([Death("ours.1", orderly=chance.random() < 0.5)])


ENDS = [JobState.SUCCEEDED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.READY, JobState.SCHEDULED]
ACTS = [_push, _push, _push, _work, _work, _work, _tidy, _wish, _die]

ORPHANS = """
select (select count(*) from edges where child not in (select sequence from jobs where state <= 4 or lane in (
        select number from lanes where task = 'cherga.group')))
    + (select count(*) from edges where parent not in (select sequence from jobs))
    + (select count(*) from releases where parent not in (select sequence from jobs))
    + (select count(*) from events where sequence not in (select sequence from jobs))
    + (select count(*) from uniques where hold = 'unfinished' and sequence not in (select sequence from jobs where state <= 4))
"""

LOST = """
select (select count(*) from jobs where state = 3 and pending != (
        select count(*) from edges where child = jobs.sequence and released = 0))
    + (select count(*) from jobs as child join edges on edges.child = child.sequence join jobs as parent
        on parent.sequence = edges.parent where child.state = 3 and released = 0 and parent.state >= 5
        and edges.parent not in (select parent from releases))
"""


class TestMalformed:
    def test_a_job_in_a_lane_that_does_not_exist_fails(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            bad, good = push_each(broker, 2)

            with raw(tmp_path / "jobs.db") as db:
                db.execute("update jobs set lane = 4711 where id = ?", (bad.id.bytes,))

            assert [job.id for job in claim(broker)] == [good.id]
            assert {row.id: row.reason for row in broker.find(JobFilter(states=frozenset({JobState.FAILED})))} == {
                bad.id: Reason.MALFORMED
            }

    def test_a_job_whose_id_was_cut_off_is_taken_out_of_the_way(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            bad, good = push_each(broker, 2)

            with raw(tmp_path / "jobs.db") as db:
                db.execute("update jobs set id = x'0102' where id = ?", (bad.id.bytes,))

            assert [job.id for job in claim(broker)] == [good.id]
            assert [row.id for row in broker.find(JobFilter())] == [good.id]
            assert claim(broker) == []

    def test_a_number_beyond_all_bounds_is_taken_out_of_the_way(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            bad, good = push_each(broker, 2)

            with raw(tmp_path / "jobs.db") as db:
                db.execute("update jobs set enqueued_at = 9e999 where id = ?", (bad.id.bytes,))

            assert [job.id for job in claim(broker)] == [good.id]

    def test_columns_refuse_what_is_of_another_type(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            push_each(broker, 1)

            with raw(tmp_path / "jobs.db") as db, pytest.raises(apsw.ConstraintError):
                db.execute("update jobs set attempt = 'many'")


class TestLargeJobs:
    def test_large_payloads_heads_and_meta_come_back_byte_for_byte(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            payload, head = random.Random(1).randbytes(1 << 20), msgspec.msgpack.encode(JobHead(description="x" * 100_000))
            big, small = new_job(payload=payload, head=head), new_job(payload=b"\x90")
            broker.push([[big, small]])
            first, second = claim(broker)
            assert (first.payload, first.head, second.payload, second.head) == (payload, head, b"\x90", None)


class TestPlainSettlements:
    """The quick way for many must answer as the careful one does."""

    def test_one_that_was_reaped_in_the_meantime_does_not_spoil_the_others(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker, opened(tmp_path / "jobs.db") as other:
            push_each(broker, 5)
            jobs = claim(broker)
            other.move([jobs[2].id], JobState.CANCELLED)
            other.reap([Death("ours.1", frozenset({jobs[2].token}))])
            again = claim(other, session="theirs.1")
            answers = broker.settle([success(job, result=b"late") for job in jobs])
            assert answers == [Settled.REFUSED] * 5
            assert other.settle([success(job, result=b"good") for job in again]) == [Settled.WRITTEN] * 4

    def test_one_that_has_become_awaited_releases_its_dependant(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker, opened(tmp_path / "jobs.db") as other:
            push_each(broker, 3)
            jobs = claim(broker)
            child = new_job(edges=(Edge(jobs[1].id),))
            other.push([[child]])
            assert broker.settle([success(job) for job in jobs]) == [Settled.WRITTEN] * 3
            assert [job.id for job in claim(broker)] == [child.id]
            assert {count.state: count.count for count in broker.counts()} == {JobState.SUCCEEDED: 3, JobState.RUNNING: 1}

    @pytest.mark.parametrize("keep", [0.0, 100.0])
    def test_a_settlement_with_the_token_of_its_neighbour_is_refused(self, tmp_path: Path, keep: float) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            push_each(broker, 2)
            one, two = claim(broker)
            swapped = [
                Settlement(one.id, one.sequence, two.token, JobState.SUCCEEDED, keep=keep),
                Settlement(two.id, two.sequence, one.token, JobState.SUCCEEDED, keep=keep),
            ]
            assert broker.settle(swapped) == [Settled.REFUSED] * 2
            assert [count.state for count in broker.counts()] == [JobState.RUNNING]

    def test_those_that_are_not_kept_leave_nothing_but_their_tokens(self, tmp_path: Path) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            push_each(broker, 300)
            settlements = [success(job, keep=0) for job in claim(broker)]
            assert set(broker.settle(settlements)) == {Settled.WRITTEN}
            assert not broker.counts()
            assert not broker.find(JobFilter())
            assert set(broker.settle(settlements)) == {Settled.WRITTEN}
            broker.time_offset = 7200.0
            broker.prune()
            assert set(broker.settle(settlements)) == {Settled.REFUSED}

    def test_both_ways_write_the_same(self, tmp_path: Path) -> None:
        fields: dict[str, Any] = {
            "to": JobState.FAILED,
            "reason": Reason.TIMEOUT,
            "message": "late",
            "result": b"\x01",
            "progress": b"\x02",
            "meta": b"\x03",
            "attempt": Attempt(1, "ours", 1.0, 2.0, Reason.TIMEOUT),
            "keep": 100.0,
        }

        with opened(tmp_path / "jobs.db") as broker, opened(tmp_path / "jobs.db") as other:
            push_each(broker, 2)
            quick, careful = claim(broker)
            broker.settle([Settlement(quick.id, quick.sequence, quick.token, **fields)])
            other.settle([Settlement(careful.id, careful.sequence, careful.token, **fields)])
            one, two = broker.get([quick.id, careful.id])

        changing = ("id", "sequence", "token", "finished_at", "prune_at", "enqueued_at", "ready_at")
        assert one is not None
        assert two is not None
        assert [getattr(one, name) for name in one.__struct_fields__ if name not in changing] == [
            getattr(two, name) for name in two.__struct_fields__ if name not in changing
        ]


class TestPlans:
    @pytest.mark.parametrize(
        ("where", "index"),
        [
            (JobFilter(owner="user:7", unfinished=True), "jobs_owned_unfinished"),
            (JobFilter(owner="user:7"), "jobs_owned"),
            (JobFilter(parent=UUID(int=7)), "jobs_by_parent"),
            (JobFilter(parent=UUID(int=7), task="export", unfinished=True), "jobs_by_parent"),
            (JobFilter(states=frozenset({JobState.RUNNING})), "jobs_running"),
            (JobFilter(states=frozenset({JobState.FAILED})), "jobs_ended_badly"),
            (JobFilter(states=frozenset({JobState.FAILED, JobState.CANCELLED})), "jobs_ended_badly"),
        ],
    )
    def test_lists_that_people_look_at_use_an_index(self, tmp_path: Path, where: JobFilter, index: str) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            plan = broker._store.read(lambda db: plan_of(db, where, 1000))

        assert f"INDEX {index} " in plan + " "

    @pytest.mark.parametrize("state", [JobState.READY, JobState.SCHEDULED, JobState.SUCCEEDED])
    def test_lists_of_what_there_is_much_of_go_back_from_the_newest(self, tmp_path: Path, state: JobState) -> None:
        with opened(tmp_path / "jobs.db") as broker:
            plan = broker._store.read(lambda db: plan_of(db, JobFilter(states=frozenset({state}))))

        assert "SCAN j" in plan
        assert "ORDER BY" not in plan


def plan_of(db: apsw.Connection, where: JobFilter, before: int | None = None) -> str:
    """How SQLite looks for one page of jobs."""
    lists = Explained(db)
    look.find(lists, where, 20, before, 0.0)  # type: ignore[arg-type]
    return lists.plan


class Explained:
    """A connection that explains what it is asked instead of doing it."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self.plan = ""

    def execute(self, sql: str, bindings: Sequence[Any] = ()) -> list[Any]:
        self.plan = " ".join(row[3] for row in self._db.execute(f"explain query plan {sql}", bindings))
        return []


def test_an_ended_job_names_its_session_after_the_session_has_ended(tmp_path: Path) -> None:
    with opened(tmp_path / "jobs.db") as broker:
        push_each(broker, 2)
        done, lost = claim(broker)
        broker.settle([success(done)])
        broker.reap([Death("ours.1")])
        rows = broker.get([done.id, lost.id])
        assert [row.session for row in rows if row] == ["ours.1", None]
