"""The course of one storm: from its start to what did not hold."""

from __future__ import annotations

import time
from collections import Counter

from msgspec import Struct

from cherga.testing import wait_until
from cherga.words.inspection import JobFilter
from tests.chaos.storm.diary import Line, read, tell
from tests.chaos.storm.evidence import Evidence, Violation
from tests.chaos.storm.jobs import LEASE
from tests.chaos.storm.promises import judge
from tests.chaos.storm.weather import Storm
from tests.saboteur import check_that_nothing_is_held
from tests.workers import Workplace

JOBS_A_STEP = 2.0
"""That a producer stores in one step, on the average."""
USUAL_START = 1.0
"""Seconds in which all workers are up, on a machine that has time."""
SHOWN = ("task", "key", "claim", "worker", "pid", "pids", "step", "words")


class Outcome(Struct):
    """What a storm came to."""

    violations: list[Violation]
    evidence: Evidence

    def figures(self) -> str:
        """One line: how many jobs, attempts and deeds, and how all ended."""
        rows, story = self.evidence.rows.values(), self.evidence.story
        states = Counter(row.state.value for row in rows)
        deeds = Counter(line.event for line in story.lines if line.pids)
        tries = sum(map(len, story.tries.values()))
        return f"{len(rows)} jobs {dict(states)}, {tries} attempts, deeds {dict(deeds)}"

    def report(self) -> str:
        """Every violation with the timeline of its job."""
        return "\n\n".join(self._tell(violation) for violation in self.violations)

    def _tell(self, violation: Violation) -> str:
        head = f"promise {violation.promise}: {violation.words} ({violation.job or 'no job'})"
        return "\n".join([head, *map(_show, self.evidence.story.timeline(violation.job))])


def run(place: Workplace, seed: int, jobs: int, workers: int = 3, producers: int = 3) -> Outcome:
    """Let a storm pass over about so many jobs. Afterwards no process of it is left."""
    began = time.monotonic()

    with Storm(place, seed, int(jobs / JOBS_A_STEP), workers, producers) as storm:
        wait_until(storm.is_up, "all workers are ready", 60)
        slowness = max(1.0, (time.monotonic() - began) / USUAL_START)
        storm.blow()

    check_that_nothing_is_held(place)
    assert place.client.broker.workers() == []

    rows = place.client.broker.find(JobFilter(), 1_000_000)
    evidence = Evidence(tell(read(place.diary), LEASE), {str(row.id): row for row in rows}, slowness)
    return Outcome(judge(evidence), evidence)


def _show(line: Line) -> str:
    told = [f"{name} {value}" for name in SHOWN if (value := getattr(line, name)) not in ("", 0, -1, ())]
    return f"  {line.at:.4f} {line.event:<8} {', '.join(told)}"
