"""Applications of this process, and the one that is meant where none is named."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any
from weakref import ReferenceType, ref

from cherga.rules.options import shown
from cherga.words.errors import ConfigError

_all: list[ReferenceType[Any]] = []
"""In the order in which they were made."""
_newcomers: list[Callable[[Any], None]] = []
_source: ContextVar[Any] = ContextVar("cherga_source")

set_source = _source.set
"""Say whose job runs here."""


def enter(application: Any) -> None:
    """An application was made."""
    _all.append(ref(application, _all.remove))

    for welcome in _newcomers:
        welcome(application)


def each(welcome: Callable[[Any], None]) -> None:
    """Call this with every application, those to come too."""
    _newcomers.append(welcome)

    for application in existing():
        welcome(application)


def existing() -> list[Any]:
    """The applications of this process, the one made last at the end."""
    return [application for each in list(_all) if (application := each()) is not None]


def current_source() -> Any:
    """The application whose job runs here; None outside a job."""
    return _source.get(None)


def application_of(connection: Any) -> Any:
    """The application that RQ's ``connection=`` names; the current one where it is None. Raises ``ConfigError``."""
    if connection is None:
        return current_application()

    if not hasattr(connection, "submitter"):
        raise ConfigError(f"expected connection to be the application, a QueueTasks, got {shown(connection)}")

    return connection


def current_application() -> Any:
    """The application whose job runs here, else the one made last. Raises ``ConfigError`` when there is none."""
    found = current_source() or next(reversed(existing()), None)

    if found is None:
        raise ConfigError("expected an application; make one first: app = QueueTasks(...)")

    return found
