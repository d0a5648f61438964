"""The time for which a job is kept that no worker ended: a group, or one that was cancelled, expired or given up. Pure.

What ``using`` said goes first, then what workers have published of the task, what the task said when the job was enqueued,
what workers have published of the application, and last the settings of the process that ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isnan

import msgspec

from cherga.rules.options import LONGEST
from cherga.rules.reading import read_or
from cherga.rules.settings import BrokerSettings
from cherga.words.job import JobState
from cherga.words.keeping import Keeping
from cherga.words.push import JobHead

_unpack = msgspec.msgpack.Decoder(Keeping).decode

Published = Callable[[str], bytes | None]
"""The packed ``Keeping`` that is published under a name."""


def time_kept(to: JobState, task: str, head: JobHead, published: Published, settings: BrokerSettings) -> float:
    """Seconds for which a job that ended like this is kept."""
    sources = (head.overrides, _read(published(task)), head.keeping, _read(published("")))
    wishes = [_wish(source, to) for source in sources if source is not None]
    fallback = settings.result_ttl if to is JobState.SUCCEEDED else settings.failure_ttl
    return next((bounded(wish) for wish in wishes if wish is not None), fallback)


def bounded(seconds: float) -> float:
    """Seconds to keep a job, from 0 to a hundred years, whatever was stored."""
    return 0.0 if isnan(seconds) else min(max(seconds, 0.0), LONGEST)


def _wish(source: Keeping | object, to: JobState) -> float | None:
    name = "result_ttl" if to is JobState.SUCCEEDED else "failure_ttl"
    wish: float | None = getattr(source, name)
    return wish


def _read(packed: bytes | None) -> Keeping | None:
    return read_or(_unpack, packed or None, None)
