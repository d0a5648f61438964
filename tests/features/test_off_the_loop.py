"""No coroutine asks the broker on its loop's own thread: a slow broker would hold up everything else that runs there."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from cherga import Context, JobCancelled, JobFailed, JobState, QueueTasks, chain, ctx, group
from cherga.brokers import connect
from cherga.client.bound import AsyncTask
from cherga.client.flow import Chain, Group, Step
from cherga.client.grouping import GroupJob
from cherga.client.handle import Job
from cherga.client.limits import Limits
from cherga.client.queue import Queue
from cherga.client.schedules import Scheduled, Schedules
from cherga.client.sleeping import AsyncContext
from cherga.client.state import State, StateHandle
from cherga.client.task import Prepared, Task
from cherga.doors.broker import FullBroker
from cherga.testing import wait_until
from tests.conftest import NewApp
from tests.features.conftest import QUICK

WAIT = 20.0
PUBLIC = [QueueTasks, Task, Prepared, Job, GroupJob, Step, Chain, Group, Queue, StateHandle, Limits, Schedules, Scheduled]
IN_JOBS = [Context, AsyncContext]


class Hits(State):
    count: int = 0


class Guarded:
    """A broker that refuses to be called on the thread of a running loop."""

    def __init__(self, broker: FullBroker) -> None:
        self._broker = broker

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._broker, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            expect_no_loop(name)
            return found(*args, **kwargs)

        return call if callable(found) else found


class GuardedApp(QueueTasks):
    """Its broker is opened late, and guarded."""

    def _open(self) -> None:
        expect_no_loop("open")

        with self._lock:
            if self._broker is None:
                broker = connect(self.broker_url, self.settings.broker)
                broker.open()
                self._broker = cast(FullBroker, Guarded(broker))


def expect_no_loop(call: str) -> None:
    assert asyncio._get_running_loop() is None, f"{call} was called on the thread of a loop"


@pytest.fixture(params=["memory", "sqlite"])
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GuardedApp]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/queue.db"
    app = GuardedApp("guarded", url, **QUICK)
    app.task(name="work")(lambda number=0: number)
    app.task(name="add")(lambda left, right: left + right)
    yield app
    app.close()


def use(app: QueueTasks, kind: str = "work") -> Task[..., Any]:
    return cast("Task[..., Any]", app.tasks[kind])


async def pending(app: QueueTasks) -> Job[Any]:
    return await use(app).using(run_in=3600).aenqueue(1)


async def many(app: QueueTasks) -> GroupJob[Any]:
    return await group(use(app).using(run_in=3600).s(number) for number in range(2)).aenqueue()


async def done_group(app: QueueTasks) -> GroupJob[Any]:
    return await group(use(app).s(number) for number in range(2)).aenqueue()


async def scheduled(app: QueueTasks) -> Scheduled:
    return await app.aschedule("nightly", "work", every=3600)


async def watch_to_the_end(updates: Any) -> None:
    async for _ in updates:
        pass


Exercise = Callable[[QueueTasks], Awaitable[Any]]


def after(make: Callable[[QueueTasks], Awaitable[Any]], use: Callable[[Any], Awaitable[Any]]) -> Exercise:
    async def exercise(app: QueueTasks) -> Any:
        return await use(await make(app))

    return exercise


EXERCISES: dict[str, Exercise] = {
    "ByName.aadd_task": lambda app: app.aadd_task("work", 1, timeout=WAIT),
    "ByName.aadd_task, unknown": lambda app: app.aadd_task("nobody-knows", 1, priority=3),
    "QueueTasks.asend": lambda app: app.asend([use(app).prepare((1,))]),
    "QueueTasks.astore_held": lambda app: app.astore_held([[use(app).prepare((1,))]]),
    "QueueTasks.astore": lambda app: app.astore([use(app).prepare((1,))]),
    "ByName.aaddressed": lambda app: app.aaddressed([app.draft("nobody-knows", (), {}, None)]),
    "Looking.aget": after(pending, lambda job: job._source.aget(job.id)),
    "Looking.ajobs": lambda app: app.ajobs(task="work"),
    "Steering.aschedule": scheduled,
    "Steering.apause": lambda app: app.apause(queue="other"),
    "Steering.aresume": lambda app: app.aresume(queue="other"),
    "Steering.apaused": lambda app: app.apaused(),
    "Enqueuing.aenqueue": lambda app: use(app).aenqueue(1),
    "Enqueuing.aenqueue, existing": lambda app: asyncio.gather(
        *(use(app).using(unique="one", run_in=9).aenqueue(1) for _ in "ab")
    ),
    "Enqueuing.aenqueue_many": lambda app: use(app).aenqueue_many([(1,), (2,)]),
    "Job.arefresh": after(pending, lambda job: job.arefresh()),
    "Job.aresult": after(lambda app: use(app).aenqueue(1), lambda job: job.aresult(WAIT)),
    "Job.aawait_end": after(lambda app: use(app).aenqueue(1), lambda job: job.aawait_end(WAIT)),
    "Job.acancel": after(pending, lambda job: job.acancel("no")),
    "Job.aretry": after(pending, lambda job: job.aretry()),
    "Job.afamily": after(pending, lambda job: job.afamily()),
    "Job.atotal_progress": after(pending, lambda job: job.atotal_progress()),
    "Job.achildren": after(pending, lambda job: job.achildren()),
    "Job.aexplain": after(pending, lambda job: job.aexplain()),
    "GroupJob.aresults": after(done_group, lambda job: job.aresults(WAIT)),
    "GroupJob.aresult": after(done_group, lambda job: job.aresult(WAIT)),
    "GroupJob.acancel": after(many, lambda job: job.acancel()),
    "GroupJob.amembers": after(many, lambda job: job.amembers()),
    "GroupJob.aprogress": after(many, lambda job: job.aprogress()),
    "Part.aenqueue": lambda app: chain(use(app).s(1), use(app, "add").s(2)).aenqueue(),
    "Part.aenqueue, unknown": lambda app: chain(app.s("nobody-knows"), group(app.s("nor-this"), use(app).si(1))).aenqueue(),
    "Group.aenqueue": done_group,
    "Group.aenqueue, unknown": lambda app: group([app.s("nobody-knows")], then=app.s("nor-this")).aenqueue(),
    "Queue.aenqueue": lambda app: app.queue().aenqueue("work", 1),
    "Queue.aenqueue_in": lambda app: app.queue().aenqueue_in(9, "work", 1),
    "Queue.aenqueue_at": lambda app: app.queue().aenqueue_at(datetime(2100, 1, 1, tzinfo=UTC), "work", 1),
    "StateHandle.aget": lambda app: app.state(Hits).aget(),
    "StateHandle.aset": lambda app: app.state(Hits).aset(Hits(3)),
    "StateHandle.aupdate": lambda app: app.state(Hits).aupdate(lambda hits: Hits(hits.count + 1)),
    "StateHandle.adelete": lambda app: app.state(Hits).adelete(),
    "Limits.aget": lambda app: app.limits.aget(task="work"),
    "Limits.aall": lambda app: app.limits.aall(),
    "Limits.aset": lambda app: app.limits.aset(task="other", max_running=3),
    "Limits.areset": lambda app: app.limits.areset(task="other"),
    "Schedules.aall": lambda app: app.schedules.aall(),
    "Schedules.aget": after(scheduled, lambda made: made._source.schedules.aget("nightly")),
    "Scheduled.arefresh": after(scheduled, lambda made: made.arefresh()),
    "Scheduled.apause": after(scheduled, lambda made: made.apause()),
    "Scheduled.aresume": after(scheduled, lambda made: made.aresume()),
    "Scheduled.achange": after(scheduled, lambda made: made.achange(every=7200)),
    "Scheduled.arun_now": after(scheduled, lambda made: made.arun_now()),
    "Scheduled.adelete": after(scheduled, lambda made: made.adelete()),
    "watch": after(lambda app: use(app).aenqueue(1), lambda job: watch_to_the_end(job._source.watch(job.id))),
    "watch a group": after(done_group, lambda job: watch_to_the_end(job._source.watch(job.id))),
    "stream": after(lambda app: use(app).aenqueue(1), lambda job: watch_to_the_end(job.stream())),
}


def async_names(kinds: list[Any]) -> set[str]:
    """The public coroutine functions of these classes, each named after the class that defines it."""
    found = {getattr(kind, name) for kind in kinds for name in dir(kind) if not name.startswith("_")}
    return {function.__qualname__ for function in found if inspect.iscoroutinefunction(function)}


def test_every_async_twin_is_exercised_here() -> None:
    """A new one needs an exercise above, or a line in ``inside``."""
    assert async_names(PUBLIC) - EXERCISES.keys() == set()
    assert async_names(IN_JOBS) == {
        "Context.asleep", "AsyncContext.sleep", "AsyncContext.get_metadata", "AsyncContext.get_task",
        "AsyncContext.plugin_error",
    }  # fmt: skip


async def failures(app: QueueTasks) -> dict[str, str]:
    """What went wrong in which exercise."""
    wrong: dict[str, str] = {}

    for name, exercise in EXERCISES.items():
        try:
            await exercise(app)
        except Exception as error:
            wrong[name] = f"{type(error).__name__}: {error}"

    return wrong


def test_outside_jobs(guarded: GuardedApp) -> None:
    with guarded.worker():
        assert asyncio.run(failures(guarded)) == {}


def test_inside_jobs(guarded: GuardedApp) -> None:
    @guarded.task
    async def inside() -> dict[str, str]:
        await ctx.asleep(0)
        return await failures(guarded)

    with guarded.worker():
        assert inside.enqueue().result(WAIT) == {}


def test_with_what_a_bound_task_offers(guarded: GuardedApp) -> None:
    @guarded.task(echo=True)
    async def inside(self: AsyncTask) -> list[str]:
        await self.ctx.sleep(0)
        await self.ctx.get_metadata()
        await self.ctx.get_task(self.ctx.job_id)
        await self.add_task("nobody-knows", 1)
        children = [self.add_task("work", 1), self.add_task("nobody-knows", 2), self.add_task(chain(guarded.s("nor-this")))]
        return [str(child.id) for child in children]

    with guarded.worker():
        job = inside.enqueue()
        children = job.result(WAIT)
        assert {str(child.id) for child in job.children()} > set(children)


def test_the_broker_is_opened_off_the_loop_too(guarded: GuardedApp) -> None:
    handle: Job[Any] = Job(QueueTasks("other", "memory://").add_task("work").row, guarded)

    async def first_uses() -> list[Any]:
        return await asyncio.gather(
            use(guarded).aenqueue(1), guarded.ajobs(), guarded.apaused(), guarded.state(Hits).aget(), guarded.limits.aall(),
            guarded.schedules.aall(), handle.afamily(), handle.aretry(), handle.acancel(),
            chain(guarded.s("unknown")).aenqueue(),
        )  # fmt: skip

    asyncio.run(first_uses())


# --- children of tasks that are not declared here


def test_an_undeclared_child_of_an_async_task_is_stored_as_its_worker_has_published(new_app: NewApp) -> None:
    app, elsewhere = new_app(), new_app()
    keep = app.broker  # a memory broker lives as long as somebody holds it
    elsewhere.task(name="far", queue="video", priority=7, tags=["slow"], description="Far away…")(lambda *args: None)
    elsewhere.publish()
    seen: list[str] = []

    @app.around_enqueue
    def note(following: Any) -> Any:
        def enqueue(job: Any) -> Any:
            seen.append(job.queue)
            return following(job)

        return enqueue

    @app.task(echo=True)
    async def parent(self: AsyncTask) -> list[str]:
        numbers = [1]
        made = [self.add_task("far", numbers), self.add_task("far", 2, priority=1), self.add_task(group([app.s("far", 3)]))]
        numbers.append(2)
        return [str(child.id) for child in made]

    with app.worker():
        job = parent.enqueue()
        job.result(WAIT)
        stored = app.jobs(task="far")

    assert [(each.queue, each.priority, each.tags, each.description) for each in stored] == [
        ("video", 7, ("slow",), "Far away…"), ("video", 1, ("slow",), "Far away…"), ("video", 7, ("slow",), "Far away…"),
    ]  # fmt: skip
    assert [each.arguments for each in stored] == [[[3], {}], [[2], {}], [[[1]], {}]]
    assert set(seen) == {"default", "video"}
    assert keep is app.broker


# --- calls that wait are refused in async def tasks


def refused(app: QueueTasks, body: Callable[[], Any]) -> str:
    async def nap() -> Any:
        return body()

    app.task(name="nap")(nap)

    with app.worker(), pytest.raises(JobFailed) as caught:
        app.tasks["nap"].enqueue().result(WAIT)

    assert caught.value.type_name == "cherga.words.errors.WouldDeadlock"
    return caught.value.message


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda app: ctx.sleep(5), "await ctx.asleep(…)"),
        (lambda app: app.jobs()[0].result(), "await job.aresult()"),
        (lambda app: list(app.watch(ctx.job_id)), "use async for … in app.watch(…)"),
        (lambda app: list(app.stream(ctx.job_id)), "use async for … in app.watch(…)"),
        (lambda app: app.add_task("nap", timeout=5), "await app.aadd_task(…)"),
        (lambda app: app.state(Hits).update(lambda hits: None), "await aupdate(…)"),
        (lambda app: app.state(Hits).set(Hits()), "await aset(…)"),
        (lambda app: app.state(Hits).delete(), "await adelete(…)"),
    ],
)
def test_a_call_that_waits_names_its_async_twin(app: QueueTasks, call: Callable[[QueueTasks], Any], instead: str) -> None:
    message = refused(app, lambda: call(app))
    assert message.startswith(f"this is an async def task: expected it to {instead}")
    assert message.endswith("would hold up every async job of this worker")


def test_a_refused_add_task_stores_nothing(app: QueueTasks) -> None:
    refused(app, lambda: app.add_task("nap", timeout=5))
    assert len(app.jobs()) == 1


def test_a_thread_of_an_async_task_may_wait(app: QueueTasks) -> None:
    @app.task
    async def nap() -> list[Any]:
        slept = await asyncio.to_thread(ctx.sleep, 0.001)
        return [slept, await asyncio.to_thread(lambda: app.state(Hits).update(lambda hits: Hits(hits.count + 1)).count)]

    with app.worker():
        assert nap.enqueue().result(WAIT) == [True, 1]


def test_a_def_task_may_wait_inside_a_loop_of_its_own(app: QueueTasks) -> None:
    """As inside ``sync_playwright``, where a loop runs on the thread of a sync function."""

    @app.task
    def nap() -> list[Any]:
        async def inside() -> list[Any]:
            child = app.tasks["child"].enqueue(3)
            return [ctx.sleep(0.001), child.result(WAIT), await ctx.asleep(0)]

        return asyncio.run(inside())

    app.task(name="child")(lambda number: number)

    with app.worker(threads=1):
        assert nap.enqueue().result(WAIT) == [True, 3, True]


def test_asleep_ends_when_the_job_is_cancelled(app: QueueTasks) -> None:
    @app.task
    def nap() -> bool:
        return asyncio.run(ctx.asleep(WAIT))

    with app.worker():
        job = nap.enqueue()
        wait_until(lambda: job.refresh().status is JobState.RUNNING, "it sleeps")
        job.cancel()

        with pytest.raises(JobCancelled):
            job.result(WAIT / 2)
