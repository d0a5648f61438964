"""Makes the schema in an empty file, brings an older one up to date, and refuses every file that is not ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import apsw

from cherga.brokers.sqlite.connection import SHORTEST_NAP, Patience
from cherga.brokers.sqlite.place import check_rights
from cherga.rules.settings import BrokerSettings
from cherga.words.errors import BrokerUnusable

APPLICATION_ID = 0x43485247
"""Stands in the file's header and says whose it is (the letters CHRG)."""
VERSION = 4
"""The version of the schema; ``upgrade_N.sql`` leads from the one before to N."""


PAGE = 2048
"""Bytes of a page of a new file. A small write puts four or five pages into the log: with larger ones its sync takes longer,
with smaller ones large writes do."""


def set_up(db: apsw.Connection, path: Path, settings: BrokerSettings) -> None:
    """Make the file usable, whoever else is opening it at the same moment; write nothing to a file that is not ours.

    Raises ``BrokerUnusable`` for another application's file, a newer schema, a file without write permission or with too many,
    or another namespace.
    """
    if db.readonly("main"):
        raise BrokerUnusable(f"cannot write to the queue file {path}; check the rights on it and on its folder")

    _check_owner(db, path)
    _check_version(db, path)
    check_rights(path)

    if _application(db) == 0:
        db.pragma("page_size", PAGE)
        _create(db, path, settings.namespace)
    elif _version(db) < VERSION:
        _upgrade(db)

    _switch_to_log(db, settings.busy_timeout)
    _check_namespace(db, path, settings.namespace)


def _check_owner(db: apsw.Connection, path: Path) -> None:
    tables = db.execute("select count(*) from sqlite_schema").get
    application = _application(db)

    if application != APPLICATION_ID and (application or tables or db.execute("pragma user_version").get):
        raise BrokerUnusable(f"{path} is a database of another application; give the queue a file of its own")


def _application(db: apsw.Connection) -> int:
    return int(db.execute("pragma application_id").get)


def _version(db: apsw.Connection) -> int:
    return int(db.execute("pragma user_version").get)


def _create(db: apsw.Connection, path: Path, namespace: str) -> None:
    """The whole schema in one transaction: who comes second finds a complete schema and does nothing."""
    with _transaction(db):
        _check_owner(db, path)

        if _application(db) == 0:
            db.execute(_read("schema.sql"))
            db.execute("insert into facts (name, value) values ('namespace', ?)", (namespace,))
            db.execute("insert into counters (lane, state, count) values (0, 0, 0)")
            db.execute(f"pragma application_id = {APPLICATION_ID}; pragma user_version = {VERSION}")


def _upgrade(db: apsw.Connection) -> None:
    """The steps, in one transaction: who comes second finds them done."""
    with _transaction(db):
        for version in range(_version(db) + 1, VERSION + 1):
            db.execute(_read(f"upgrade_{version}.sql"))
            db.execute(f"pragma user_version = {version}")


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


@contextmanager
def _transaction(db: apsw.Connection) -> Iterator[None]:
    db.execute("begin immediate")

    try:
        yield
        db.execute("commit")
    except BaseException:
        if db.in_transaction:
            db.execute("rollback")

        raise


def _switch_to_log(db: apsw.Connection, limit: float) -> None:
    """Write-ahead logging. While another process switches too, SQLite answers "busy" at once instead of waiting."""
    patience = Patience(max(limit, SHORTEST_NAP))
    calls = 0

    while True:
        try:
            db.execute("pragma journal_mode = wal")
            return
        except apsw.BusyError:
            if not patience(calls):
                raise

            calls += 1


def _check_version(db: apsw.Connection, path: Path) -> None:
    version = _version(db)

    if version > VERSION:
        raise BrokerUnusable(
            f"the queue file {path} has schema version {version}, this Cherga knows up to {VERSION}; upgrade Cherga here too"
        )


def _check_namespace(db: apsw.Connection, path: Path, namespace: str) -> None:
    owner = db.execute("select value from facts where name = 'namespace'").get

    if owner != namespace:
        raise BrokerUnusable(
            f"the queue file {path} belongs to application {owner!r}, this one is {namespace!r}; "
            "give each a file of its own (CHERGA_BROKER_URL=sqlite:///another.db), or both the same name"
        )
