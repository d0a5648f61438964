"""Edges: what the end of a job means for those that wait for it. Pure."""

from __future__ import annotations

from cherga.words.job import JobState
from cherga.words.push import EdgePolicy

_STRICTNESS = (EdgePolicy.ENDED, EdgePolicy.SUCCEEDED, EdgePolicy.TOGETHER)


def stricter(one: EdgePolicy, other: EdgePolicy) -> EdgePolicy:
    """The policy that holds where two edges of a job name the same parent."""
    return one if one is other else max(one, other, key=_STRICTNESS.index)


def upstream(end: JobState) -> str:
    """The reason to cancel a job that waited for one which ended like this."""
    return f"a job that it waited for {'was ' if end is JobState.CANCELLED else ''}{end}"


def satisfied(policy: EdgePolicy, end: JobState) -> bool:
    """True when a parent that ended like this lets the waiting job go on."""
    return policy is EdgePolicy.ENDED or end is JobState.SUCCEEDED
