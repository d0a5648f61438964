"""ASGI: the live pages in front of an application, so that none of its middleware runs each time a page polls."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

from cherga.client.submit import Submitter
from cherga.client.travelling import TRACEPARENT, traced
from cherga.web.frames import Stream
from cherga.web.lifespan import ASGIApp, Message, Receive, Scope, Send
from cherga.web.live import Answer
from cherga.web.pages import LivePages, Visit
from cherga.web.settings import count_async_streams

logger = logging.getLogger("cherga.web")

_HEADER = TRACEPARENT.encode()
FAREWELL_LOOK = 0.5
"""Seconds between two looks at whether the server is to stop, while streams are open."""


class LiveApp:
    """The live pages as an ASGI application. Nothing of it needs a lifespan, which a mounted application does not have."""

    def __init__(self, pages: LivePages, submitter: Submitter) -> None:
        self.pages = pages
        self._submitter = submitter
        self._farewell = Farewell()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = path_of(scope)
        await self.answer(self.pages.place(path) or path, scope, receive, send)

    async def answer(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for a page; the broker is asked on another thread than the loop's."""
        answer = await self._submitter.call(self.pages.answer, _read_visit(scope, path, self.pages))

        if isinstance(answer.body, Stream):
            await self._stream(answer, answer.body, receive, send)
        else:
            await send(_start(answer))
            await send({"type": "http.response.body", "body": answer.body})

    async def _stream(self, answer: Answer, stream: Stream, receive: Receive, send: Send) -> None:
        """Send the stream until it ends, the client has gone, or the server is to stop, which would wait for it."""
        pump = asyncio.ensure_future(_pump(_start(answer), stream, send))
        gone = asyncio.ensure_future(_gone(receive))
        ends = (pump, gone, asyncio.ensure_future(self._farewell.wait()))

        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in ends:
                each.cancel()

            (failed, *_) = await asyncio.gather(*ends, return_exceptions=True)
            stream.close()

        if isinstance(failed, Exception):
            logger.error("a stream has ended early: %r", failed, exc_info=failed, extra={"action": "web.failed"})

        if gone.cancelled():
            with suppress(OSError, RuntimeError):  # the client has gone in this moment
                await send({"type": "http.response.body", "body": b""})


class ASGIFront:
    """An ASGI application that answers for the live pages, and leaves everything else to the one behind it.

    Jobs that are enqueued there belong to the trace of the request.
    ``begun`` is told the state of each lifespan that passes, ``ended`` is awaited at its end.
    """

    def __init__(
        self, behind: ASGIApp, live: LiveApp, begun: Callable[[dict[str, Any]], None], ended: Callable[[], Awaitable[object]]
    ) -> None:
        self._behind = behind
        self._live = live
        self._begun = begun
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live_through(scope, receive, send)
            return

        path = self._live.pages.place(path_of(scope)) if self._is_ours(scope) else None

        if path is not None:
            await self._live.answer(path, scope, receive, send)
        elif (header := _trace_of(scope)) is not None:
            with traced(header):
                await self._behind(scope, receive, send)
        else:
            await self._behind(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        """True for a request that may be one for the live pages; who may ask from where is the application's matter."""
        return bool(scope["type"] == "http" and scope["method"] != "OPTIONS" and not self._live.pages.endpoint.settings.hooks)

    async def _live_through(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._begun(scope.get("state", {}))

        async def tell(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown"):
                await self._ended()

            await send(message)

        await self._behind(scope, receive, tell)


def _trace_of(scope: Scope) -> str | None:
    """The request's header ``traceparent``; None where it has none."""
    return next((value.decode("latin-1") for name, value in scope.get("headers", ()) if name == _HEADER), None)


class Farewell:
    """Tells open streams that the server is to stop. Servers say so to nobody, and wait for the streams."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        self._watch: asyncio.Task[None] | None = None

    async def wait(self) -> None:
        """Until the server is to stop."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)

        if self._watch is None or self._watch.done():
            self._watch = asyncio.ensure_future(self._look())

        try:
            await future
        finally:
            self._waiting.discard(future)

    async def _look(self) -> None:
        """A look for all streams, for as long as there are any."""
        while self._waiting and not server_stops():
            await asyncio.sleep(FAREWELL_LOOK)

        for future in self._waiting:
            if not future.done():
                future.set_result(None)


def server_stops() -> bool:
    """True when the server of this process was told to stop, where that can be seen: uvicorn, alone and under gunicorn."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(server, "should_exit", False) is True or getattr(server, "alive", True) is False


def path_of(scope: Scope) -> str:
    """The path within the application: servers put the place where it is mounted in front, others do not."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


def _read_visit(scope: Scope, path: str, pages: LivePages) -> Visit:
    return Visit(
        method=scope["method"],
        path=path,
        query=scope.get("query_string", b"").decode("latin-1"),
        headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
        max_streams=count_async_streams(pages.endpoint.settings),
    )


def _start(answer: Answer) -> Message:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
    return {"type": "http.response.start", "status": answer.status, "headers": headers}


async def _pump(start: Message, stream: Stream, send: Send) -> None:
    await send(start)

    async with aclosing(stream.__aiter__()) as chunks:
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _gone(receive: Receive) -> None:
    """Until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
