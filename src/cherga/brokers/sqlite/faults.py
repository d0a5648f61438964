"""Faults of SQLite, as the errors that those who use a broker know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from cherga.words.errors import BrokerError, BrokerFull, BrokerUnavailable, BrokerUnusable


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn an error of SQLite, or the going of the file, into a ``BrokerError`` that names the file and says what to do."""
    try:
        yield
    except apsw.Error as error:
        raise explain(error, path) from error
    except FileNotFoundError as error:
        raise BrokerUnusable(f"the queue file {path} is gone ({error.strerror}); stop, put it back, and start again") from error


def explain(error: apsw.Error, path: Path) -> BrokerError:
    """The broker error for an error of SQLite."""
    match error:
        case apsw.BusyError() | apsw.LockedError():
            return BrokerUnavailable(f"the queue file {path} is held by another process; try again")
        case apsw.FullError():
            return BrokerFull(f"the disk is full: cannot write to the queue file {path}; make room")
        case apsw.NotADBError():
            return BrokerUnusable(f"expected a queue file at {path}, found something that is not an SQLite database")
        case apsw.CorruptError():
            return BrokerUnusable(f"the queue file {path} is damaged ({error}); restore a backup or start with a new one")
        case apsw.ReadOnlyError() | apsw.PermissionsError() | apsw.CantOpenError() | apsw.AuthError():
            return BrokerUnusable(f"cannot write to the queue file {path} ({error}); check the rights on it and on its folder")
        case apsw.ConnectionClosedError():
            return BrokerUnavailable(f"the queue file {path} was closed in the meantime")
        case apsw.IOError():
            return BrokerUnavailable(f"reading or writing the queue file {path} failed ({error}); look at the disk")
        case _:
            return BrokerUnusable(f"the queue file {path} answered {type(error).__name__}: {error}")
