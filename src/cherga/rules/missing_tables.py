"""Missing tables, as databases and their drivers tell of them. Nothing of a driver or a framework is loaded for that."""

from __future__ import annotations

import re
from collections.abc import Iterator

DEEPEST = 5
"""Errors that led to each other and are looked at."""

_SQLITE = re.compile(r"no such table: (?P<name>\S+)")
_POSTGRESQL = re.compile(r'relation "(?P<name>[^"]+)" does not exist')
_MYSQL = re.compile(r"Table '(?P<name>[^']+)' doesn't exist")
_SQLSTATE, _MYSQL_NUMBER = "42P01", 1146


def missing_table(error: BaseException) -> str | None:
    """The name of the table that was not there, if that is what this error, or one behind it, says."""
    return next((name for each in _behind(error) if (name := _told_by(each)) is not None), None)


def _behind(error: BaseException) -> Iterator[BaseException]:
    """The error, and what its library or its author says was the reason; errors met beside it are none."""
    found = [error]

    for _ in range(DEEPEST):
        if not found:
            return

        each = found.pop(0)
        yield each
        reasons = (_attribute(each, "orig"), _attribute(each, "__cause__"))
        found += [reason for reason in reasons if isinstance(reason, BaseException)]


def _told_by(error: BaseException) -> str | None:
    text = _text(error)

    if _class_name(error) == "OperationalError" and (match := _SQLITE.search(text)):
        return match["name"]

    if _SQLSTATE in (_attribute(error, "sqlstate"), _attribute(error, "pgcode")):
        match = _POSTGRESQL.search(text)
        return match["name"] if match else ""

    if (args := error.args) and args[0] == _MYSQL_NUMBER:
        match = _MYSQL.search(text)
        return match["name"] if match else ""

    return None


def _class_name(error: BaseException) -> str:
    return type(error).__name__


def _attribute(error: BaseException, name: str) -> object:
    """Errors may do anything when they are asked."""
    try:
        found: object = getattr(error, name, None)
    except Exception:
        return None

    return found


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""
