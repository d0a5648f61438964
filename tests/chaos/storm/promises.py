"""The promises of ``docs/why.md``, held against what a storm has left in the diary and in the store."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

from cherga import JobState
from cherga.rules.deaths import FREE_LOSSES
from cherga.words.job import JobRow, Reason
from cherga.words.push import GROUP_TASK
from tests.chaos.storm.diary import DEADLY, Line, Story, Try
from tests.chaos.storm.evidence import Evidence, Violation, attempts_of, head_of, number_of, result_of
from tests.chaos.storm.jobs import CRASH_CAP, EVERY, PER_SECOND, PER_USER, SLOTS
from tests.chaos.storm.producer import LINKS, MEMBERS
from tests.chaos.storm.weather import COROUTINES, THREADS

SUCCEEDED, FAILED, CANCELLED = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED
UNHARMED = {"plain", "coroutine", "values", "avalues", "rows", "parent", "aparent", "flaky", "snoozing", "alone", "limited"}
UNHARMED |= {"keyed", "rated", "later", "increase", "collect", "tick"}
"""Tasks whose jobs succeed unless their process dies too often under them."""
OVER_TIME = {"overrun", "stuck"}
"""Tasks whose threads go on although their attempts have been settled."""
AT_ONCE = {"limited": SLOTS, "keyed": PER_USER, "alone": 1, "stuck": 1}
RECOVERY = 2.0
"""Seconds from the death of a process to the moment at which its jobs are free, on a machine that has time."""


Check = Callable[[Evidence], Iterator[Violation]]


def judge(evidence: Evidence) -> list[Violation]:
    """Everything that did not hold."""
    return [violation for check in CHECKS for violation in check(evidence)]


# --- 1, 2, 3: nothing is lost, everything runs, every run ends once


def what_was_acknowledged_is_stored(evidence: Evidence) -> Iterator[Violation]:
    for line in evidence.story.of("stored"):
        for job in line.jobs:
            if job not in evidence.rows:
                yield Violation(1, job, f"step {line.step} of {line.worker} ({line.words}) was stored, and the job is not kept")


def what_is_stored_was_asked_for(evidence: Evidence) -> Iterator[Violation]:
    for job in evidence.story.tries:
        if job not in evidence.rows:
            yield Violation(1, job, "a job ran that is not kept")


def every_job_ends(evidence: Evidence) -> Iterator[Violation]:
    for row in evidence.rows.values():
        if not row.state.final and row.task != "tick":
            yield Violation(2, str(row.id), f"a {row.task} job stands as {row.state.value}")


def what_succeeded_has_run(evidence: Evidence) -> Iterator[Violation]:
    for row in evidence.rows.values():
        if row.state is SUCCEEDED and row.task != GROUP_TASK and not any(one.how == "end" for one in evidence.tries(row)):
            yield Violation(2, str(row.id), f"a {row.task} job succeeded, and no attempt came to its end")


def what_is_to_succeed_does(evidence: Evidence) -> Iterator[Violation]:
    """Unless its process, or that of a job before it, died too often."""
    for row in evidence.of_task(*UNHARMED):
        if row.state in {FAILED, CANCELLED} and row.reason not in {Reason.POISON, Reason.UPSTREAM}:
            yield Violation(2, str(row.id), f"a {row.task} job {row.state.value}: {row.reason}")


def the_result_is_that_of_the_job(evidence: Evidence) -> Iterator[Violation]:
    for row in evidence.of_task("plain", "coroutine", "limited", "later", "rated", "flaky", "snoozing", "parent", "aparent"):
        if row.state is SUCCEEDED and result_of(row) != number_of(row):
            yield Violation(3, str(row.id), f"the result of {number_of(row)} is {result_of(row)!r}")


def no_two_attempts_overlap(evidence: Evidence) -> Iterator[Violation]:
    for job, tries in evidence.story.tries.items():
        for first, second in pairwise(sorted(tries, key=lambda one: one.began)):
            if second.began < first.ended and not (first.superseded or second.superseded):
                yield Violation(
                    3, job, f"claim {second.claim} began {first.ended - second.began:.3f} s before {first.claim} ended"
                )


def nothing_runs_after_its_end(evidence: Evidence) -> Iterator[Violation]:
    for row in evidence.rows.values():
        late = [one for one in evidence.tries(row) if row.finished_at and one.given > row.finished_at]

        if late:
            yield Violation(3, str(row.id), f"claim {late[0].claim} was handed out after the end")


def nothing_starts_out_of_its_time(evidence: Evidence) -> Iterator[Violation]:
    for row in evidence.rows.values():
        tries = evidence.tries(row) if not row.crashes and not row.interruptions else []

        if row.reason is Reason.EXPIRED and tries:
            yield Violation(2, str(row.id), "began, and is kept as expired before it began")

        if row.task == "later" and tries and row.run_at is not None and tries[0].given < row.run_at:
            yield Violation(2, str(row.id), f"was handed out {row.run_at - tries[0].given:.3f} s before its time")


def an_end_is_told_as_it_is_stored(evidence: Evidence) -> Iterator[Violation]:
    """Success is told once, by the worker that wrote it; an end that came with the death of a process at least once."""
    told: dict[str, list[str]] = defaultdict(list)

    for line in evidence.story.of("told"):
        told[line.job].append(line.words)

    for job, ends in told.items():
        if len(set(ends)) > 1 or ends.count("succeeded") > 1:
            yield Violation(3, job, f"its end was told {len(ends)} times: {ends}")
        elif job in evidence.rows and evidence.rows[job].state.value != ends[0]:
            yield Violation(3, job, f"told as {ends[0]}, stored as {evidence.rows[job].state.value}")


# --- 2: on_crash="fail"


def once_is_once(evidence: Evidence) -> Iterator[Violation]:
    for row in evidence.of_task("once", "aonce"):
        tries = evidence.tries(row)

        if len(tries) > 1:
            yield Violation(2, str(row.id), f"work that must not run twice began {len(tries)} times")

        if row.state is FAILED and row.reason not in {Reason.CRASHED, Reason.INTERRUPTED}:
            yield Violation(2, str(row.id), f"failed: {row.reason}")


def what_failed_had_begun(evidence: Evidence) -> Iterator[Violation]:
    """A death may come between the mark that a job begins and its first line: at most as many as a process runs."""
    unbegun = defaultdict(list)

    for row in evidence.of_task("once", "aonce"):
        if row.state is FAILED and not evidence.tries(row):
            unbegun[attempts_of(row)[-1].worker].append(str(row.id))

    for worker, jobs in unbegun.items():
        if len(jobs) > _could_have_begun(evidence.story, worker):
            yield Violation(2, jobs[0], f"{len(jobs)} jobs of {worker} failed as crashed without having begun")


def _could_have_begun(story: Story, worker: str) -> int:
    """How many jobs a worker process had slots for, beside those that had written their first line when it died."""
    return THREADS + COROUTINES - sum(one.worker == worker and not one.how for one in story.all_tries())


# --- 4: recovery


def the_dead_are_found_soon(evidence: Evidence) -> Iterator[Violation]:
    began = {(one.job, one.given): one for one in evidence.story.all_tries()}
    limit = RECOVERY * evidence.slowness

    for row, attempt in evidence.history():
        one = began.get((str(row.id), attempt.started_at))
        dead_at = None if one is None or one.superseded else evidence.story.killed.get(one.pid)

        if one is not None and dead_at is not None and attempt.reason in {Reason.CRASHED, Reason.LOST}:
            seconds = attempt.finished_at - (one.given + dead_at - one.began)

            if seconds > limit:
                yield Violation(4, str(row.id), f"was freed {seconds:.1f} s after the death of its process, limit {limit:.1f}")


# --- 5: poison, and no harm to neighbours


MOST_DEATHS = CRASH_CAP + (THREADS + COROUTINES - 1).bit_length() + FREE_LOSSES
"""Until a job that kills its process is alone and proven guilty: company is halved with each death, and two losses are free."""


def poison_is_deserved(evidence: Evidence) -> Iterator[Violation]:
    for row in evidence.rows.values():
        if row.reason is Reason.POISON and row.crashes != CRASH_CAP:
            yield Violation(5, str(row.id), f"poison after {row.crashes} crashes")

        if row.task == DEADLY and (row.reason is not Reason.POISON or len(evidence.tries(row)) > MOST_DEATHS):
            yield Violation(5, str(row.id), f"{row.state.value}, {row.reason}, after {len(evidence.tries(row))} attempts")


def a_crash_is_charged_to_those_that_ran(evidence: Evidence) -> Iterator[Violation]:
    """But for those between the mark that they begin and their first line, which no process has more of than slots."""
    charged: dict[str, list[str]] = defaultdict(list)

    for row in evidence.rows.values():
        began = {one.given for one in evidence.tries(row)}

        for attempt in attempts_of(row) if row.task != "rows" else ():
            if attempt.reason in {Reason.CRASHED, Reason.LOST} and attempt.started_at not in began:
                charged[attempt.worker].append(str(row.id))

    for worker, jobs in charged.items():
        if len(jobs) > _could_have_begun(evidence.story, worker):
            yield Violation(5, jobs[0], f"{len(jobs)} jobs of {worker} were charged a crash and had not begun")


# --- 6: deploys


def a_deploy_interrupts_nothing(evidence: Evidence) -> Iterator[Violation]:
    for stop in _clean_stops(evidence.story):
        for one in _tries_in(evidence.story, stop):
            if not one.how and one.task not in OVER_TIME:
                yield Violation(6, one.job, f"{one.task} had no time to end when {stop.worker} was asked to stop")

        code = next((line.words for line in evidence.story.of("left") if line.worker == stop.worker), "none")

        if code != "0":
            yield Violation(6, "", f"{stop.worker} was asked to stop, and left with code {code}")


def _tries_in(story: Story, stop: Line) -> Iterator[Try]:
    return (one for one in story.all_tries() if one.pid in stop.pids)


def _clean_stops(story: Story) -> Iterator[Line]:
    """Those in which nothing else was done to the worker, and in which no job killed its process."""
    deadly = {one.pid for one in story.all_tries() if one.task in {DEADLY, "stuck"}}
    harmed = {line.worker for line in story.lines if line.event in {"hurry", "freeze"}}

    for stop in story.of("stop"):
        if stop.worker not in harmed and not deadly.union(story.killed).intersection(stop.pids):
            yield stop


def a_worker_stays_until_it_is_asked(evidence: Evidence) -> Iterator[Violation]:
    for line in evidence.story.of("gone"):
        yield Violation(6, "", f"{line.worker} left unasked, with code {line.words}")


def a_stop_is_charged_to_nobody(evidence: Evidence) -> Iterator[Violation]:
    stopped = {(one.job, one.given) for stop in _clean_stops(evidence.story) for one in _tries_in(evidence.story, stop)}

    for row, attempt in evidence.history():
        if attempt.reason in {Reason.CRASHED, Reason.INTERRUPTED} and (str(row.id), attempt.started_at) in stopped:
            yield Violation(6, str(row.id), f"{attempt.reason} in {attempt.worker}, which was only asked to stop")


# --- 7: schedules


def ticks_come_once_and_all(evidence: Evidence) -> Iterator[Violation]:
    ticks = sorted(head.tick for row in evidence.of_task("tick") if (head := head_of(row)).tick is not None)

    for first, second in pairwise(ticks):
        if abs(second - first - EVERY) > 0.001:
            yield Violation(7, "", f"after the tick at {first:.3f} came the one at {second:.3f}")


# --- 8 and 9: limits and unique keys


def limits_hold(evidence: Evidence) -> Iterator[Violation]:
    groups: dict[tuple[str, str], list[Try]] = defaultdict(list)

    for one in evidence.story.all_tries():
        if one.task in AT_ONCE and one.began < one.ended:
            groups[one.task, one.key].append(one)

    for (task, key), tries in groups.items():
        most, job = _most_at_once(tries)

        if most > AT_ONCE[task]:
            yield Violation(9 if task == "alone" else 8, job, f"{most} {task} jobs of {key!r} ran at once, of {AT_ONCE[task]}")


def rates_hold(evidence: Evidence) -> Iterator[Violation]:
    starts = sorted((one.given, one.job) for one in evidence.story.all_tries() if one.task == "rated")

    for first, last in zip(starts, starts[PER_SECOND:], strict=False):
        if last[0] - first[0] < 1.0:
            yield Violation(8, last[1], f"{PER_SECOND + 1} starts within {last[0] - first[0]:.3f} s")


def a_key_has_one_holder(evidence: Evidence) -> Iterator[Violation]:
    """From its first start to its end a job holds its key, also while it waits to be tried again."""
    holders: dict[str, list[JobRow]] = defaultdict(list)

    for row in evidence.of_task("alone"):
        if row.unique is not None and row.first_started_at is not None:
            holders[row.unique.key].append(row)

    for key, rows in holders.items():
        for first, second in pairwise(sorted(rows, key=lambda row: row.first_started_at or 0.0)):
            if (second.first_started_at or 0.0) < (first.finished_at or 0.0):
                yield Violation(9, str(second.id), f"began with the key {key!r} before {first.id} had ended")


# --- 10: flows


def flows_are_whole(evidence: Evidence) -> Iterator[Violation]:
    counts = Counter(row.owner for row in evidence.rows.values() if row.owner and row.owner.startswith("flow-"))

    for owner, count in counts.items():
        if count not in {LINKS, MEMBERS}:
            yield Violation(10, "", f"{count} jobs of {owner} are stored")


def groups_end_with_all_results(evidence: Evidence) -> Iterator[Violation]:
    for row in evidence.of_task("collect"):
        members = result_of(row) if row.state is SUCCEEDED else None

        if members is not None and members != list(range(members[0], members[0] + MEMBERS)):
            yield Violation(10, str(row.id), f"the callback was given {members}")


def children_come_with_their_parents(evidence: Evidence) -> Iterator[Violation]:
    families: dict[str, list[Any]] = defaultdict(list)

    for row in evidence.rows.values():
        if row.parent is not None and row.task != GROUP_TASK:
            families[str(row.parent)].append(number_of(row))

    for row in evidence.of_task("parent", "aparent"):
        n = number_of(row)

        if row.state is SUCCEEDED and sorted(families[str(row.id)]) != [n + 1, n + 2, n + 3]:
            yield Violation(10, str(row.id), f"succeeded with the children {sorted(families[str(row.id)])} of {n}")


CHECKS: tuple[Check, ...] = (
    what_was_acknowledged_is_stored,
    what_is_stored_was_asked_for,
    every_job_ends,
    what_succeeded_has_run,
    what_is_to_succeed_does,
    the_result_is_that_of_the_job,
    no_two_attempts_overlap,
    nothing_runs_after_its_end,
    nothing_starts_out_of_its_time,
    an_end_is_told_as_it_is_stored,
    once_is_once,
    what_failed_had_begun,
    the_dead_are_found_soon,
    poison_is_deserved,
    a_crash_is_charged_to_those_that_ran,
    a_deploy_interrupts_nothing,
    a_worker_stays_until_it_is_asked,
    a_stop_is_charged_to_nobody,
    ticks_come_once_and_all,
    limits_hold,
    rates_hold,
    a_key_has_one_holder,
    flows_are_whole,
    groups_end_with_all_results,
    children_come_with_their_parents,
)


def _most_at_once(tries: Iterable[Try]) -> tuple[int, str]:
    """The largest number of them that ran at the same time, and the last one that joined."""
    steps = sorted(step for one in tries for step in ((one.began, 1, one.job), (one.ended, -1, one.job)))
    most, now, who = 0, 0, ""

    for _, change, job in steps:
        now += change

        if now > most:
            most, who = now, job

    return most, who
