"""Times as people read and write them."""

from __future__ import annotations

import re
from datetime import datetime

from cherga.words.clock import moment

MINUTE, HOUR, DAY = 60, 3600, 86_400
_UNITS = {"": 1, "s": 1, "m": MINUTE, "min": MINUTE, "h": HOUR, "d": DAY}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


def span(seconds: float) -> str:
    """A duration in its two largest units: ``12 ms``, ``3.2 s``, ``4 min 10 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))} ms"

    if seconds < 10:
        return f"{seconds:.1f} s"

    whole = round(seconds)

    for size, unit, small, small_unit in ((DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "min"), (MINUTE, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit} {rest} {small_unit}" if rest else f"{whole // size} {unit}"

    return f"{whole} s"


def rough(seconds: float) -> str:
    """A duration in one unit, for a narrow column: ``9 s``, ``90 s``, ``4 min``, ``36 h``, ``3 d``."""
    whole = round(seconds)

    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if whole >= 2 * size:
            return f"{round(whole / size)} {unit}"

    return f"{whole} s"


def from_now(then: float, now: float) -> str:
    """``in 5 min``, ``5 min ago``, or ``just now`` within a second."""
    if abs(then - now) < 1:
        return "just now"

    return f"in {rough(then - now)}" if then > now else f"{rough(now - then)} ago"


def iso(seconds: float | None) -> str | None:
    """ISO 8601 in UTC with a Z, for machines."""
    time = moment(seconds)
    return None if time is None else time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local(seconds: float, now: float) -> str:
    """Date and time in the local time zone, for people; the date is left out for today."""
    time, today = _local(seconds), _local(now).date()
    return time.strftime("%H:%M:%S" if time.date() == today else "%Y-%m-%d %H:%M:%S")


def read_span(text: str) -> float:
    """``60``, ``90s``, ``5m``, ``1.5h``, ``2d`` as seconds. Raises ``ValueError`` that says what was expected."""
    found = _SPAN.fullmatch(text.strip().lower())

    if not found or found[2] not in _UNITS:
        raise ValueError(f"expected seconds or a number with s, m, h or d (90, 90s, 5m, 2h, 1d), got {text!r}")

    return float(found[1]) * _UNITS[found[2]]


def read_time(text: str) -> datetime:
    """An ISO 8601 time, local where it names no zone. Raises ``ValueError`` that says what was expected."""
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"expected a time such as 2031-05-17T09:30 or 2031-05-17T07:30Z, got {text!r}") from None

    return time if time.utcoffset() is not None else time.astimezone()


def _local(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds).astimezone()
