"""Finding the application that a worker is to run."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from inspect import iscoroutinefunction, signature
from pathlib import Path
from traceback import extract_tb
from typing import Any

from cherga.client.app import QueueTasks
from cherga.client.foreign import Explaining
from cherga.client.loading import loading
from cherga.rules.options import nearest, shown
from cherga.rules.own_code import own_frames
from cherga.rules.urls import working_folder
from cherga.words.errors import LoadError

CIRCLE = (
    "; modules import each other: import tasks inside the factory, or let the worker do it with "
    'cherga.tasks_from("package.tasks")'
)


def load_app(target: str) -> QueueTasks:
    """The ``QueueTasks`` behind ``module:attribute``; a file (``jobs.py``, ``./shop/jobs.py:app``) names its module too.

    The attribute may be a ``QueueTasks``, an application that carries one (``app.extensions["cherga"]``), or a factory
    without required arguments that returns either; without an attribute the module's only ``QueueTasks`` is taken.
    ``flask:TARGET`` asks Flask to load ``TARGET``. Raises ``LoadError`` with one clear line; the cause is chained.
    """
    with loading():
        app = _find_app(target)

    app.loaded_as = target
    return app


def _find_app(target: str) -> QueueTasks:
    if target.startswith("flask:"):
        return _from_object(_load_flask(target.removeprefix("flask:")), target)

    name, _, attribute = _split(target)
    folder, module_name = _find_module(name, target)
    module = _import(module_name, target, folder)

    return _from_object(_attribute(module, attribute, target) if attribute else _only_app(module, target), target)


def _split(target: str) -> tuple[str, str, str]:
    """Place and attribute; the colon of a drive (``C:\\shop\\jobs.py``) belongs to the place."""
    drive, rest = os.path.splitdrive(target)
    name, colon, attribute = rest.partition(":")
    return drive + name, colon, attribute


def _find_module(name: str, target: str) -> tuple[Path, str]:
    """The folder to import from, and the name. A file or folder stands for its module, a package for its dotted name."""
    path = Path(name)

    if not (name.endswith(".py") or len(path.parts) > 1 or name in (".", "..")):
        return _here(), name

    place = path.resolve()

    if not place.exists():
        raise LoadError(f"expected a file {path} (from {target!r}), but there is none in {_here()}")

    if place.is_dir() and not (place / "__init__.py").exists():
        raise LoadError(f"expected a module, got the folder {path}, which is no package (from {target!r}); name a file in it")

    names = [] if place.name == "__init__.py" else [place.stem if place.is_file() else place.name]
    folder = place.parent

    while (folder / "__init__.py").exists():
        names.insert(0, folder.name)
        folder = folder.parent

    return folder, ".".join(names)


def _here() -> Path:
    """The working directory; no absolute path where it was deleted."""
    return Path(working_folder() or ".")


def _import(name: str, target: str, folder: Path) -> Any:
    here = str(folder)

    if folder.is_absolute() and here not in sys.path and not ("" in sys.path and folder == _here()):
        sys.path.insert(0, here)

    if name == "cherga" and (folder / "cherga.py").exists():
        raise LoadError(f"expected a module with another name than the library's (from {target!r}); rename {here}/cherga.py")

    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise LoadError(
                f"expected a module named {name!r} (from {target!r}), but there is none in {here} or on the path"
                f"{_with_colon(name, target)}"
            ) from error

        raise LoadError(f"importing {name!r} failed: it needs a module named {error.name!r}, which is not installed") from error
    except Exception as error:
        raise LoadError(f"importing {name!r} failed{_place_of(error)}: {_told(error)}") from error
    except SystemExit as error:
        raise LoadError(f"importing {name!r} ended the interpreter (SystemExit: {error})") from error


def _with_colon(name: str, target: str) -> str:
    """The hint for ``jobs.app``, which is meant as ``jobs:app``."""
    module, _, attribute = name.rpartition(".")
    return f"; did you mean '{module}:{attribute}'?" if target == name and module in sys.modules else ""


def _attribute(module: Any, path: str, target: str) -> Any:
    found = module

    for name in path.removesuffix("()").split("."):
        if not hasattr(found, name):
            known = [key for key in vars(module) if not key.startswith("_")]
            raise LoadError(f"module {module.__name__!r} has no {path!r} (from {target!r}){nearest(path, known)}")

        found = getattr(found, name)

    return found


def _only_app(module: Any, target: str) -> Any:
    found = {id(value): value for value in vars(module).values() if isinstance(value, QueueTasks)}

    if len(found) == 1:
        return next(iter(found.values()))

    # An application that the module has made goes before its factory, which would make a second one.
    made = getattr(module, "app", None)

    if not found and (application := made if _carried(made) else getattr(module, "create_app", made)) is not None:
        return application

    names = [name for name, value in vars(module).items() if isinstance(value, QueueTasks)]
    count = f"{len(found)} ({', '.join(names)})" if found else "none"
    raise LoadError(f"expected one QueueTasks in module {target!r}, found {count}; name it: {target}:NAME")


def _from_object(found: Any, target: str) -> QueueTasks:
    if isinstance(found, QueueTasks):
        return found

    if (carried := _carried(found)) is not None:
        return carried

    if isinstance(found, Explaining):
        raise LoadError(f"expected {target!r} to be an application, got {found!r}; name the QueueTasks it belongs to")

    if iscoroutinefunction(found):
        raise LoadError(
            f"expected the factory {target!r} to be a plain function, but it is async def: nothing is there yet to await it; "
            "write def, and open what has to be awaited in the application's lifespan"
        )

    if iscoroutinefunction(type(found).__call__):
        raise LoadError(
            f"expected the application {target!r} to have a Cherga, but this {type(found).__name__} has none; write "
            "Cherga(app) with the Cherga of cherga.contrib.fastapi or cherga.contrib.starlette"
        )

    if callable(found) and not _is_flask(found):
        made = _call(found, target)

        if isinstance(made, QueueTasks):
            return made

        if (carried := _carried(made)) is not None:
            return carried

        if made is None:
            raise LoadError(f"expected the factory {target!r} to return an application, got None; does it end with return app?")

        found = made

    if _is_flask(found):
        raise LoadError(
            f"expected the Flask application {target!r} to have a Cherga, but it has none; make one with cherga = "
            "cherga.contrib.flask.Cherga(), and call cherga.init_app(app) where the application is made"
        )

    raise LoadError(
        f"expected {target!r} to be a QueueTasks, a factory of one, or an application initialised with Cherga's "
        f"init_app; got {shown(found)}"
    )


def _carried(application: Any) -> QueueTasks | None:
    """The ``QueueTasks`` that a Flask application has among its extensions, and a Starlette application in its state."""
    extensions = getattr(application, "extensions", None)
    state = getattr(application, "state", None)
    carried = extensions.get("cherga") if isinstance(extensions, dict) else getattr(state, "cherga", None)
    return carried if isinstance(carried, QueueTasks) else getattr(carried, "cherga", None)


def _is_flask(application: Any) -> bool:
    return isinstance(getattr(application, "extensions", None), dict) and hasattr(application, "app_context")


def _call(factory: Any, target: str) -> Any:
    if needed := _needed(factory):
        raise LoadError(
            f"expected the factory {target!r} to need no arguments, but it needs {', '.join(needed)}; give them defaults, or "
            "name a function without parameters that calls it"
        )

    try:
        return factory()
    except (Exception, SystemExit) as error:
        raise LoadError(f"the factory {target!r} failed{_place_of(error)}: {_told(error)}") from error


def _needed(factory: Any) -> list[str]:
    """Parameters without a default, as far as they can be known."""
    try:
        parameters = signature(factory).parameters.values()
    except (TypeError, ValueError):
        return []

    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _place_of(error: BaseException) -> str:
    """The innermost line of the application's own code."""
    own = own_frames(extract_tb(error.__traceback__))
    return f" at {own[-1].filename}:{own[-1].lineno}" if own else ""


def _told(error: BaseException) -> str:
    hint = CIRCLE if isinstance(error, ImportError) and "circular import" in str(error) else ""
    return f"{type(error).__name__}: {error}{hint}"


def _load_flask(target: str) -> Any:
    try:
        info = import_module("flask.cli").ScriptInfo(app_import_path=target or os.environ.get("FLASK_APP"))
        return info.load_app()
    except Exception as error:
        raise LoadError(f"Flask could not load {target or 'the application'!r}: {error}") from error
