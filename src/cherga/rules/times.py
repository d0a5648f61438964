"""Times and durations as people read them, in the local time zone. Pure but for that."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from cherga.words.clock import moment

MINUTE, HOUR, DAY = 60, 3600, 86_400

_UNITS = {"": 1, "s": 1, "m": MINUTE, "min": MINUTE, "h": HOUR, "d": DAY}
_PART = r"(\d+(?:\.\d+)?)\s*([a-z]*)"
_SPAN = re.compile(rf"{_PART}(?:\s*{_PART})*", re.ASCII)


def read_span(text: str) -> float | None:
    """``60``, ``90s``, ``5m``, ``1.5h``, ``1h 30m``, ``2d`` as seconds; None for a text that is no duration."""
    written = text.strip().lower()

    if not _SPAN.fullmatch(written):
        return None

    parts = re.findall(_PART, written)

    if any(unit not in _UNITS or (not unit and len(parts) > 1) for _, unit in parts):
        return None

    return sum(float(number) * _UNITS[unit] for number, unit in parts)


MOST = 10_000 * 365.25 * DAY
_UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)


def iso(seconds: float | None) -> str | None:
    """ISO 8601 in UTC with a Z, for machines."""
    time = moment(seconds)
    return None if time is None else time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def span(seconds: float) -> str:
    """A duration in its two largest units: ``12 ms``, ``3.2 s``, ``4 min 10 s``, ``2 h 5 min``, ``3 d 4 h``."""
    seconds = _bounded(seconds)

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
    whole = round(_bounded(seconds))

    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if whole >= 2 * size:
            return f"{round(whole / size)} {unit}"

    return f"{whole} s"


def exact(seconds: float) -> str:
    """A duration in the largest unit that leaves no rest: ``90 s``, ``90 min``, ``36 h``, ``1 d``, ``0.5 s``."""
    size, unit = next(
        (pair for pair in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")) if seconds and seconds % pair[0] == 0), (1, "s")
    )
    return f"{seconds / size:g} {unit}"


def from_now(then: float, now: float) -> str:
    """``in 5 min``, ``5 min ago``, or ``just now`` within a second."""
    if abs(then - now) < 1:
        return "just now"

    return f"in {rough(then - now)}" if then > now else f"{rough(now - then)} ago"


def local(seconds: float, now: float) -> str:
    """Date and time in the local time zone, with its name, for people; the date is left out for today."""
    time, today = _local(seconds), _local(now).date()
    return time.strftime("%H:%M:%S %Z" if time.date() == today else "%Y-%m-%d %H:%M:%S %Z")


def _bounded(seconds: float) -> float:
    """Ten thousand years at most, whatever was stored."""
    return min(seconds, MOST) if seconds == seconds else 0.0


def _local(seconds: float) -> datetime:
    time = moment(seconds)
    return (time or _UNKNOWN).astimezone()
