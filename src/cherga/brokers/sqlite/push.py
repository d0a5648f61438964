"""Storing new jobs: groups that need no look around go in together, the others one by one."""

from __future__ import annotations

from collections.abc import Sequence

from cherga.brokers.sqlite.groups import push_group
from cherga.brokers.sqlite.newcomers import (
    SEQUENCE,
    STATE,
    Row,
    close_stillborn,
    find_kept,
    first_state,
    insert,
    make_row,
)
from cherga.brokers.sqlite.rows import CANCELLED, STATES
from cherga.brokers.sqlite.write import Write
from cherga.words.job import NewJob, PushAnswer, PushedJob, Reason

Group = Sequence[NewJob]


def push_groups(write: Write, groups: Sequence[Group]) -> list[PushAnswer]:
    """Store each group whole or not at all, and answer for each in order."""
    answers: list[PushAnswer] = []
    plain: list[Group] = []

    for group in groups:
        if _is_plain(group):
            plain.append(group)
            continue

        answers += _push_plain(write, plain)
        answers.append(push_group(write, group))
        plain = []

    return answers + _push_plain(write, plain)


def _is_plain(group: Group) -> bool:
    return not any(job.unique is not None or job.edges for job in group)


def _push_plain(write: Write, groups: Sequence[Group]) -> list[PushAnswer]:
    jobs = [job for group in groups for job in group]

    if not jobs:
        return [PushAnswer() for _ in groups]

    pushed = iter(_store(write, jobs))
    return [PushAnswer(tuple([next(pushed) for _ in group])) for group in groups]


def _store(write: Write, jobs: Sequence[NewJob]) -> list[PushedJob]:
    first = write.take_numbers(len(jobs))
    now = write.now
    rows = [make_row(write, job, sequence, first_state(job, now)) for sequence, job in enumerate(jobs, first)]

    if not insert(write, rows):
        return _answer_kept(write, jobs, rows)

    _close_expired(write, jobs, rows)
    return [PushedJob(job.id, STATES[row[STATE]]) for job, row in zip(jobs, rows, strict=True)]


def _answer_kept(write: Write, jobs: Sequence[NewJob], rows: Sequence[Row]) -> list[PushedJob]:
    """Some ids were kept before: all are answered as they stand."""
    kept = find_kept(write, [job.id for job in jobs])
    fresh = [(job, row) for job, row in zip(jobs, rows, strict=True) if kept[job.id][0] == row[SEQUENCE]]
    _close_expired(write, [job for job, _ in fresh], [row for _, row in fresh])
    return [PushedJob(job.id, STATES[kept[job.id][1]]) for job in jobs]


def _close_expired(write: Write, jobs: Sequence[NewJob], rows: Sequence[Row]) -> None:
    for job, row in zip(jobs, rows, strict=True):
        if row[STATE] == CANCELLED:
            close_stillborn(write, job, row[SEQUENCE], Reason.EXPIRED)
