"""Settings of the live endpoint, and which server can bear how many streams."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from cherga.rules.options import nearest
from cherga.words.errors import ConfigError

DEFAULT_STREAMS = 20
DEFAULT_ASYNC_STREAMS = 500


class Mode(StrEnum):
    """The way live data may reach a browser."""

    AUTO = "auto"
    """A stream where the server is known to bear it, else polling."""
    STREAM = "stream"
    POLL = "poll"


class LiveSettings(Struct, frozen=True, kw_only=True):
    """The live endpoint. Durations are seconds."""

    prefix: str = "/cherga"
    """The path under which the endpoint and the script stand."""
    hooks: bool = False
    """True: the endpoint is answered inside the application, and each poll runs the hooks and middleware of the application."""
    mode: Mode = Mode.AUTO
    max_streams: int | None = None
    """Streams open at a time in one process. None: 500 under ASGI, where they cost no thread; 20 where each request has a
    thread of its own; a server with a pool of threads then polls, since nobody but you knows how many of them it can spare."""
    max_streams_per_job: int = 5
    """The most of these streams about one job."""
    max_age: float = 300.0
    """After this long the server ends a stream; the browser goes on with another one where it stopped."""
    heartbeat: float = 15.0
    """After this long without news a comment is sent, so that a client which has gone is noticed."""
    cancel_message: str = "cancelled by the visitor"
    """Kept with a job that somebody cancelled in the page."""
    token_max_age: float = 86_400.0
    """The time for which a token admits."""
    secret: str | None = None
    """Signs the tokens. None: the framework's own secret."""


def read(given: Mapping[str, Any], where: str) -> LiveSettings:
    """The settings from a dictionary with keys in small letters; texts are taken for what is meant.

    Raises ``ConfigError`` that names what is wrong.
    """
    folded = dict(given)

    if unknown := sorted(folded.keys() - set(known := LiveSettings.__struct_fields__)):
        raise ConfigError(f"unknown setting {unknown[0]!r} in {where}{nearest(unknown[0], known)}")

    for name in {"prefix", "secret"} & set(folded):
        folded[name] = None if folded[name] is None else str(folded[name])

    try:
        live = msgspec.convert(folded, LiveSettings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"a setting in {where} is wrong: {error}") from None

    check(live)
    return live


def check(settings: LiveSettings) -> None:
    """Raise ``ConfigError`` that names what is out of its limits."""
    for name in ("max_streams", "max_streams_per_job", "max_age", "heartbeat", "token_max_age"):
        value = getattr(settings, name)

        if value is not None and value < 0:
            raise ConfigError(f"expected live.{name} not to be negative, got {value!r}")


def count_async_streams(settings: LiveSettings) -> int:
    """The number of streams that this process may hold open at a time on its event loop; 0 means that its clients poll."""
    if settings.mode is Mode.POLL:
        return 0

    return DEFAULT_ASYNC_STREAMS if settings.max_streams is None else settings.max_streams


def count_streams(settings: LiveSettings, environ: Mapping[str, Any]) -> int:
    """The number of streams that this WSGI server may hold open at a time; 0 means that its clients poll.

    A stream keeps a thread busy for as long as it lasts. A server with one thread would serve nothing else, and one with a
    pool would stop when the pool is used up; only Werkzeug's own server starts a thread for each request.
    """
    most = DEFAULT_STREAMS if settings.max_streams is None else settings.max_streams

    if settings.mode is Mode.STREAM:
        return most

    if settings.mode is Mode.POLL or not environ.get("wsgi.multithread"):
        return 0

    return most if settings.max_streams is not None or "werkzeug.socket" in environ else 0
