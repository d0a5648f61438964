"""Times as machines read them and people write them; ``cherga.rules.times`` has those that people read."""

from __future__ import annotations

import re
from datetime import datetime

from cherga.rules.times import DAY, HOUR, MINUTE
from cherga.words.clock import moment

_UNITS = {"": 1, "s": 1, "m": MINUTE, "min": MINUTE, "h": HOUR, "d": DAY}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


def iso(seconds: float | None) -> str | None:
    """ISO 8601 in UTC with a Z, for machines."""
    time = moment(seconds)
    return None if time is None else time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
        return time if time.utcoffset() is not None else time.astimezone()
    except (ValueError, OverflowError):
        raise ValueError(f"expected a time such as 2031-05-17T09:30 or 2031-05-17T07:30Z, got {text!r}") from None
