"""The lifespan of an ASGI application, gone through as a server does, in a process that serves no requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from cherga.client.lifespan import LifespanFailed

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

logger = logging.getLogger("cherga.web")


class ASGILifespan:
    """A life of an application. One task goes through all of it, as cancel scopes and context variables need it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.state: dict[str, Any] = {}
        """The state that the application's lifespan yields."""

    async def start(self) -> None:
        """Start up. An application without a lifespan is passed over; raises ``LifespanFailed`` for one that fails."""
        self._orders: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._task = asyncio.ensure_future(self._live())
        answer = await self._ask("startup")

        if answer.get("type") == "lifespan.startup.failed":
            raise LifespanFailed(
                f"the lifespan of the application failed at its start: {_told(answer, 'start').splitlines()[-1]}"
            )

    async def stop(self) -> None:
        """Shut down."""
        if not self._task.done():
            answer = await self._ask("shutdown")

            if answer.get("type") == "lifespan.shutdown.failed":
                _told(answer, "end")

        await asyncio.wait([self._task])

    async def _ask(self, step: str) -> Message:
        """The application's answer; an empty one where it has none to give."""
        self._orders.put_nowait({"type": f"lifespan.{step}"})
        return await self._answers.get()

    async def _live(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}

        try:
            await self._app(scope, self._orders.get, self._answers.put)
        except Exception as error:
            # Either it has said so itself, or it knows no lifespans.
            logger.debug("the lifespan of the application ended: %r", error, exc_info=error)
        finally:
            self._answers.put_nowait({})


def _told(answer: Message, when: str) -> str:
    """The reason that the application gave, which the log is told as well: it may be a traceback."""
    told = str(answer.get("message") or "").strip() or "no reason was given"
    logger.error("the lifespan of the application failed at its %s:\n%s", when, told, extra={"action": "lifespan.failed"})
    return told
