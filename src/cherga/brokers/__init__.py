"""Floor 4, brokers: what keeps jobs. ``connect`` opens one by its URL and is the only place that imports a driver."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from cherga.doors.broker import FullBroker
from cherga.rules.settings import BrokerSettings
from cherga.rules.urls import masked
from cherga.words.errors import MissingExtra, UnknownBroker
from cherga.words.later import difflib

SCHEMES = {
    "memory": ("cherga.brokers.memory", "MemoryBroker", None),
    "sqlite": ("cherga.brokers.sqlite", "SQLiteBroker", None),
}
"""URL scheme → module, class and the extra that brings its driver (None: in the core)."""


def connect(url: str, settings: BrokerSettings) -> FullBroker:
    """The broker behind ``url``, not yet opened.

    Raises ``UnknownBroker`` for a scheme that is not shipped and ``MissingExtra`` when its driver is not installed.
    """
    scheme = url.partition(":")[0].partition("+")[0].lower()

    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in sorted(SCHEMES))
        close = difflib.get_close_matches(scheme, SCHEMES, n=1)
        hint = f"; did you mean {close[0]}://?" if close else ""
        raise UnknownBroker(f"expected a broker URL that begins with one of {known}; got {masked(url)!r}{hint}")

    module, name, extra = SCHEMES[scheme]

    try:
        broker = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "cherga").partition(".")[0] == "cherga":
            raise

        package = f"cherga[{extra}]" if extra else "cherga"
        raise MissingExtra(f"the broker {scheme}:// needs {error.name}; pip install --upgrade '{package}'") from error

    return cast(FullBroker, broker(url, settings))
