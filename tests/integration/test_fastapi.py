"""FastAPI: jobs in answers, dependencies in tasks, and what its schema shows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import fastapi
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from starlette.applications import Starlette

from cherga import ConfigError, Depends, Role, ctx, current_role
from cherga.contrib.fastapi import Cherga
from cherga.contrib.sqlalchemy import follow, job_session
from tests.asgi_site import serve
from tests.flask_site import Served


class Shop(Served):
    """An application with a route that enqueues and one that tells how the job stands."""

    def __init__(self) -> None:
        self.app = FastAPI(dependencies=[fastapi.Depends(self._count)])
        self.cherga = Cherga(self.app, name="shop", broker_url="memory://", live={"secret": "secret"})
        self.counted = 0
        add = self.cherga.task(name="add")(_add)

        @self.app.post("/sums", status_code=202)
        async def make(one: int, other: int) -> dict[str, Any]:
            return (await add.using(description="Adding…").aenqueue(one, other)).as_dict()

        @self.app.get("/sums/{id}")
        async def show(id: str) -> dict[str, Any]:
            job = await self.cherga.aget(id)
            return job.as_dict() if job else {}

    def _count(self) -> None:
        self.counted += 1


def _add(one: int, other: int) -> int:
    return one + other


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()

    with serve(shop.app) as shop.port:
        yield shop

    shop.cherga.close()


@pytest.mark.parametrize("path", ["/traced", "/atraced"])
def test_a_job_belongs_to_the_trace_of_the_request_that_enqueued_it(path: str) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    app = FastAPI()
    cherga = Cherga(app, name="shop", broker_url="memory://", live={"secret": "secret"})
    look = cherga.task(name="look")(lambda: ctx.traceparent)

    @app.post("/traced")
    def in_a_thread() -> str:
        return str(look.enqueue().id)

    @app.post("/atraced")
    async def on_the_loop() -> str:
        return str((await look.aenqueue()).id)

    site = Served()

    with serve(app) as site.port, cherga.worker(threads=1):
        for headers, told in (({"traceparent": trace}, trace), ({}, None)):
            with site.get(path, method="POST", **headers) as answer:
                job = cherga.get(json.load(answer))

            assert job is not None
            assert job.result(10) == told

    cherga.close()


def test_a_job_is_an_answer(shop: Shop) -> None:
    with shop.get("/sums?one=1&other=2", method="POST") as answer:
        assert answer.status == 202
        made = json.load(answer)

    assert (made["task"], made["state"], made["description"], made["progress"]) == ("add", "ready", "Adding…", None)

    with shop.cherga.worker(threads=1):
        shop.cherga.get(made["id"]).result(10)  # type: ignore[union-attr]

    told = shop.get_json(f"/sums/{made['id']}")
    assert (told["state"], told["result"]) == ("succeeded", 3)


def test_the_live_pages_pass_by_the_dependencies_of_the_application_and_stand_in_no_schema(shop: Shop) -> None:
    job = shop.cherga.tasks["add"].enqueue(1, 2)
    before = shop.counted

    assert shop.get_json(f"/cherga/live/{job.id}", Cherga_Token=shop.cherga.token(job))["state"] == "ready"
    assert shop.counted == before
    assert list(shop.get_json("/openapi.json")["paths"]) == ["/sums", "/sums/{id}"]


def test_a_test_looks_at_what_a_view_enqueued_and_runs_it() -> None:
    shop = Shop()

    with shop.cherga.testing() as kit, serve(shop.app) as shop.port:
        with shop.get("/sums?one=1&other=2", method="POST") as answer:
            made = json.load(answer)

        kit.assert_enqueued("add", 1, 2)
        kit.drain(raise_errors=True)
        assert shop.get_json(f"/sums/{made['id']}")["result"] == 3


def open_session() -> str:
    return "a session"


def test_fastapis_own_depends_is_refused_by_name_with_what_to_write() -> None:
    cherga = Shop().cherga

    def report(session: str = fastapi.Depends(open_session)) -> None: ...
    def annotated(session: Annotated[str, fastapi.Depends(open_session)]) -> None: ...
    def secured(session: str = fastapi.Security(open_session)) -> None: ...

    for task in (report, annotated, secured):
        with pytest.raises(ConfigError, match=r"got that of fastapi, .* write session=Depends\(open_session\)"):
            cherga.task(task)


def test_a_dependency_that_fastapi_opens_for_requests_is_opened_for_jobs_too() -> None:
    shop, closed = Shop(), []

    async def open_database() -> Any:
        yield "a connection"
        closed.append(True)

    @shop.cherga.task
    async def use(database: str = Depends(open_database)) -> str:
        return f"used {database}"

    @shop.app.get("/use")
    async def look(database: str = fastapi.Depends(open_database)) -> str:
        return f"used {database}"

    job = use.enqueue()

    with serve(shop.app) as shop.port, shop.cherga.worker(threads=1), shop.get("/use") as answer:
        assert json.load(answer) == job.result(10) == "used a connection"

    assert closed == [True, True]


def test_an_application_of_starlettes_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected a FastAPI application or nothing"):
        Cherga(Starlette())


def test_a_process_that_serves_pages_is_a_client() -> None:
    assert current_role() is Role.CLIENT


def test_a_job_of_a_view_leaves_with_the_commit_of_the_views_own_session(tmp_path: Path) -> None:
    shop = Shop()
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db", poolclass=sa.NullPool)
    sessions = async_sessionmaker(engine)
    follow(shop.cherga, sessions)
    states: list[str] = []

    async def open_view_session() -> AsyncIterator[AsyncSession]:
        async with sessions() as session:
            yield session

    @shop.app.post("/orders")
    async def order(
        keeps: bool, names: bool = True, session: AsyncSession = fastapi.Depends(open_view_session)
    ) -> dict[str, str]:
        await session.execute(sa.text("select 1"))
        add = shop.cherga.tasks["add"]
        job = await (add.using(session=session) if names else add).aenqueue(1, 2)
        states.append(job.status)
        await (session.commit() if keeps else session.rollback())
        return {"id": str(job.id)}

    @shop.cherga.task
    async def look(session: AsyncSession = Depends(job_session(sessions))) -> Any:
        return await session.scalar(sa.text("select 7"))

    looked = look.enqueue()
    kept: list[bool] = []

    with serve(shop.app) as shop.port, shop.cherga.worker(threads=1):
        for query in ("keeps=1", "keeps=1&names=0", "keeps=0"):
            with shop.get(f"/orders?{query}", method="POST") as answer:
                kept.append(shop.cherga.get(json.load(answer)["id"]) is not None)

        assert looked.result(10) == 7

    assert states == ["held"] * 3
    assert kept == [True, True, False]
