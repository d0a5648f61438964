"""For pytest: the fixtures ``cherga_testing`` and ``cherga_kit``, the marker ``cherga`` and the setting ``cherga_app``.

Loaded at every start of pytest, also where nobody tests jobs, so it stands beside the package: Cherga is loaded by whichever
test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

import pytest

OpenKit = Callable[..., AbstractContextManager[Any]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("cherga_app", "module:attribute of the application that the fixture cherga_kit is for", default="")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cherga(app=None, inline=False): the application and the mode of the fixture cherga_kit")


@pytest.fixture
def cherga_testing() -> OpenKit:
    """``with cherga_testing(app) as kit:`` puts the jobs of an application (a Flask application, too) under control."""
    return open_kit


@pytest.fixture
def cherga_kit(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The ``Kit`` of the application that the marker ``cherga`` names, else the setting ``cherga_app``."""
    marker = request.node.get_closest_marker("cherga")
    app, options = _asked(*marker.args, **marker.kwargs) if marker else (None, {})

    with open_kit(_found(app or request.config.getini("cherga_app")), **options) as kit:
        yield kit


def open_kit(app: Any, **options: Any) -> AbstractContextManager[Any]:
    """``testing`` of the application, or of that which a host framework's application carries."""
    carried = getattr(app, "extensions", {}).get("cherga", app)
    kit: AbstractContextManager[Any] = carried.testing(**options)
    return kit


def _asked(app: Any = None, **options: Any) -> tuple[Any, dict[str, Any]]:
    return app, options


def _found(app: Any) -> Any:
    if not app:
        raise pytest.UsageError(
            'expected to be told the application: @pytest.mark.cherga(app), or cherga_app = "module:app" in the configuration'
        )

    return import_module("cherga.worker.load").load_app(app) if isinstance(app, str) else app
