"""The proof of a Flask application: its tables, its migrations, its connections; and what an error about one of them means.

Flask-SQLAlchemy and Flask-Migrate are looked at where the application uses them, and loaded nowhere else.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from inspect import isfunction, unwrap
from types import ModuleType
from typing import Any

import click
from flask import Flask

from cherga.client.explainers import OUTSIDE_APPLICATION
from cherga.rules.missing_tables import missing_table
from cherga.rules.tracebacks import name_of, text_of
from cherga.words.clock import SystemClock
from cherga.words.proof import Finding, Plan

KNOWN_FOR = 5.0
"""Seconds for which an explanation is taken for true: a thousand jobs that miss a table ask the database once."""
OUTSIDE_REQUEST = "Working outside of request context"
NO_SERVER_NAME = "Unable to build URLs outside an active request"


class FlaskProof:
    """Looks at the application that is bound, whenever it is asked."""

    def __init__(self, bound: Callable[[], Flask]) -> None:
        self._bound = bound
        self._plan = Plan(threads=1, concurrency=1)
        self._known: dict[str, tuple[float, str]] = {}

    def prove(self, plan: Plan) -> Iterator[Finding]:
        """The findings about the databases of the application."""
        self._plan = plan
        app = self._bound()

        with app.app_context():
            databases = _databases(app, plan.target)

            if databases:
                yield from _tables().look_at(databases, plan)
                yield from _compare_migrations(app, databases[0], plan.target)

    def explain(self, error: BaseException) -> str | None:
        """The fault of a job's surroundings that shows in an error which it has met; None for another error."""
        if (name := missing_table(error)) is not None:
            return self._explain_table(name)

        return _explain_context(text_of(error)) if type(error) is RuntimeError else None

    def _explain_table(self, name: str) -> str | None:
        until, why = self._known.get(name, (0.0, ""))

        if until < (now := SystemClock.monotonic()):
            why = self._look_for(name)
            self._known = {name: (now + KNOWN_FOR, why)}  # what was known of others may well have changed

        return why or None

    def _look_for(self, name: str) -> str:
        app = self._bound()

        with app.app_context():
            databases = _databases(app, self._plan.target)
            told = next(filter(None, (self._say_of(database, name) for database in databases)), "")

        if not told and databases:
            told = f"there is none in {' or '.join(database.place for database in databases)}, and no model speaks of it"

        return f"no such table: {name}; {told}" if told else ""

    def _say_of(self, database: Any, name: str) -> str:
        """One line if this is the database that lacks the table."""
        tables = _tables()

        if tables.is_in_memory(database.engine.url) and self._plan.target:
            return str(tables.say_in_memory(database))

        missing = tables.missing_in(database)
        return str(tables.say_missing(database, missing)) if _plain(name) in map(_plain, missing) else ""


def _explain_context(text: str) -> str | None:
    if text.startswith(OUTSIDE_APPLICATION):
        return "a thread or callback that a job starts has no application context; give it ctx.bind(function), which enters one"

    if text.startswith(NO_SERVER_NAME):
        return 'a job has no request to take the address from; set app.config["CHERGA"]["base_url"], such as "https://shop.example"'

    if text.startswith(OUTSIDE_REQUEST):
        return (
            "a job has no request; pass what it needs as arguments, or give it an empty one with "
            'app.config["CHERGA"]["base_url"]'
        )

    return None


def _plain(table: str) -> str:
    """The name without its schema."""
    return table.rpartition(".")[2]


# --- databases


def _tables() -> ModuleType:
    # By name: who uses no SQLAlchemy need not have it.
    return import_module("cherga.contrib.sqlalchemy_tables")


def _databases(app: Flask, target: str) -> list[Any]:
    """Those of Flask-SQLAlchemy 3, the main one first; inside the application's context."""
    db = app.extensions.get("sqlalchemy")
    engines: Mapping[str | None, Any] = getattr(db, "engines", {})

    if not engines or not hasattr(db, "metadatas"):
        return []

    kind, remedy = _tables().Database, _remedy(app, target)
    keys = sorted(engines, key=lambda key: (key is not None, str(key)))
    return [kind(engines[key], _expected(db, key), key or "", remedy, _pool_setting(key)) for key in keys]


def _expected(db: Any, key: str | None) -> tuple[Any, ...]:
    """The tables that the models of this bind speak of."""
    metadata = db.metadatas.get(key)
    return tuple(metadata.tables.values()) if metadata is not None else ()


def _pool_setting(key: str | None) -> str:
    if key is None:
        return 'SQLALCHEMY_ENGINE_OPTIONS = {{"pool_size": {}}}'

    return f'"pool_size": {{}} in SQLALCHEMY_BINDS[{key!r}]'


# --- what creates the tables


def _remedy(app: Flask, target: str) -> str:
    flask = _flask_command(target)

    if "migrate" in app.extensions:
        return f"create what is missing with: {flask} db upgrade"

    if own := _command_that_creates(app.cli):
        return f"create what is missing with: {flask} {own}"

    return f'create what is missing once with: echo "db.create_all()" | {flask} shell'


def _flask_command(target: str) -> str:
    place = target.removeprefix("flask:")
    return f"flask --app {shlex.quote(place)}" if place and _is_flasks(place) else "flask"


def _is_flasks(place: str) -> bool:
    """Flask finds its application there, too."""
    module, _, attribute = place.partition(":")
    found = getattr(sys.modules.get(module), attribute.partition("(")[0], None)
    return not attribute or "(" in attribute or module.endswith(".py") or isinstance(found, Flask) or isfunction(found)


def _command_that_creates(group: click.Group, before: str = "") -> str | None:
    """The application's own command that calls ``create_all``."""
    for name, command in group.commands.items():
        words = f"{before}{name}"

        if isinstance(command, click.Group):
            if found := _command_that_creates(command, f"{words} "):
                return found
        elif "create_all" in getattr(getattr(unwrap(command.callback or len), "__code__", None), "co_names", ()):
            return words

    return None


# --- migrations


def _compare_migrations(app: Flask, database: Any, target: str) -> Iterator[Finding]:
    """The migrations that the database has seen beside those that the code knows."""
    if (extension := app.extensions.get("migrate")) is None or not _can_be_asked(database):
        return

    try:
        heads, current, known = _revisions(extension, database)
    except Exception as error:
        told = text_of(error).partition("\n")[0]
        yield Finding("migrations", f"the migrations could not be looked at: {name_of(error)}: {told}", proven=False)
        return

    if current == heads:
        yield Finding("migrations", f"at the head {_named(heads)}" if heads else "none yet")
    else:
        yield Finding("migrations", _say_behind(heads, current, known, f"{_flask_command(target)} db"), proven=False)


def _can_be_asked(database: Any) -> bool:
    tables = _tables()
    return not tables.is_in_memory(database.engine.url) and not tables.is_no_file(database)


def _revisions(extension: Any, database: Any) -> tuple[set[str], set[str], set[str]]:
    """The heads of the code, those of the database, and all revisions that the code knows."""
    scripts = import_module("alembic.script").ScriptDirectory.from_config(extension.migrate.get_config())
    options = {name: value for name, value in extension.configure_args.items() if name.startswith("version_table")}

    with database.engine.connect() as connection:
        context = import_module("alembic.migration").MigrationContext.configure(connection, opts=options)
        current = set(context.get_current_heads())

    return set(scripts.get_heads()), current, {script.revision for script in scripts.walk_revisions()}


def _say_behind(heads: set[str], current: set[str], known: set[str], command: str) -> str:
    if strange := current - known:
        return (
            f"the database is at the migration {_named(strange)}, which this code does not know: it is older than the "
            "database, or of another branch; deploy the code that the database belongs to"
        )

    if not current:
        return (
            f"the database has seen no migration, the code is at {_named(heads)}; run: {command} upgrade (or: {command} stamp "
            "head, where create_all made the tables)"
        )

    return f"the database is at the migration {_named(current)}, the code at {_named(heads)}; run: {command} upgrade"


def _named(revisions: set[str]) -> str:
    return ", ".join(sorted(revisions)) or "none"
