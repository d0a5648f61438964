"""Notices: when a decision of a broker about a job is worth one, and its words. Pure."""

from __future__ import annotations

from cherga.rules.times import exact
from cherga.words.job import JobError, JobState, Reason
from cherga.words.notice import Notice
from cherga.words.push import GROUP_TASK

NOTICES_KEPT = 10_000
"""Notices that nobody has told, at most; older ones go first."""
TOLD_WITHIN = 7 * 86_400.0
"""Seconds after which nobody is told any more."""

AGAIN = (JobState.READY, JobState.SCHEDULED)


def is_news(task: str, to: JobState, reason: Reason | None) -> bool:
    """True when anybody wants to hear of it: of ends, and of losses by a death. A group adds nothing to its members."""
    return task != GROUP_TASK and (to.final or reason in (Reason.CRASHED, Reason.LOST))


def words_for(notice: Notice, crash_cap: int) -> str:
    """The state of the job in words, and what comes next: ``starts again, crash 1 of 3``."""
    if notice.state in AGAIN and notice.reason is Reason.LOST:
        return "was lost with its whole worker and starts again, uncharged"

    if notice.state in AGAIN:
        return f"lost its worker process and starts again, {crash_of(notice.crashes, crash_cap)}"

    why = f" ({notice.reason})" if notice.reason else ""
    return f"{notice.state}{why}{f': {notice.message}' if notice.message else ''}"


def error_of(notice: Notice) -> JobError | None:
    """The error to show; None for a job that was cancelled."""
    if notice.state is JobState.CANCELLED:
        return None

    if notice.state is JobState.FAILED and notice.message:
        return JobError((notice.error.type if notice.error else "Failed"), notice.message)

    return notice.error


def crash_of(crashes: int, cap: int) -> str:
    """``crash 1 of 3``."""
    return f"crash {crashes} of {max(cap, crashes)}"


def next_words(state: JobState, reason: Reason | None, crashes: int, cap: int, wait: float) -> str:
    """The next step for a job that was taken back from a dead worker."""
    if state.final:
        return f"{state} ({reason})" if reason else str(state)

    if reason is Reason.CRASHED:
        when = f" in {exact(round(wait))}" if wait >= 1 else ""
        return f"starts again{when}, {crash_of(crashes, cap)}"

    if reason is Reason.LOST:
        return "starts again, uncharged"

    return "was interrupted and starts again" if reason is Reason.INTERRUPTED else "had not begun, starts again"
