"""Starlette: ``Cherga`` is a ``QueueTasks`` with ``init_app``; a worker goes through the application's lifespan too."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Route

from cherga.client.app import QueueTasks
from cherga.client.handle import Job
from cherga.web.asgi import ASGIFront, LiveApp
from cherga.web.helpers import Address, Helpers, PageJobs
from cherga.web.lifespan import ASGILifespan
from cherga.web.live import LiveEndpoint
from cherga.web.pages import ROUTES, LivePages
from cherga.web.settings import LiveSettings
from cherga.web.settings import read as read_live
from cherga.words.errors import ConfigError

ATTRIBUTE, SECRET_PLACE = "cherga", 'Cherga(live={"secret": …})'
"""The name under which an application's ``state`` carries its Cherga, and where its secret is given."""


class Html(str):
    """Trusted HTML: templates do not escape it."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


class Cherga(QueueTasks):
    """The tasks of a Starlette application.

    Make it at module level and declare tasks with it; bind it here or with ``init_app``. ``live`` is a dictionary of the live
    endpoint's settings, of which ``secret`` signs the tokens in pages.
    """

    kind: type[Starlette] = Starlette
    _internal = "kind"

    def __init__(
        self,
        app: Starlette | None = None,
        *,
        name: str = "cherga",
        broker_url: str | os.PathLike[str] | None = None,
        live: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self._check(app is None or isinstance(app, self.kind), app)
        super().__init__(name, broker_url, **settings)
        self._serve(read_live(live or {}, "live"))
        self.asgi_app: Starlette | None = None
        """The application that was bound last."""
        self.lifespan_state: Mapping[str, Any] = {}
        """The values that the application's lifespan yields, in the server as in the worker."""

        if app is not None:
            self.init_app(app)

    def configure(
        self,
        name: str | None = None,
        broker_url: str | os.PathLike[str] | None = None,
        *,
        live: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """Set name, broker, live endpoint and settings, in a factory before ``init_app``; what is not given stays as it was.

        ``live`` counts for the application that is bound next.
        Raises ``ConfigError`` that names what is wrong.
        """
        super().configure(name, broker_url, **settings)

        if live is not None:
            self._serve(read_live(live, "live"))

    def _serve(self, live: LiveSettings) -> None:
        endpoint = LiveEndpoint(self, live, lambda: [secret] if (secret := live.secret) else [], SECRET_PLACE)
        self._pages = LivePages(endpoint)
        self._helpers = Helpers(self, endpoint)
        self._live_app = LiveApp(self._pages, self.submitter)

    def init_app(self, app: Starlette) -> None:
        """Bind this to the application, and put the live endpoint in front of it. Nothing is opened yet.

        Raises ``ConfigError`` for an application that has a Cherga already, or has answered requests.
        """
        self._check(isinstance(app, self.kind), app)

        if hasattr(app.state, ATTRIBUTE):
            raise ConfigError("expected one Cherga for the application, but init_app was called already")

        if app.middleware_stack is not None:
            raise ConfigError("expected init_app before the application answers requests")

        app.state.cherga = self
        self.asgi_app = app
        self.lifespan = lambda: ASGILifespan(app)
        # In front of other routes, of which one may take every path.
        app.router.routes[:0] = [
            Route(self._pages.prefix + path, self._live_app, name=f"cherga.{name}", include_in_schema=False)
            for name, path in ROUTES.items()
        ]
        build, live_app = app.build_middleware_stack, self._live_app
        front = lambda: ASGIFront(build(), live_app, self._begin_lifespan, self._end_lifespan)
        app.build_middleware_stack = front  # type: ignore[method-assign]

    def _begin_lifespan(self, state: dict[str, Any]) -> None:
        self.lifespan_state = state

    async def _end_lifespan(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.close)

    def _check(self, fits: bool, app: object) -> None:
        if not fits:
            raise ConfigError(f"expected a {self.kind.__name__} application or nothing, got {app!r}; a name is given as name=")

    # --- pages

    def live_app(self) -> LiveApp:
        """The live endpoint as an ASGI application, to mount where this is not bound to an application."""
        return self._live_app

    def token(self, job: Job[Any] | UUID | str, cancel: bool = False) -> str:
        """A token that admits whoever holds it to the progress of this job, and with ``cancel`` lets them cancel it."""
        return self._helpers.token(job, cancel)

    def progress(
        self, request: HTTPConnection, job: Job[Any] | None, content: str | None = None, cancel: bool = False, **attributes: Any
    ) -> Html:
        """The element about a job as its handle shows it, with ``content`` (trusted HTML) in place of the usual.

        Nothing is asked of the broker: a group shows how far it is when its script has asked. Nothing for None.
        """
        if job is not None and not isinstance(job, Job):
            raise ConfigError(f"expected a job, got {job!r}; for an id: await cherga.aprogress(request, id)")

        return Html(self._helpers.progress(job, self._address(request), attributes, content, cancel, asks=False))

    async def aprogress(
        self,
        request: HTTPConnection,
        job: Job[Any] | UUID | str | None,
        content: str | None = None,
        cancel: bool = False,
        **attributes: Any,
    ) -> Html:
        """The element about a job, given by its id too; nothing for one that is not kept.

        While the broker cannot be used, the element says so, and finds its job again when it can.
        """
        address = self._address(request)
        return Html(await self.submitter.call(self._helpers.progress, job, address, attributes, content, cancel))

    def script(self, request: HTTPConnection, **attributes: Any) -> Html:
        """The tags that load the element's script and its usual look."""
        return Html(self._helpers.script(self._address(request), attributes))

    def page_jobs(self, **where: Any) -> PageJobs:
        """The jobs that match, as ``jobs`` finds them, for a page that goes on without them.

        While the broker cannot be used the list is empty and its ``unavailable`` true, which the log is told once.
        """
        return self._helpers.jobs(**where)

    async def apage_jobs(self, **where: Any) -> PageJobs:
        """The async twin of ``page_jobs``."""
        return await self._helpers.ajobs(**where)

    def add_to(self, templates: Any) -> None:
        """Give Jinja templates ``cherga_progress(request, job)``, ``cherga_script(request)`` and ``cherga_token(job)``."""
        templates.env.globals.update(
            cherga_progress=self._progress_in_template, cherga_script=self.script, cherga_token=self.token
        )

    def _progress_in_template(
        self, request: HTTPConnection, job: Job[Any] | None, caller: Any = None, cancel: bool = False, **attributes: Any
    ) -> Html:
        return self.progress(request, job, str(caller()) if caller else None, cancel, **attributes)

    def _address(self, request: HTTPConnection) -> Address:
        root = _root_of(request, self.asgi_app)
        return lambda name, job_id: root + self._pages.address(name, job_id)

    # --- working

    @asynccontextmanager
    async def aworker(self, **options: Any) -> AsyncIterator[Any]:
        """The async twin of ``worker``, for a lifespan: run jobs in threads of this process for as long as the block lasts."""
        loop, embedded = asyncio.get_running_loop(), self.worker(**options)
        worker = await loop.run_in_executor(None, embedded.__enter__)

        try:
            yield worker
        except BaseException as error:
            await loop.run_in_executor(None, embedded.__exit__, type(error), error, error.__traceback__)
            raise
        else:
            await loop.run_in_executor(None, embedded.__exit__, None, None, None)


def _root_of(request: HTTPConnection, app: Starlette | None) -> str:
    """The path at which the application is mounted: of a page of its own, or of one that another application has mounted."""
    is_own = app is None or request.scope.get("app") is app
    scope = request.scope
    return str(scope.get("root_path", "") if is_own else scope.get("app_root_path", scope.get("root_path", ""))).rstrip("/")
