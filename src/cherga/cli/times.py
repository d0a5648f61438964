"""Times as machines read them and people write them; ``cherga.rules.times`` has those that people read."""

from __future__ import annotations

from datetime import datetime

from cherga.rules import times


def read_span(text: str) -> float:
    """A duration as seconds. Raises ``ValueError`` that says what was expected."""
    span = times.read_span(text)

    if span is None:
        raise ValueError(f"expected seconds or a number with s, m, h or d (90, 90s, 5m, 1h30m, 1d), got {text!r}")

    return span


def read_time(text: str) -> datetime:
    """An ISO 8601 time, local where it names no zone. Raises ``ValueError`` that says what was expected."""
    try:
        time = datetime.fromisoformat(text.strip())
        return time if time.utcoffset() is not None else time.astimezone()
    except (ValueError, OverflowError):
        raise ValueError(f"expected a time such as 2031-05-17T09:30 or 2031-05-17T07:30Z, got {text!r}") from None
