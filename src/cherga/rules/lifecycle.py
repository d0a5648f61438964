"""Every legal change of a job's state, in one table. The diagram in the documentation is made from it."""

from __future__ import annotations

from enum import StrEnum

from cherga.words.job import JobState

S = JobState


class Move(StrEnum):
    """A change of a job's state."""

    PUSH = "push"
    REPLACE = "replace"
    PROMOTE = "promote"
    CLAIM = "claim"
    SETTLE = "settle"
    REAP = "reap"
    RELEASE = "release"
    EXPIRE = "expire"
    CANCEL = "cancel"
    RETRY = "retry"


MOVES: dict[Move, frozenset[tuple[JobState | None, JobState]]] = {
    Move.PUSH: frozenset((None, to) for to in (S.READY, S.SCHEDULED, S.BLOCKED, S.SUCCEEDED, S.CANCELLED)),
    Move.REPLACE: frozenset({(S.READY, S.SCHEDULED), (S.SCHEDULED, S.READY)}),
    Move.PROMOTE: frozenset({(S.SCHEDULED, S.READY)}),
    Move.CLAIM: frozenset({(S.READY, S.RUNNING), (S.READY, S.FAILED)}),
    Move.SETTLE: frozenset((S.RUNNING, to) for to in (S.SUCCEEDED, S.FAILED, S.CANCELLED, S.READY, S.SCHEDULED)),
    Move.REAP: frozenset((S.RUNNING, to) for to in (S.READY, S.SCHEDULED, S.FAILED, S.CANCELLED)),
    Move.RELEASE: frozenset((S.BLOCKED, to) for to in (S.READY, S.SCHEDULED, S.SUCCEEDED, S.CANCELLED)),
    Move.EXPIRE: frozenset((state, S.CANCELLED) for state in (S.READY, S.SCHEDULED, S.BLOCKED)),
    Move.CANCEL: frozenset((state, S.CANCELLED) for state in (S.READY, S.SCHEDULED, S.BLOCKED)),
    Move.RETRY: frozenset((state, S.READY) for state in (S.SUCCEEDED, S.FAILED, S.CANCELLED, S.SCHEDULED)),
}
"""States that each move leads from and to. A claim leads to ``failed`` for a row that cannot be read (``malformed``), a push
or a release to ``succeeded`` for a group, which needs no worker."""


def allowed(move: Move, before: JobState | None, after: JobState) -> bool:
    """True when ``move`` may take a job from ``before`` to ``after``."""
    return (before, after) in MOVES[move]


def sources(move: Move) -> frozenset[JobState]:
    """The states that ``move`` may find a job in."""
    return frozenset(before for before, _ in MOVES[move] if before is not None)


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    edges: dict[tuple[JobState | None, JobState], list[str]] = {}

    for move, pairs in MOVES.items():
        for pair in pairs:
            edges.setdefault(pair, []).append(move.value)

    lines = [f"    {before or '[*]'} --> {after}: {', '.join(names)}" for (before, after), names in edges.items()]
    return "\n".join(["stateDiagram-v2", *sorted(lines)])
