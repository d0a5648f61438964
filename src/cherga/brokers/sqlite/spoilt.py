"""Rows that somebody else wrote, or a disk: what cannot be right in one is passed over, and said once."""

from __future__ import annotations

import logging

logger = logging.getLogger("cherga.broker")

MOST_TOLD = 1000

_told: set[tuple[str, str]] = set()


def read_text(stored: bytes | None) -> str:
    """Text that was asked for as a blob, so that one which is not UTF-8 spoils no list."""
    return (stored or b"").decode(errors="replace")


def pass_over(table: str, row: object) -> None:
    """Say once in this process that this row is passed over, and what to do about it."""
    key = (table, str(row)[:200])

    if key in _told or len(_told) >= MOST_TOLD:
        return

    _told.add(key)
    logger.warning(
        "a row of table %s in the queue file cannot be right and is passed over: %s; look at it in a copy of the file, and "
        "delete it while no worker runs",
        table,
        key[1],
        extra={"action": "row.spoilt", "table": table},
    )
