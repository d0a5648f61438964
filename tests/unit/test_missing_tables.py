"""A missing table is known by what drivers say, and nothing else is taken for one."""

from __future__ import annotations

import sqlite3

import pytest
import sqlalchemy as sa

from cherga.rules.missing_tables import missing_table


class UndefinedTable(Exception):
    """As psycopg tells it."""

    sqlstate = "42P01"


class Psycopg2Error(Exception):
    """As psycopg2 tells it."""

    pgcode = "42P01"


class ProgrammingError(Exception):
    """As the drivers of MySQL tell it."""


def raised_by(statement: str) -> BaseException:
    with sqlite3.connect(":memory:") as db, pytest.raises(sqlite3.OperationalError) as caught:
        db.execute(statement)

    db.close()
    return caught.value


def wrapped(error: BaseException) -> BaseException:
    """As a task meets it behind SQLAlchemy."""
    return sa.exc.ProgrammingError("select 1", {}, error)


def caused_by(error: BaseException) -> BaseException:
    outer = ValueError("the report could not be made")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (UndefinedTable('relation "user" does not exist\nLINE 1: select'), "user"),
        (Psycopg2Error('relation "blog.post" does not exist'), "blog.post"),
        (ProgrammingError(1146, "Table 'shop.user' doesn't exist"), "shop.user"),
        (UndefinedTable("отношение «user» не существует"), ""),
    ],
    ids=["psycopg", "psycopg2", "mysql", "in another language"],
)
def test_each_drivers_words_are_known(error: BaseException, name: str) -> None:
    assert missing_table(error) == name
    assert missing_table(wrapped(error)) == name
    assert missing_table(caused_by(wrapped(error))) == name


def test_what_sqlite_says_is_known_as_it_is_raised() -> None:
    error = raised_by("select * from post")

    assert missing_table(error) == "post"
    assert missing_table(wrapped(error)) == "post"


@pytest.mark.parametrize(
    "error",
    [
        raised_by("select nothing"),
        raised_by("this is no statement"),
        ValueError("no such table: post"),
        ProgrammingError(1064, "You have an error in your SQL syntax"),
        ProgrammingError(),
    ],
    ids=["column", "syntax", "another error's text", "another number", "nothing said"],
)
def test_other_errors_are_left_alone(error: BaseException) -> None:
    assert missing_table(error) is None


def test_an_error_met_beside_another_one_is_not_its_reason() -> None:
    outer = ValueError("no")
    outer.__context__ = raised_by("select * from post")

    assert missing_table(outer) is None


def test_an_error_that_cannot_be_asked_is_left_alone() -> None:
    class Hostile(Exception):
        def __getattr__(self, name: str) -> object:
            raise ZeroDivisionError

        def __str__(self) -> str:
            raise ZeroDivisionError

    assert missing_table(Hostile()) is None


def test_errors_in_a_circle_come_to_an_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one

    assert missing_table(one) is None
