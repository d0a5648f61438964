"""Storing groups whose jobs hold unique keys or wait for others: all are planned (``plans.py``), then written together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import msgspec

from cherga.brokers.sqlite.newcomers import close_group, close_stillborn, insert, make_row
from cherga.brokers.sqlite.orphans import give_up
from cherga.brokers.sqlite.plans import Batch, Plan
from cherga.brokers.sqlite.releases import release_ended
from cherga.brokers.sqlite.replacements import take_over
from cherga.brokers.sqlite.room import Room
from cherga.brokers.sqlite.rows import (
    AWAITED,
    CANCELLED,
    FIRST_FINAL,
    HOLDS_KEY,
    STATES,
    SUCCEEDED,
    WAITS,
    holds_key_until_final,
)
from cherga.brokers.sqlite.uniques import make_hold, take_keys
from cherga.brokers.sqlite.write import Write
from cherga.rules.edges import upstream
from cherga.rules.newcomers import read_times
from cherga.words.job import Reason
from cherga.words.push import GROUP_TASK, NewJob, PushAnswer

_AWAIT = f"""
update jobs set traits = traits | {AWAITED} where sequence in (select value from json_each(?)) and traits & {AWAITED} = 0
"""

_EDGES = "insert into edges (parent, child, policy, released) values "

_write_json = msgspec.json.Encoder().encode


def push_tied(write: Write, groups: Sequence[Sequence[NewJob]], room: Room | None = None) -> list[PushAnswer]:
    """Store each group, or answer why not. A ``room`` to look for is given with one group at a time."""
    batch = Batch(write, groups, room)
    answers = [batch.plan(group) for group in groups]
    _store(write, batch.plans)

    for standing, job in batch.replacements.values():
        take_over(write, standing, job)

    release_ended(write)
    return answers


def _store(write: Write, plans: Mapping[UUID, Plan]) -> None:
    if not plans:
        return

    for sequence, plan in enumerate(plans.values(), write.take_numbers(len(plans))):
        plan.standing.sequence = sequence

    insert(write, [_row(write, plan) for plan in plans.values()])
    _take_keys(write, plans.values())
    _tie(write, plans)

    for plan in plans.values():
        if plan.standing.state >= FIRST_FINAL:
            _close(write, plan)


def _row(write: Write, plan: Plan) -> tuple[object, ...]:
    standing = plan.standing
    holds = HOLDS_KEY if holds_key_until_final(plan.unique) else 0
    traits = holds | (AWAITED if standing.awaited else 0) | (WAITS if plan.parents and _keeps_edges(plan) else 0)
    return make_row(write, plan.job, standing.sequence, standing.state, read_times(plan.job, write.now), plan.pending, traits)


def _keeps_edges(plan: Plan) -> bool:
    """A group keeps its members whatever became of it."""
    return plan.standing.state != CANCELLED or plan.job.task == GROUP_TASK


def _take_keys(write: Write, plans: Iterable[Plan]) -> None:
    holds = [
        make_hold(write, plan.standing.key, plan.unique, plan.standing.sequence, plan.job.id.bytes)
        for plan in plans
        if plan.unique is not None
    ]
    take_keys(write, holds)


def _tie(write: Write, plans: Mapping[UUID, Plan]) -> None:
    """Write the edges; parents that were stored before learn that they are awaited."""
    tied = [plan for plan in plans.values() if plan.parents and _keeps_edges(plan)]
    stored = {parent.sequence for plan in tied for parent, _ in plan.parents if parent.id not in plans}

    if stored:
        write.run(_AWAIT, (_write_json(list(stored)).decode(),))

    write.run_chunks(_EDGES, "(?, ?, ?, ?)", "", (), [edge for plan in tied for edge in _edges(plan)])


def _edges(plan: Plan) -> list[tuple[int, int, str, int]]:
    child = plan.standing.sequence
    over = plan.standing.state >= FIRST_FINAL
    return [(parent.sequence, child, policy.value, int(over or parent.state >= FIRST_FINAL)) for parent, policy in plan.parents]


def _close(write: Write, plan: Plan) -> None:
    job, sequence = plan.job, plan.standing.sequence

    if plan.standing.state == SUCCEEDED:
        close_group(write, job, sequence)
    elif plan.upstream is None:
        close_stillborn(write, job, sequence, Reason.EXPIRED)
    else:
        message = upstream(STATES[plan.upstream.state])
        close_stillborn(write, job, sequence, Reason.UPSTREAM, message)

        if plan.together:
            give_up(write, [job.id.bytes], Reason.UPSTREAM, message)
