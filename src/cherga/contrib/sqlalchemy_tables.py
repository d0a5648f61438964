"""Tables of SQLAlchemy: whether a database has those that the metadata speaks of. Nothing is created, no empty file either."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.pool import QueuePool

from cherga.client.app import QueueTasks
from cherga.rules.missing_tables import missing_table
from cherga.rules.tracebacks import name_of, text_of
from cherga.words.proof import Finding, Plan

MOST_NAMED = 5
"""Missing tables that are named; of more only their number is told."""
IN_MEMORY = ("", ":memory:")
USUAL_REMEDY = "run your migrations, or metadata.create_all(engine) once"


class Database(Struct, frozen=True):
    """An engine with the tables that are expected behind it."""

    engine: sa.Engine
    tables: Sequence[sa.Table]
    key: str = ""
    """Its bind key; empty for the application's main database."""
    remedy: str = USUAL_REMEDY
    """The command that creates the tables."""
    setting: str = "create_engine(…, pool_size={})"
    """The setting of the size of its pool."""

    @property
    def place(self) -> str:
        """The path of its file, else the URL without the password."""
        return file_of(self.engine.url) or self.engine.url.render_as_string(hide_password=True)


def prove_tables(app: QueueTasks, engine: sa.Engine, metadata: sa.MetaData, remedy: str = USUAL_REMEDY) -> None:
    """Let the workers of this application look at the start whether the tables of the metadata are there.

    A job that misses one says which, and the ``remedy``: the command that creates it. With Flask-SQLAlchemy, Cherga does this.
    """

    def database() -> Database:
        return Database(engine, tuple(metadata.tables.values()), remedy=remedy)

    def explain(error: BaseException) -> str | None:
        if (name := missing_table(error)) is None:
            return None

        missing = missing_in(found := database())
        return f"no such table: {name}; {say_missing(found, missing)}" if missing else None

    app.proofs.append(lambda plan: look_at([database()], plan))
    app.explainers.append(explain)


def look_at(databases: Iterable[Database], plan: Plan) -> Iterator[Finding]:
    """The findings about each database, its tables and its pool."""
    for database in databases:
        yield from _look(database, is_alone=not plan.target)
        yield from _compare_pool(database, plan)


def missing_in(database: Database) -> list[str]:
    """The names of the tables that are not there. Raises what the database does."""
    with database.engine.connect() as connection:
        inspector = sa.inspect(connection)
        return [table.fullname for table in database.tables if not _is_there(inspector, table)]


def say_missing(database: Database, names: Sequence[str]) -> str:
    """One line about tables that are not there."""
    shown = ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
    tables = f"the table {shown}" if len(names) == 1 else f"the tables {shown}"
    return f"expected {tables} in {database.place}, {_emptiness(database, len(names))}; {database.remedy}"


def file_of(url: sa.URL) -> str | None:
    """The absolute path of a SQLite file; None for what is kept in memory or on a server."""
    path = url.database or ""

    if url.get_backend_name() != "sqlite" or path in IN_MEMORY or url.query.get("mode") == "memory":
        return None

    path = path.removeprefix("file:").partition("?")[0]
    return None if path in IN_MEMORY else os.path.abspath(path)


def is_in_memory(url: sa.URL) -> bool:
    """Every process has one of its own."""
    return url.get_backend_name() == "sqlite" and file_of(url) is None


def is_no_file(database: Database) -> bool:
    """To connect would make its file."""
    path = file_of(database.engine.url)
    return path is not None and not os.path.exists(path)


def say_in_memory(database: Database) -> str:
    """One line about a database that no other process sees."""
    url = database.engine.url.render_as_string(hide_password=True)
    return (
        f"the database {url} is in memory, where each process has one of its own: this worker sees nothing of what the "
        "application writes; name a file or a server"
    )


# --- tables


def _look(database: Database, is_alone: bool) -> Iterator[Finding]:
    if is_in_memory(database.engine.url) and not is_alone:
        yield Finding("database", say_in_memory(database), proven=False)
        return

    try:
        missing = [table.fullname for table in database.tables] if is_no_file(database) else missing_in(database)
    except Exception as error:
        told = f"the database {database.place} could not be asked: {name_of(error)}: {text_of(error).partition(chr(10))[0]}"
        yield Finding("database", told, proven=False)
        return

    if missing:
        yield Finding("tables", say_missing(database, missing), proven=False)
    else:
        key = f"{database.key}: " if database.key else ""
        yield Finding("database", f"{key}{database.place}, {'no file yet' if is_no_file(database) else 'initialised'}")
        yield Finding("tables", f"{key}{len(database.tables)} verified")


def _is_there(inspector: sa.Inspector, table: sa.Table) -> bool:
    return table.name in inspector.get_table_names(table.schema) or inspector.has_table(table.name, table.schema)


def _emptiness(database: Database, number: int) -> str:
    path = file_of(database.engine.url)

    if path is None or (os.path.exists(path) and os.path.getsize(path)):
        return "but it is missing" if number == 1 else "but they are missing"

    return "but this file is empty" if os.path.exists(path) else "but there is no such file"


# --- connections


def _compare_pool(database: Database, plan: Plan) -> Iterator[Finding]:
    if (most := _most_connections(database.engine)) is not None and most < plan.threads:
        yield Finding(
            "pool",
            f"{plan.threads} jobs run side by side in each process, but the pool of {database.place} gives {most} connections "
            f"at most, and who waits for one fails after a while; set {database.setting.format(plan.threads)}, or use "
            f"--threads {most}",
            proven=False,
        )


def _most_connections(engine: sa.Engine) -> int | None:
    """The most connections at a time; None where there is no limit."""
    pool = engine.pool

    if not isinstance(pool, QueuePool) or pool.size() == 0:
        return None

    overflow: int = getattr(pool, "_max_overflow", 0)
    return None if overflow < 0 else pool.size() + overflow
