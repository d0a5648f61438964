"""Rates: at most so many starts in any window of the period. Pure; the broker keeps the log and gives the time.

The log holds the instants of starts with their numbers, oldest first. While it is short it is exact. A long one is kept by
the 64th part of the period, each part under its latest instant, so that it errs to the safe side only: never more starts in
a window than the rate says, and at most the 64th part of a period later than it would allow.
"""

from __future__ import annotations

import re

from cherga.rules.options import LONGEST, shown
from cherga.words.errors import ConfigError
from cherga.words.limits import Rate

Starts = tuple[tuple[float, int], ...]
"""Instant and number of starts, oldest first."""

PARTS = 64
EXACT = 2 * PARTS
"""Instants that are kept one by one."""
AHEAD = 60.0
"""Seconds by which a start may lie ahead of the clock of the one who asks; what is further ahead was noted before the clock
was set back, and must not close a limit for as long."""


LONGEST_TEXT = 30
"""Characters."""

_TEXT = re.compile(r"([0-9]{1,12})\s*/\s*([0-9]*\.?[0-9]*)\s*(s|m|h|d)")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def read_rate(text: str) -> Rate:
    """``"100/m"``, ``"5/s"``, ``"10/30s"`` as a rate. Raises ``ConfigError``."""
    found = _TEXT.fullmatch(text.strip()) if isinstance(text, str) and len(text) <= LONGEST_TEXT else None
    number, unit = (found[2] or "1", found[3]) if found else ("0", "s")

    if found is None or number == "." or int(found[1]) < 1 or not 0 < float(number) * _UNITS[unit] <= LONGEST:
        raise ConfigError(f"expected a rate like '100/m' (s, m, h or d; '10/30s' for other periods), got {shown(text)}")

    return Rate(int(found[1]), float(number) * _UNITS[unit])


def write_rate(rate: Rate) -> str:
    """The text of a rate."""
    unit = next((unit for unit in "dhm" if rate.period % _UNITS[unit] == 0), "s")
    number = rate.period / _UNITS[unit]
    return f"{rate.count}/{'' if number == 1 else f'{number:g}'}{unit}"


def allowance(starts: Starts, rate: Rate, now: float) -> int:
    """The number that may start now."""
    return max(0, rate.count - sum(number for _, number in _within(starts, rate, now)))


def again_in(starts: Starts, rate: Rate, now: float) -> float | None:
    """Seconds until at least one more may start, 0.0 for now; None when the rate allows none at all."""
    if rate.count <= 0:
        return None

    inside = _within(starts, rate, now)
    surplus = sum(number for _, number in inside) - rate.count

    for at, number in inside:
        if surplus < 0:
            break

        surplus -= number

        if surplus < 0:
            return max(0.0, at + rate.period - now)

    return 0.0


def started(starts: Starts, rate: Rate, now: float, number: int) -> Starts:
    """The log with ``number`` more starts; what has left the window is dropped."""
    inside = _within(starts, rate, now)
    log = (*inside, (max(now, inside[-1][0]) if inside else now, number))
    return log if len(log) <= EXACT else _by_parts(log, rate.period / PARTS)


def taken_back(starts: Starts, number: int, at: float | None = None) -> Starts:
    """The log without ``number`` starts that never came to pass: those of the instant ``at``, if not known the earliest.

    Never a later one in their place: it would leave the window too soon.
    """
    kept: list[tuple[float, int]] = []

    for instant, count in starts:
        gone = number if at is None or instant >= at else 0
        gone = min(gone, count)
        number -= gone

        if count > gone:
            kept.append((instant, count - gone))

    return tuple(kept)


def _within(starts: Starts, rate: Rate, now: float) -> Starts:
    """The starts of the window that ends now, and those of others whose clock is a little ahead."""
    latest = now + max(AHEAD, rate.period)
    return tuple((at, number) for at, number in starts if now - rate.period < at <= latest)


def _by_parts(log: Starts, part: float) -> Starts:
    merged: dict[int, tuple[float, int]] = {}

    for at, number in log:
        key = int(at // part)
        merged[key] = (at, merged[key][1] + number if key in merged else number)

    return tuple(merged.values())
