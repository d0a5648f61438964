"""The live endpoint: what a visitor asks about a job, and the answer. No framework is known here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from msgspec import Struct

from cherga.client.cancelling import cancel
from cherga.client.handle import Source
from cherga.client.live import LiveUpdate, Watch, look
from cherga.web.frames import Frames, Stream, describe, encode_json
from cherga.web.outage import Outage
from cherga.web.passes import Pass
from cherga.web.seats import Seat, Seats
from cherga.web.settings import LiveSettings
from cherga.words.errors import BrokerError, ConfigError, JobNotFound
from cherga.words.job import JobState

Secrets = Sequence[str | bytes]

STREAM_TYPE = "text/event-stream"
TOKEN_HEADER = "Cherga-Token"
"""The header with a visitor's token. Not ``Authorization``, which a site behind a password of its own needs itself."""
FIRST_MS, NEXT_MS, IDLE_MS = 500, 1000, 2000
HIGHEST_POSITION = 2**53

_ALWAYS = {
    "Cache-Control": "no-store",
    "Vary": f"Accept, {TOKEN_HEADER}",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


class Asked(Struct, frozen=True, kw_only=True):
    """The request as it came: nothing is checked yet."""

    id: str
    token: str = ""
    after: str = ""
    accept: str = ""
    last_event_id: str = ""
    if_none_match: str = ""
    max_streams: int = 0
    """The number of streams that this server can bear."""


class Answer(Struct, frozen=True):
    """The answer to send back. A ``Stream`` must be closed when it was sent, or when the client has gone."""

    status: int
    headers: dict[str, str]
    body: bytes | Stream


class LiveEndpoint:
    """Answers visitors who hold a token. ``secrets`` are read for each answer, the one that signs last; none admits nobody."""

    def __init__(
        self, source: Source, settings: LiveSettings, secrets: Callable[[], Secrets], secret_place: str = "live.secret"
    ) -> None:
        self.settings = settings
        self.seats = Seats(settings.max_streams_per_job)
        self.outage = Outage(lambda: source.clock)
        self._source = source
        self._secrets = secrets
        self._secret_place = secret_place

    def issue(self, id: UUID, cancel: bool = False) -> str:
        """A token that admits to one job; with ``cancel`` it also allows to cancel it.

        Raises ``ConfigError`` where there is no secret.
        """
        if not self._secrets():
            raise ConfigError(f"expected {self._secret_place} to sign tokens with; there is none")

        return self._pass().issue(id, cancel)

    def answer(self, asked: Asked) -> Answer:
        """Look at the job and say how it stands: as a stream where one is wanted and can be borne, else as JSON."""
        id = _read_id(asked.id)

        if id is None:
            return refuse(404, "no such job")

        if not self._admits(asked.token, id):
            return refuse(403, "expected a token for this job that is not too old")

        try:
            update = self.outage.ask(lambda: look(self._source, id, _read_position(asked)), None)
        except JobNotFound:
            return refuse(404, "no such job")

        if update is None:
            return refuse(503, "the job cannot be looked at just now", {"Retry-After": "2"})

        may_cancel = self._pass().may_cancel(asked.token, id)
        seat = self.seats.take(id, asked.max_streams) if STREAM_TYPE in asked.accept else None
        return self._stream(asked, id, seat, may_cancel) if seat else self._tell(asked, update, may_cancel)

    def cancel(self, asked: Asked) -> Answer:
        """Cancel the job where the token allows it. What runs is asked to stop, and what has ended stays as it is."""
        id = _read_id(asked.id)

        if id is None:
            return refuse(404, "no such job")

        if not (self._admits(asked.token, id) and self._pass().may_cancel(asked.token, id)):
            return refuse(403, "expected a token that allows to cancel this job and is not too old")

        try:
            touched = cancel(self._source, [id], self.settings.cancel_message, family=True)
        except BrokerError as error:
            self.outage.began(error)
            return refuse(503, "the job cannot be cancelled just now", {"Retry-After": "2"})

        return Answer(200, {**_ALWAYS, "Content-Type": "application/json"}, encode_json({"cancelled": id in touched}))

    def _stream(self, asked: Asked, id: UUID, seat: Seat, may_cancel: bool) -> Answer:
        watch = Watch(self._source, id, _read_position(asked), pulse=self.settings.heartbeat)
        stream = Stream(watch, Frames(self._source.clock, self.settings, may_cancel), seat)
        return Answer(200, {**_ALWAYS, "Content-Type": STREAM_TYPE, "Cache-Control": "no-store, no-transform"}, stream)

    def _tell(self, asked: Asked, update: LiveUpdate, may_cancel: bool) -> Answer:
        mode = "stream" if self.seats.any_left(update.job_id, asked.max_streams) else "poll"
        tag = f'W/"{update.mark}-{mode}"'
        headers = {**_ALWAYS, "Content-Type": "application/json", "ETag": tag}

        if tag in [known.strip() for known in asked.if_none_match.split(",")]:
            return Answer(304, headers, b"")

        body = {**describe(update, may_cancel), "mode": mode, "retry_ms": _retry_ms(update, _read_position(asked))}
        return Answer(200, headers, encode_json(body))

    def _admits(self, token: str, id: UUID) -> bool:
        return bool(self._secrets()) and self._pass().admits(token, id)

    def _pass(self) -> Pass:
        return Pass(self._secrets(), self.settings.token_max_age)


def _read_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _read_position(asked: Asked) -> int:
    """After which position to go on; a browser that reconnects by itself knows better than the address it started with."""
    for text in (asked.last_event_id, asked.after):
        try:
            position = int(text)
        except ValueError:
            continue

        if 0 <= position < HIGHEST_POSITION:
            return position

    return 0


def _retry_ms(update: LiveUpdate, after: int) -> int:
    """The time that a client that polls should wait: longer while nothing can happen, none when there is another page."""
    if update.full:
        return 0

    if update.of_group:
        return NEXT_MS

    if update.state not in {JobState.READY, JobState.RUNNING}:
        return IDLE_MS

    return NEXT_MS if after else FIRST_MS


def refuse(status: int, error: str, headers: dict[str, str] | None = None) -> Answer:
    """A refusal as small JSON."""
    return Answer(status, {**_ALWAYS, "Content-Type": "application/json", **(headers or {})}, encode_json({"error": error}))
