"""Progress: the share of a job that is done. Pure."""

from __future__ import annotations

import msgspec

from cherga.rules.reading import read_or
from cherga.words.job import JobState, Progress

_decode = msgspec.msgpack.Decoder(Progress).decode


def read_progress(packed: bytes | None) -> Progress | None:
    """The progress that a job has told last; None when it told none, or it cannot be read."""
    return read_or(_decode, packed or None, None)


def share_done(state: JobState, packed: bytes | None) -> float:
    """0 to 1: a job that has ended counts whole, one that does not run not at all."""
    if state.final:
        return 1.0

    progress = read_progress(packed) if state is JobState.RUNNING else None
    return (progress.percent or 0.0) / 100.0 if progress else 0.0
