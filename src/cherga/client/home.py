"""The home of an application's jobs: where they are kept, and the command that starts a worker for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from cherga.rules.obstacles import Home
from cherga.rules.urls import located


def home_of(broker_url: str, target: str | None) -> Home:
    """The home of the jobs under this URL; ``target`` names the application as ``-A`` does, as far as that is known."""
    if broker_url.startswith("memory:"):
        return Home(broker_url, "with app.worker():")

    place = located(broker_url)
    return Home(place, f"cherga worker -A {target}") if target else Home(place)


def importable_name(wanted: Iterable[object], modules: Iterable[str]) -> str | None:
    """The module and the name under which one of these objects stands in one of these modules, or in the program itself."""
    found = (f"{_name_of(module)}:{name}" for module in _loaded(["__main__", *modules]) for name in _names(module, wanted))
    return next(found, None)


def _loaded(names: Iterable[str]) -> Iterator[Any]:
    return (module for name in dict.fromkeys(names) if (module := sys.modules.get(name)) is not None and _name_of(module))


def _names(module: Any, wanted: Iterable[object]) -> Iterator[str]:
    return (name for name, value in list(vars(module).items()) if any(value is each for each in wanted))


def _name_of(module: Any) -> str:
    """The name under which a worker can import it; nothing for what was typed in."""
    if module.__name__ != "__main__":
        return str(module.__name__)

    spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    return spec.name.removesuffix(".__main__") if spec else os.path.splitext(os.path.basename(file))[0] if file else ""
