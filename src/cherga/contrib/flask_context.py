"""The context of a job in a Flask application: its own, with what travelled there from the request that enqueued it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import import_module
from io import BytesIO
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from flask import Flask, current_app, g, has_app_context, has_request_context, request
from flask.ctx import AppContext

from cherga.client.travelling import TRACEPARENT, trace_id
from cherga.rules.options import shown
from cherga.words.errors import ConfigError

logger = logging.getLogger("cherga.worker")

LOCALE = "locale"
"""The header with the locale that the request had by Flask-Babel."""
VALUE = "g."
"""The beginning of a header for a value of ``g``; its name stands behind."""
_PORTS = {"http": "80", "https": "443"}


class Journey:
    """The luggage of one application's jobs, and the contexts that they run in.

    ``carry`` names values of ``g``; with ``base_url`` a job has a request without content, which ``url_for`` needs.
    """

    def __init__(self, app: Flask, base_url: str | None = None, carry: tuple[str, ...] = ()) -> None:
        self._app = app
        self._carry = carry
        self._environment = environment_of(base_url) if base_url else None

    # --- where a job is enqueued

    def pack(self, own: Mapping[str, str] | None) -> dict[str, str]:
        """The headers that a job enqueued here takes along; ``own`` are those of the job that enqueues it, None outside one."""
        if not has_app_context() or cast(Any, current_app)._get_current_object() is not self._app:
            return {}

        return {**_trace(), **self._locale(own), **{f"{VALUE}{name}": _text(name) for name in self._carry if name in g}}

    def _locale(self, own: Mapping[str, str] | None) -> dict[str, str]:
        """The locale of the request; of a job that has brought one."""
        has_one = has_request_context() if own is None else LOCALE in own

        if not has_one or "babel" not in self._app.extensions:
            return {}

        try:
            locale = _babel().get_locale()
        except Exception:
            logger.warning("the locale selector failed; the job takes no locale along", exc_info=True)
            return {}

        return {LOCALE: str(locale)} if locale is not None else {}

    # --- where it runs

    def enter(self, headers: Mapping[str, str]) -> AbstractContextManager[object]:
        """A context like that of a request, for one job alone: its end removes sessions and gives connections back."""
        if not headers and self._environment is None:
            return self._app.app_context()

        return self._furnished(headers)

    @contextmanager
    def _furnished(self, headers: Mapping[str, str]) -> Iterator[None]:
        with ExitStack() as stack:
            for context in self._contexts():
                stack.enter_context(context)

            for name in self._carry:
                if (text := headers.get(f"{VALUE}{name}")) is not None:
                    setattr(g, name, msgspec.json.decode(text))

            if (locale := headers.get(LOCALE)) and "babel" in self._app.extensions:
                stack.enter_context(_spoken(locale))

            yield

    def _contexts(self) -> list[AbstractContextManager[object]]:
        """The application's, and inside it the request's, which Flask 3.2 has made one."""
        if self._environment is None:
            return [self._app.app_context()]

        asked: Any = self._app.request_context({**self._environment, "wsgi.input": BytesIO()})
        return [asked] if isinstance(asked, AppContext) else [self._app.app_context(), asked]


def environment_of(base_url: str) -> dict[str, Any]:
    """The environment that a server would make of a request for this address. Raises ``ConfigError`` for what is none."""
    parts = urlsplit(base_url)

    if parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(f"expected base_url to be an address such as 'https://shop.example', got {shown(base_url)}")

    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": parts.path.rstrip("/"),
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": parts.hostname,
        "SERVER_PORT": str(parts.port or _PORTS[parts.scheme]),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": parts.netloc.rpartition("@")[2],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": parts.scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def _trace() -> dict[str, str]:
    header = request.headers.get(TRACEPARENT) if has_request_context() else None
    return {TRACEPARENT: header} if header and trace_id(header) else {}


def _text(name: str) -> str:
    """A value of ``g`` as a header has it. Raises ``ConfigError`` for one that would not come back as it is."""
    value = g.get(name)

    try:
        packed = msgspec.json.encode(value)
        is_same = msgspec.json.decode(packed) == value
    except Exception:
        packed, is_same = b"", False

    if not is_same:
        raise ConfigError(
            f"expected g.{name}, which CHERGA's carry names, to be plain data (text, numbers, lists, dictionaries), got "
            f"{shown(value)}; let an id travel, and look it up in the job"
        )

    return packed.decode()


def _babel() -> Any:
    # By name: who does not use Flask-Babel need not have it.
    return import_module("flask_babel")


@contextmanager
def _spoken(locale: str) -> Iterator[None]:
    """The locale for the block; the application's usual one in place of one that is not known here."""
    with ExitStack() as stack:
        try:
            stack.enter_context(_babel().force_locale(locale))
        except Exception as error:
            logger.warning("the locale %r that a job brought is not known here: %s", locale, error)

        yield
