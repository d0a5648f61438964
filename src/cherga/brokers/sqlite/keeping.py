"""For how long a job is kept that no worker ended; the rule is ``cherga.rules.keeping``."""

from __future__ import annotations

from cherga.brokers.sqlite.rows import STATES
from cherga.brokers.sqlite.write import Write
from cherga.rules import keeping
from cherga.words.keeping import KEEPING
from cherga.words.push import JobHead

_PUBLISHED = "select data from definitions where kind = ? and name = ?"


def time_kept(write: Write, lane: int, head: JobHead, to: int) -> float:
    """Seconds for which a job of this lane is kept that ends like this."""

    def published(name: str) -> bytes | None:
        data: bytes | None = write.value(_PUBLISHED, (KEEPING, name))
        return data

    place = write.lanes.get(write.db, lane)
    return keeping.time_kept(STATES[to], "" if place is None else place.task, head, published, write.settings)
