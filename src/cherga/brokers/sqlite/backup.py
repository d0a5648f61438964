"""A copy of the file while it is in use: whole, of one moment, and private."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import apsw

from cherga.brokers.sqlite.faults import translated
from cherga.brokers.sqlite.place import companions
from cherga.words.errors import BrokerUnusable, ConfigError

PAGES = 2000
"""Copied in one step; between two of them the copying can be stopped."""

Read = Callable[[Callable[[apsw.Connection], int]], int]


def back_up(read: Read, path: Path, to: Path, replace: bool) -> int:
    """Copy the file at ``path`` to ``to``, and return how many jobs are in it. A copy is there whole, or not at all.

    Raises ``ConfigError`` when the target does not fit, or stands and is not to be replaced.
    """
    _check_target(path, to, replace)

    with _draft_beside(to) as draft:
        jobs = read(lambda db: _copy(db, draft))
        _check_whole(draft)
        _move(draft, to, replace)

    return jobs


def _check_target(path: Path, to: Path, replace: bool) -> None:
    own = {os.path.realpath(name) for name in (path, *companions(path))}

    if os.path.realpath(to) in own or (to.exists() and to.samefile(path)):
        raise ConfigError(f"expected another file than the queue's own, got {to}")

    if not to.parent.is_dir():
        raise ConfigError(f"expected the folder {to.parent} for the copy; there is none, create it")

    if to.exists() and not to.is_file():
        raise ConfigError(f"expected a file to write the copy to, got {to}, which is something else")

    if to.exists() and not replace:
        raise ConfigError(f"expected no file at {to} yet; say that it shall be replaced (--force), or give another name")

    for name in companions(to):
        if os.path.exists(name):
            raise ConfigError(f"expected no {name}: {to} is in use, or was not closed; give the copy another name")


@contextmanager
def _draft_beside(to: Path) -> Iterator[Path]:
    """An empty private file in the same folder, which is gone at the end of the block."""
    draft = to.with_name(f".{to.name}.{secrets.token_hex(4)}")

    try:
        try:
            os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise ConfigError(f"cannot write to the folder {to.parent} ({error.strerror}); check the rights on it") from error

        yield draft
    finally:
        for name in (draft, *companions(draft), f"{draft}-journal"):
            with suppress(FileNotFoundError):
                os.unlink(name)


def _copy(db: apsw.Connection, draft: Path) -> int:
    jobs = int(db.execute("select ifnull(sum(count), 0) from counters where lane > 0").get)  # and with it the moment is fixed

    with _opened(draft) as copy, copy.backup("main", db, "main") as copying:
        while not copying.done:
            copying.step(PAGES)

    return jobs


@contextmanager
def _opened(draft: Path) -> Iterator[apsw.Connection]:
    with translated(draft), closing(apsw.Connection(str(draft), flags=apsw.SQLITE_OPEN_READWRITE)) as db:
        yield db


def _check_whole(draft: Path) -> None:
    with _opened(draft) as copy:
        found = copy.execute("pragma quick_check(1)").get

    if found != "ok":
        raise BrokerUnusable(f"the queue file is damaged ({found}); no copy was kept; restore an earlier one")


def _move(draft: Path, to: Path, replace: bool) -> None:
    try:
        if replace:
            draft.replace(to)
        else:
            os.link(draft, to)  # which never takes the place of a file that has come meanwhile
    except FileExistsError as error:
        raise ConfigError(f"expected no file at {to} yet, and one has come meanwhile; give another name") from error
    except OSError:
        draft.rename(to)  # no links on this file system

    if os.name == "posix":
        _sync_folder(to.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)

    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
