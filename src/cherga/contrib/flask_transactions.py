"""Flask: jobs leave with the transaction of ``db.session``, and at the latest with the request."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast
from uuid import UUID

from flask import Flask, appcontext_tearing_down, g, has_app_context, has_request_context, request_tearing_down
from flask.globals import request_ctx

from cherga.client.app import QueueTasks
from cherga.client.departure import Departure, Unit, make_witness
from cherga.client.handle import Job
from cherga.client.signals import Event
from cherga.words.departure import When, Wish
from cherga.words.errors import ConfigError

FLASK_SQLALCHEMY = "sqlalchemy"
"""The name of Flask-SQLAlchemy among the extensions of an application."""
SCOPE = "_cherga_scope"
"""The name in ``g`` of what a command or a job holds."""
REQUEST_SCOPE = "_cherga_request_scope"
"""The same for a request."""


class FlaskDeparture:
    """Follows the sessions of one application; a ``Departure``.

    ``sqlalchemy`` is Flask-SQLAlchemy's object, or what ``follow`` takes; None: that of the application, if it has any, even
    one that is bound later; False: nothing is followed.
    """

    def __init__(self, cherga: QueueTasks, app: Flask, sqlalchemy: Any = None, when: When = When.COMMIT) -> None:
        self._cherga = cherga
        self._app = app
        self._given = sqlalchemy
        self._when = when
        self._inner: Any = None
        self._witness: Departure | None = None
        self._lock = threading.Lock()
        # Signals, for they come behind all teardown functions, one of which may commit.
        request_tearing_down.connect(end_request, app, weak=False)
        appcontext_tearing_down.connect(end_context, app, weak=False)
        if self._follow() is None and sqlalchemy is None:
            cherga.on.worker_started(self._begin_late)

        if self._inner is None and when is When.OUTBOX:
            # The table has to be part of the metadata before anything is created or migrated.
            raise ConfigError(
                "expected sqlalchemy=db together with when='outbox', or db.init_app(app) before cherga.init_app(app), so that "
                "the table cherga_outbox becomes part of the metadata"
            )

    def disconnect(self) -> None:
        """Another application is served from now on."""
        self._cherga.on.worker_started.disconnect(self._begin_late)

        if self._inner is not None and self._inner.relay is not None:
            self._inner.relay.disconnect()

    def find_unit(self, wish: Wish | None) -> Unit | None:
        """The open transaction of the current session."""
        inner: Departure | None = self._inner or self._follow()

        if inner is not None:
            return inner.find_unit(wish)

        if self._witness is None and self._given is None:
            self._witness = make_witness(self._cherga.name)

        if self._witness is not None and wish is None:
            return self._witness.find_unit(wish)

        if wish is not None and not (wish.when is When.NOW and wish.session is None):
            raise ConfigError(
                f"expected the application {self._app.name} to have Flask-SQLAlchemy for when= and session=, and found none; "
                "bind it with db.init_app(app), or give Cherga(app, sqlalchemy=…) what you make sessions with"
            )

        return None

    def find(self, id: UUID) -> Job[Any] | None:
        """The handle of a job that the current request or session holds."""
        inner: Departure | None = self._inner
        return None if inner is None else inner.find(id)

    def _follow(self) -> Any:
        """Follow what was given, or what the application has by now; None where that is nothing."""
        sessions = self._app.extensions.get(FLASK_SQLALCHEMY) if self._given is None else self._given

        if sessions is None or sessions is False:
            return None

        with self._lock:
            if self._inner is None:
                # Opened by name: an application without SQLAlchemy does not need it.
                make = import_module("cherga.contrib.flask_sqlalchemy").make_departure
                self._inner = make(self._cherga, sessions, self._when, find_scope)

        return self._inner

    def _begin_late(self, event: Event) -> None:
        """A worker has started, before anything was enqueued: an extension that was bound late is seen here first."""
        if self._inner is None and (inner := self._follow()) is not None and inner.relay is not None:
            inner.relay.begin(event)


def end_request(sender: Flask, exc: BaseException | None = None) -> None:
    """A request is over. Its application context ends with it, unless somebody had pushed one before, as tests do."""
    if _is_inside_another_context():
        _end(REQUEST_SCOPE, exc)


def end_context(sender: Flask, exc: BaseException | None = None) -> None:
    """The application context of a request, a command or a job is over."""
    for name in (REQUEST_SCOPE, SCOPE):
        _end(name, exc)


def _end(name: str, error: BaseException | None) -> None:
    if (scope := g.pop(name, None)) is not None:
        scope.end(error or sys.exc_info()[1])  # a command that fails does not tell its context


def _is_inside_another_context() -> bool:
    """True when the request found an application context and pushed none; Flask 3.2 always pushes one."""
    tokens: Any = getattr(cast(Any, request_ctx)._get_current_object(), "_cv_tokens", None)
    return bool(tokens and tokens[-1][1] is None)


def find_scope(make: Callable[[], Any]) -> Any:
    """What the current request, or else the application context, holds; None outside of both."""
    if not has_app_context():
        return None

    name = REQUEST_SCOPE if has_request_context() else SCOPE

    if name not in g:
        setattr(g, name, make())

    return g.get(name)
