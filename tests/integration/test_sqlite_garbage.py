"""Garbage in the queue file: one row that cannot be right harms no other, whatever is asked of the broker."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import apsw
import msgspec
import pytest

from cherga import QueueTasks, ctx
from cherga.brokers.sqlite import SQLiteBroker
from cherga.client.records import job_record
from cherga.rules.settings import BrokerSettings
from cherga.testing.contract.keeping import packed, publish
from cherga.testing.contract.stage import TASKS, Stage, after, new_job, new_jobs, session_info, settlement
from cherga.words.claim import ClaimWish
from cherga.words.inspection import JobFilter
from cherga.words.job import JobState
from cherga.words.limits import LIMIT, OVERRIDE, LimitRule, Rate
from cherga.words.push import GROUP_TASK, Overrides
from cherga.words.report import EventKind, Reading, Report
from cherga.words.session import Death
from cherga.words.shared import Definition, PauseScope
from cherga.words.unique import Unique, UniqueWhile
from cherga.worker.scheduler import Scheduler

GARBAGE: dict[str, list[str]] = {
    "INTEGER": ["-1", "0", "9223372036854775807", "-9223372036854775808"],
    "REAL": ["9e999", "-9e999", "1e308", "-1.0"],
    "TEXT": ["''", "'{'", "'[[[['", "cast(x'ff' as text)", "'7'", "printf('%.*c', 5000, 'x')"],
    "BLOB": [
        "x''",
        "x'c1'",
        "x'00'",
        "randomblob(16)",
        "x'80'",
        "unhex(replace(printf('%.*c', 100000, 'x'), 'x', '91') || 'c0')",
    ],
}
"""What is written, as SQL, by the type of the column: strict tables let nothing else in."""
SPARED = {(table, "number", "9223372036854775807") for table in ("sessions", "notices")}
"""There is no further number for a new row then, as the schema wants it."""
SPARED_ROWS = {"counters": "not (lane = 0 and state = 0)", "facts": "name <> 'namespace'"}
"""Without the others nobody knows whose the file is, and which numbers were given."""


class Harness:
    """Brokers on one file."""

    corruptible = ()

    def __init__(self, path: Path) -> None:
        self.path = path

    def connect(self, settings: BrokerSettings) -> SQLiteBroker:
        return SQLiteBroker(f"sqlite:///{self.path}?durability=process", settings)

    def corrupt(self, id: object, field: str) -> None:
        raise NotImplementedError


def furnish(path: Path) -> None:
    """A row at least in every table, and jobs in every state with all that they can have."""
    stage = Stage(Harness(path))
    broker = stage.broker
    limit = msgspec.msgpack.encode(LimitRule(max_running=5, rate=Rate(50, 60.0), max_length=1000))
    broker.define(
        [
            Definition(LIMIT, "task:shrink", limit),
            Definition(OVERRIDE, "key:shrink", limit),
            Definition("task", "shrink", msgspec.msgpack.encode({"queue": "q"})),
            Definition("schedule", "nightly", b"\x80", stamp="s"),
        ]
    )
    publish(stage, "", failure_ttl=50.0)
    broker.tick("nightly", 1.0, 2.0, [])
    broker.swap("state", 0, b"x")
    broker.pause(PauseScope("elsewhere"), True)
    broker.pause(PauseScope(None, "export", '{"a":1}'), True)
    parent = new_job()
    rich = new_job(
        head=packed(description="d", overrides=Overrides(failure_ttl=9.0)), owner="user:1", unique=Unique("k"), parent=parent.id
    )
    keyed = new_job("shrink", limit_keys=("key:shrink|1",))
    stage.push(parent, rich, keyed, after(parent), after(parent, task=GROUP_TASK), new_job(delay=50), new_job(expires_in=90))
    stage.push(new_job("export", payload=msgspec.msgpack.encode({"a": 1})))
    stage.push(new_job(unique=Unique("p", UniqueWhile.PERIOD, 500.0)))
    stage.push(new_job(unique=Unique("q", UniqueWhile.QUEUED)))
    first, second, *_ = stage.claim(4)
    broker.report([Report(first.id, first.sequence, first.token, b"\x90", b"\x80", ((EventKind.LOG, b"\xa1x"),))])
    stage.write(second, JobState.FAILED)
    stage.push(*(crowd := new_jobs(105, edges=after(parent).edges)))
    lost = stage.pushed(queue="lost")
    stage.claim(10, queues=("lost",), session="dead.1")
    broker.reap([Death("dead.1")])
    gone = stage.pushed(queue="gone")
    (claimed,) = stage.claim(10, queues=("gone",))
    stage.write(claimed, keep=0)
    nest = stage.pushed(queue="nest")
    stage.push(*new_jobs(105, parent=nest.id, queue="nest"))
    broker.move([nest.id, parent.id], JobState.CANCELLED, family=True)
    assert lost.id
    assert gone.id
    assert crowd
    stage.close()


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("furnished") / "queue.db"
    furnish(path)
    return path


def tables(path: Path) -> dict[str, list[tuple[str, list[str]]]]:
    """The columns of each table, with the garbage that each of them takes."""
    db = apsw.Connection(str(path))
    found: dict[str, list[tuple[str, list[str]]]] = {}

    for (table,) in db.execute("select name from sqlite_schema where type = 'table' and name not like 'sqlite_%'").fetchall():
        for _, column, kind, required, *_ in db.execute(f"pragma table_info({table})").fetchall():
            values = [value for value in GARBAGE[str(kind)] if (table, column, value) not in SPARED]
            found.setdefault(str(table), []).append((str(column), values if required else [*values, "null"]))

    db.close()
    return found


def spoil(path: Path, table: str, column: str, values: list[str]) -> None:
    """Write each of them into a row of its own; of jobs, into one of each state."""
    db = apsw.Connection(str(path))
    key = "number" if table == "notices" else "rowid"

    if "without rowid" in db.execute("select sql from sqlite_schema where name = ?", (table,)).get:
        key = db.execute(f"select name from pragma_table_info('{table}') where pk = 1").get

    where = f"where {SPARED_ROWS[table]}" if table in SPARED_ROWS else ""
    group = "state" if table == "jobs" else "1"
    rows = db.execute(f"select {key}, row_number() over (partition by {group} order by {key}) from {table} {where}").fetchall()

    for row, place in rows:
        for value in values[int(str(place)) - 1 :][:1]:
            with suppress(apsw.Error):  # what the schema itself refuses
                db.execute(f"update {table} set {column} = {value} where {key} is ?", (row,))

    db.close()


def use_everything(path: Path) -> None:
    """Call each method; new jobs go through the whole of their lives."""
    broker = SQLiteBroker(f"sqlite:///{path}?durability=process", BrokerSettings(namespace="contract"))
    broker.open()

    try:
        _use(broker)
        _look_from_above(path)
    finally:
        broker.close()


def _look_from_above(path: Path) -> None:
    """As an application does, its command line and its worker."""
    app = QueueTasks("contract", f"sqlite:///{path}?durability=process")

    for job in app.jobs(limit=2000):
        json.dumps(job_record(job), default=str)
        str(job.explain())
        assert (job.meta, job.attempts, job.arguments, job.tags, job.progress, job.total_progress, job.root) is not None

    for each in (app.schedules.all(), app.limits.all(), app.broker.paused()):
        assert str(each)

    Scheduler(app.broker).round(app.clock.now())
    app.task(name="mine")(lambda: 1)

    with app.worker(threads=1, queues=["fresh"]):
        assert app.tasks["mine"].using(queue="fresh").enqueue().result(20) == 1

    app.close()


def _use(broker: SQLiteBroker) -> None:
    fresh, later = new_job("mail", queue="mine", priority=100), new_job("mail", queue="mine", delay=1, priority=100)
    behind = after(fresh, task="mail", queue="mine", priority=100)
    assert [answer.refused for answer in broker.push([[fresh, behind], [later], [new_job("mail", unique=Unique("mine"))]])] == [
        None
    ] * 3
    broker.register(session_info("mine.1"))
    broker.heartbeat(["mine.1", "worker.1"])
    wish = ClaimWish(session="mine.1", limit=1, tasks=TASKS, queues=("mine",))
    (job,) = broker.claim(wish).jobs
    assert job.id == fresh.id
    assert broker.report([Report(job.id, job.sequence, job.token, b"\x90")]) == [True]
    broker.settle([settlement(job)])
    broker.time_offset = 2.0
    broker.promote()
    assert {one.id for one in broker.claim(ClaimWish(session="mine.1", limit=5, tasks=TASKS, queues=("mine",))).jobs} == {
        behind.id,
        later.id,
    }
    assert {behind.id, later.id} <= set(broker.reap([Death("mine.1")]))
    look_at_everything(broker, fresh.id)
    broker.register(session_info("mine.2"))
    broker.notices("mine.2", TASKS)
    broker.claim(ClaimWish(session="mine.2", limit=1000, tasks=TASKS, alone=True))
    broker.claim(ClaimWish(session="mine.2", limit=1000, tasks=TASKS))
    everybody = [row.id for row in broker.find(JobFilter(), 2000)]
    broker.move(everybody, JobState.CANCELLED, "all", family=True)
    broker.reap([Death("mine.2"), Death("worker.1")])

    for _ in range(5):
        broker.time_offset += 2000.0
        broker.promote()
        broker.reap()
        broker.prune()

    broker.move(everybody, JobState.READY)
    look_at_everything(broker, fresh.id)


def look_at_everything(broker: SQLiteBroker, known: UUID) -> None:
    found = broker.find(JobFilter(), 2000)
    assert known in {row.id for row in found}
    broker.find(JobFilter(unfinished=True, owner="user:1"))
    broker.find(JobFilter(limit="task:shrink", states=frozenset({JobState.RUNNING, JobState.FAILED})))
    broker.find(JobFilter(parent=found[0].id))
    broker.families([row.id for row in found])
    broker.counts()
    broker.workers()
    broker.paused()
    broker.limits(["task:shrink", "key:shrink|1", "queue:mine"])
    broker.load(["state", "none"])
    broker.ticks()

    for kind in ("task", LIMIT, OVERRIDE, "schedule", "keeping"):
        broker.definitions(kind)

    for row in found:
        broker.follow([Reading(row.id)])


TABLES = (
    *(
        "jobs",
        "lanes",
        "counters",
        "uniques",
        "edges",
        "releases",
        "events",
        "forgotten",
        "sessions",
        "past_sessions",
        "pauses",
    ),
    *("definitions", "rates", "orphans", "ticks", "shared", "facts", "notices"),
)


def test_every_table_is_tried(furnished: Path) -> None:
    assert set(tables(furnished)) == set(TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_garbage_in_rows_harms_no_other(furnished: Path, tmp_path: Path, table: str) -> None:
    wrong: dict[str, str] = {}

    for column, values in tables(furnished)[table]:
        path = tmp_path / f"{column}.db"
        shutil.copy(furnished, path)
        spoil(path, table, column, values)

        try:
            use_everything(path)
        except Exception as error:
            wrong[column] = f"{type(error).__name__}: {error}"

    assert wrong == {}


def test_a_row_is_passed_over_with_a_word_once(furnished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "told.db"
    shutil.copy(furnished, path)
    spoil(path, "pauses", "scope", ["'told once'"])
    use_everything(path)
    told = [record.getMessage() for record in caplog.records if "told once" in record.getMessage()]
    assert len(told) == 1
    assert "a row of table pauses in the queue file cannot be right and is passed over" in told[0]
    assert "delete it while no worker runs" in told[0]


def test_a_told_value_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    app = QueueTasks("shop", tmp_path / "queue.db")

    @app.task
    def work() -> None:
        for number in range(3):
            ctx.emit(number)
            ctx.log(f"line {number}")

    with app.worker():
        job = work.enqueue()
        job.result(10)

    app.close()
    db = apsw.Connection(str(tmp_path / "queue.db"))
    db.execute("update events set data = x'c1' where position = (select min(position) from events where kind = 'value')")
    db.close()

    found = app.get(job.id)
    assert found is not None
    assert list(found.stream()) == [1, 2]
    assert [line for update in app.watch(job.id) for line in update.logs] == ["line 0", "line 1", "line 2"]
    app.close()
