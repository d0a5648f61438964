"""Jobs that asked for jobs: the children of one, and how far they are together."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from cherga.doors.broker import FullBroker
from cherga.rules.progress import read_progress, share_done
from cherga.words.inspection import Family, JobFilter
from cherga.words.job import JobRow, JobState, Progress
from cherga.words.push import GROUP_TASK

PAGE = 10_000


def family_of(broker: FullBroker, id: UUID) -> Family:
    """The states of this job's children."""
    return broker.families([id])[0]


def rows_of(broker: FullBroker, where: JobFilter) -> Iterator[JobRow]:
    """The jobs that match, all of them, newest first, in pages."""
    before: int | None = None

    while True:
        page = broker.find(where, PAGE, before)
        yield from page

        if len(page) < PAGE:
            return

        before = page[-1].sequence


def children_of(broker: FullBroker, id: UUID) -> list[JobRow]:
    """The rows of all children that are kept, oldest first."""
    return list(rows_of(broker, JobFilter(parent=id)))[::-1]


def total_progress_of(broker: FullBroker, row: JobRow) -> Progress | None:
    """The progress of the job and its children, each counting as one; that of the job alone where it has no children.

    A group counts by its members alone, and so it does among the children of another job.
    """
    family = family_of(broker, row.id)
    done = family.done + _done_in_groups(broker, row.id, family)

    if row.task == GROUP_TASK:
        return Progress(done, float(family.total))

    own = read_progress(row.progress)

    if not family.total:
        return own

    return Progress(done + share_done(row.state, row.progress), family.total + 1.0, own.note if own else "")


def _done_in_groups(broker: FullBroker, id: UUID, family: Family) -> float:
    """The share of done members that the groups among the children add, which do not run themselves."""
    if not family.counts.get(JobState.BLOCKED):
        return 0.0

    open_groups = broker.find(JobFilter(parent=id, task=GROUP_TASK, states=frozenset({JobState.BLOCKED})), PAGE)
    families = broker.families([row.id for row in open_groups])
    return sum(_share_of(broker, row.id, inner) for row, inner in zip(open_groups, families, strict=True))


def _share_of(broker: FullBroker, id: UUID, family: Family) -> float:
    return (family.done + _done_in_groups(broker, id, family)) / family.total if family.total else 0.0
