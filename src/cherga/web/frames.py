"""Server-sent events: a job's updates as the bytes of one long answer (WHATWG HTML, 9.2)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing, suppress
from typing import Any

import msgspec

from cherga.client.live import LiveUpdate, Watch
from cherga.web.seats import Seat
from cherga.web.settings import LiveSettings
from cherga.words.clock import Clock
from cherga.words.errors import ChergaError

RETRY = b"retry: 2000\n\n"
HEARTBEAT = b":\n\n"

encode_json = msgspec.json.Encoder(enc_hook=str).encode
"""JSON in one line. What a job stored and JSON cannot say, as a key or a value, is given as its text."""


class Frames:
    """Turns updates into events. The id of an event is its position, so a client that comes back says where it stopped."""

    def __init__(self, clock: Clock, settings: LiveSettings, may_cancel: bool = False) -> None:
        self._clock = clock
        self._settings = settings
        self._may_cancel = may_cancel
        self._seen: LiveUpdate | None = None
        self._opened_at = self._sent_at = clock.monotonic()
        self.over = False
        """The stream ends after what was taken last: the job is final, or the stream is old enough."""

    def take(self, update: LiveUpdate) -> bytes:
        """The bytes to send now; none when there is no news and it is too early for a heartbeat."""
        now = self._clock.monotonic()
        data = self._frame(update, now)
        self._seen = update
        self._sent_at = now if data else self._sent_at
        self.over = update.over or now - self._opened_at >= self._settings.max_age
        return data

    def _frame(self, update: LiveUpdate, now: float) -> bytes:
        if self._seen is None:
            return RETRY + encode_event(update, self._may_cancel)

        if update.differs(self._seen):
            return encode_event(update, self._may_cancel)

        return HEARTBEAT if now - self._sent_at >= self._settings.heartbeat else b""


class Stream:
    """The body of an answer that lasts, for ``for`` in the thread that serves the request, and for ``async for``.

    ``close`` frees its seat.
    """

    def __init__(self, watch: Watch, frames: Frames, seat: Seat) -> None:
        self._watch = watch
        self._frames = frames
        self._seat = seat
        self._chunks = self._run()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def _run(self) -> Generator[bytes, None, None]:
        with suppress(ChergaError):  # the client comes back, and is then told what is wrong with the status of that answer
            for update in self._watch:
                if data := self._frames.take(update):
                    yield data

                if self._frames.over:
                    return

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        with suppress(ChergaError):
            async with aclosing(self._watch.__aiter__()) as updates:
                async for update in updates:
                    if data := self._frames.take(update):
                        yield data

                    if self._frames.over:
                        return

    def close(self) -> None:
        """The client has gone, or everything was said."""
        self._chunks.close()
        self._seat.leave()


def encode_event(update: LiveUpdate, may_cancel: bool = False) -> bytes:
    """An event; the last one of a job is called ``end``."""
    kind = b"event: end\n" if update.over else b""
    return b"%bid: %d\ndata: %b\n\n" % (kind, update.position, encode_json(describe(update, may_cancel)))


def describe(update: LiveUpdate, may_cancel: bool = False) -> dict[str, Any]:
    """The data that a browser is told. ``final`` means here that nothing more will come."""
    return {**update.public(), "final": update.over, "may_cancel": may_cancel}
