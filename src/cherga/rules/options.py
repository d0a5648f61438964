"""Options as users write them, checked and turned into plain numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from math import inf

from cherga.rules.times import read_span
from cherga.words.errors import ConfigError
from cherga.words.later import difflib
from cherga.words.push import GROUP_TASK

Duration = float | int | timedelta | str
"""Seconds, a ``timedelta``, or a text such as ``"5m"``."""

LONGEST = 100 * 365 * 86_400
"""Seconds; a hundred years."""
EARLIEST, LATEST = 0.0, datetime(9998, 12, 31, tzinfo=UTC).timestamp()
"""Moments, in seconds since 1970."""
MOST = 1_000_000_000
"""The largest number of whatever is counted."""
LONGEST_TEXT = 10_000
"""Characters of one text that is stored beside a job: owner, description, tag, header, key, message."""
LONGEST_SHOWN = 200
"""Characters of a value that a message quotes."""
LOWEST_PRIORITY, HIGHEST_PRIORITY = -100, 100
NAME = re.compile(r"[\w.:/-]{1,200}")


def seconds(value: Duration, what: str) -> float:
    """A duration as seconds: 0 or more, a hundred years at most."""
    number = _plain_seconds(value)

    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= LONGEST:
        raise ConfigError(
            f'expected {what} to be seconds, a timedelta or a text like "5m", from 0 to a hundred years, got {shown(value)}'
        )

    return float(number)


def _plain_seconds(value: Duration) -> object:
    if isinstance(value, timedelta):
        return value.total_seconds()

    # A number alone may be anything that was not converted; written as text a duration says its unit.
    return read_span(value) if isinstance(value, str) and value.rstrip()[-1:].isalpha() else value


def run_limit(value: Duration | None, what: str = "max_time") -> float | None:
    """The limit of a run, as seconds; None: as long as it likes. 0 is refused, for it may be meant as either."""
    if value is None:
        return None

    if (limit := seconds(value, what)) == 0:
        raise ConfigError(f"expected {what} to be more than 0 seconds, or None for no limit, got {value!r}")

    return limit


def timestamp(value: datetime, what: str) -> float:
    """An aware datetime, from the year 1970 to the year 9998, as seconds since 1970: every clock on earth can show it."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise ConfigError(f"expected {what} to be a datetime with a time zone, got {shown(value)}")

    if not EARLIEST <= (number := _since_1970(value)) <= LATEST:
        raise ConfigError(f"expected {what} to lie between the years 1970 and 9998, got {shown(value)}")

    return number


def priority(value: int, what: str = "priority") -> int:
    """A whole number from -100 to 100; higher runs first."""
    if isinstance(value, bool) or not isinstance(value, int) or not LOWEST_PRIORITY <= value <= HIGHEST_PRIORITY:
        raise ConfigError(
            f"expected {what} to be a whole number from {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}, got {shown(value)}"
        )

    return value


def count(value: int, what: str) -> int:
    """A whole number, from 0 to a thousand million."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"expected {what} to be a whole number, 0 or more, got {shown(value)}")

    if value > MOST:
        raise ConfigError(f"expected {what} to be {MOST:,} at most, got {shown(value)}")

    return value


def at_least_one(value: int, what: str) -> int:
    """A whole number, 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"expected {what} to be a whole number, 1 or more, got {value!r}")

    return value


def text(value: str, what: str) -> str:
    """Text that every broker can store."""
    if not isinstance(value, str):
        raise ConfigError(f"expected {what} to be text, got {shown(value)}")

    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"expected {what} to be text that can be encoded, got {shown(value)}") from error

    return value


def short_text(value: str, what: str) -> str:
    """Text that stands beside a job and that lists show: ten thousand characters at most."""
    if len(text(value, what)) > LONGEST_TEXT:
        raise ConfigError(
            f"expected {what} to be at most {LONGEST_TEXT:,} characters, got {len(value):,}; store long text "
            "elsewhere and pass its name"
        )

    return value


def texts(value: Iterable[str], what: str) -> tuple[str, ...]:
    """Several short texts. A single one is refused: its letters would be meant."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(f"expected {what} to be a list of texts, got {shown(value)}")

    return tuple(short_text(each, f"each of {what}") for each in value)


def number(value: float, what: str, most: float = inf) -> float:
    """A finite number from 0 to ``most``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 <= value <= most and value < inf):
        limit = "a number, 0 or more" if most == inf else f"a number from 0 to {most:g}"
        raise ConfigError(f"expected {what} to be {limit}, got {shown(value)}")

    return value


def shown(value: object) -> str:
    """The value that came, for a message: as Python writes it, cut where that is long, and named where that cannot be had."""
    try:
        written = repr(value)
    except Exception:  # a number of thousands of digits, or an object whose own text fails
        return f"{'an' if type(value).__name__[0] in 'aeiou' else 'a'} {type(value).__name__} that cannot be shown"

    return written if len(written) <= LONGEST_SHOWN else f"{written[:LONGEST_SHOWN]}…"


def name(value: str, what: str) -> str:
    """1 to 200 letters, digits, or any of ``_ . : / -``: safe in logs, URLs and file names."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ConfigError(f"expected {what} to be 1 to 200 letters, digits or any of _ . : / -, got {shown(value)}")

    return value


def task_name(value: str, what: str = "a task's name") -> str:
    """A ``name`` that is not taken by groups of jobs."""
    if value == GROUP_TASK:
        raise ConfigError(f"expected {what} other than {GROUP_TASK!r}: the jobs that stand for groups are called so")

    return name(value, what)


def _since_1970(value: datetime) -> float:
    """Infinite for a moment at an end of the calendar that its time zone moves beyond it."""
    try:
        return value.timestamp()
    except OverflowError:
        return inf


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean "…"?`` where a known word is close, else what is known."""
    words = sorted(known)

    if close := difflib.get_close_matches(word, words, n=1):
        return f"; did you mean {close[0]!r}?"

    return f"; known: {', '.join(words[:20])}" if words else "; none is declared"
