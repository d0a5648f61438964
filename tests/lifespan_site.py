"""A FastAPI application whose lifespan opens what its tasks use; a worker process loads it. It writes down what happens."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from cherga import current_role
from cherga.contrib.fastapi import Cherga

role_at_import = current_role()


def note(word: str) -> None:
    with open(os.environ["DIARY"], "a", encoding="utf-8") as diary:
        diary.write(f"{word}\n")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    if os.environ.get("LIFESPAN") == "fails at first" and not os.path.exists(os.environ["DIARY"]):
        note("fails")
        raise ConnectionError("no database at db:5432")

    note(f"opens as {current_role()}")
    yield {"loop": asyncio.get_running_loop()}

    if os.environ.get("LIFESPAN") == "fails at the end":
        raise ConnectionError("the database has gone")

    note("closes")


app = FastAPI(lifespan=lifespan)
cherga = Cherga(app, name="jobs")


@cherga.task
async def look() -> list[str]:
    """Where the job runs, beside what the lifespan has opened."""
    is_same = cherga.lifespan_state["loop"] is asyncio.get_running_loop()
    return [role_at_import, current_role(), "the same loop" if is_same else "another loop"]


@cherga.task
def look_from_a_thread() -> bool:
    return bool(cherga.lifespan_state["loop"].is_running())


def create_app() -> FastAPI:
    return app


bare = FastAPI()
