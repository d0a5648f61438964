"""Reports of a bookshop: a FastAPI application whose slow work is done by jobs.

``uvicorn --factory reports:create_app`` serves it, ``cherga worker -A reports:create_app`` runs its jobs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.staticfiles import StaticFiles

from cherga import current_role
from reports import api, pages, tasks
from reports.sales import Ledger, plant
from reports.settings import Settings
from reports.tasks import cherga

HERE = Path(__file__).parent


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; a worker calls this too."""
    settings = settings or Settings.from_environment()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        if current_role() == "client":  # one who makes the tables is enough
            plant(settings.sales)

        # In the worker this is there before its first job: see tasks.py.
        yield {"ledger": Ledger(settings.sales), "folder": settings.folder, "pause": settings.pause}

    app = FastAPI(title="Reports", lifespan=lifespan)
    app.include_router(pages.router)
    app.include_router(api.router)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.add_middleware(BaseHTTPMiddleware, dispatch=_secured)
    cherga.configure(broker_url=f"sqlite:///{settings.folder}/cherga.db", live={"secret": settings.secret})
    cherga.init_app(app)
    return app


async def _secured(request: Request, call_next: Any) -> Any:
    answer = await call_next(request)
    answer.headers["X-Content-Type-Options"] = "nosniff"

    if request.url.path != "/docs":  # FastAPI's page loads its scripts from elsewhere
        answer.headers["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'"

    return answer


__all__ = ["Settings", "cherga", "create_app", "tasks"]
