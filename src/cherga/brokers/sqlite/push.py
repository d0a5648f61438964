"""Storing new jobs: groups that need no look around go straight in, the others are planned first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, groupby

from cherga.brokers.sqlite.groups import push_tied
from cherga.brokers.sqlite.newcomers import (
    SEQUENCE,
    STATE,
    Row,
    close_stillborn,
    find_kept,
    insert,
    insert_one,
    make_row,
    make_rows,
)
from cherga.brokers.sqlite.room import Room
from cherga.brokers.sqlite.rows import CANCELLED, CODES, STATES
from cherga.brokers.sqlite.write import Write
from cherga.rules.newcomers import first_state, read_times
from cherga.words.job import Reason
from cherga.words.push import GROUP_TASK, NewJob, PushAnswer, PushedJob

Group = Sequence[NewJob]


def push_groups(write: Write, groups: Sequence[Group]) -> list[PushAnswer]:
    """Store each group whole or not at all, and answer for each in order."""
    if not groups:
        return []

    if len(groups) == len(groups[0]) == 1 and _is_plain(groups[0]) and (answer := _push_one(write, groups[0][0])) is not None:
        return [answer]

    room = Room(write)

    if room.is_limited(groups):
        return [answer for group in groups for answer in _push_run(write, [group], room)]

    return _push_plain(write, groups) if all(map(_is_plain, groups)) else _push_run(write, groups)


def _push_run(write: Write, groups: Sequence[Group], room: Room | None = None) -> list[PushAnswer]:
    answers: list[PushAnswer] = []

    for plain, run in groupby(groups, _is_plain):
        alike = list(run)
        answers += _push_plain(write, alike) if plain and room is None else push_tied(write, alike, room)

    return answers


def _is_plain(group: Group) -> bool:
    for job in group:  # not any(…), which takes three times as long for the one job of most groups
        if job.unique is not None or job.edges or job.task == GROUP_TASK:
            return False

    return True


def _push_one(write: Write, job: NewJob) -> PushAnswer | None:
    """The quick way of a single plain job, in two statements; None, with nothing done, where it has to go the usual one."""
    times = read_times(job, write.now)
    state = CODES[first_state(job, times, write.now)]

    if state == CANCELLED:
        return None

    lane = write.lane(job.queue, job.task, job.limit_keys)
    sequence, rules = write.enter(lane, state)

    if not rules.lengths and insert_one(write, make_row(write, job, sequence, state, times)):
        return PushAnswer((PushedJob(job.id, STATES[state]),))

    write.count(lane, state, -1)
    return None


def _push_plain(write: Write, groups: Sequence[Group]) -> list[PushAnswer]:
    if len(groups) == 1:
        return [PushAnswer(tuple(_store(write, groups[0])))]

    pushed = iter(_store(write, [job for group in groups for job in group]))
    return [PushAnswer(tuple([next(pushed) for _ in group])) for group in groups]


def _store(write: Write, jobs: Sequence[NewJob]) -> list[PushedJob]:
    if not jobs:
        return []

    rows = make_rows(write, jobs)

    if not insert(write, rows):
        return _answer_kept(write, jobs, rows)

    _close_expired(write, jobs, rows)
    return [PushedJob(job.id, STATES[row[STATE]]) for job, row in zip(jobs, rows, strict=True)]


def _answer_kept(write: Write, jobs: Sequence[NewJob], rows: Sequence[Row]) -> list[PushedJob]:
    """Some ids were kept before: all are answered as they stand."""
    kept = find_kept(write, [job.id for job in jobs])
    fresh = [kept[job.id][0] == row[SEQUENCE] for job, row in zip(jobs, rows, strict=True)]
    _close_expired(write, list(compress(jobs, fresh)), list(compress(rows, fresh)))
    return [PushedJob(job.id, STATES[kept[job.id][1]], existing=not new) for job, new in zip(jobs, fresh, strict=True)]


def _close_expired(write: Write, jobs: Sequence[NewJob], rows: Sequence[Row]) -> None:
    for job, row in zip(jobs, rows, strict=True):
        if row[STATE] == CANCELLED:
            close_stillborn(write, job, row[SEQUENCE], Reason.EXPIRED)
