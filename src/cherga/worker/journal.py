"""The journal: log lines about jobs. Nothing is taken over from elsewhere, and everything carries the ids of its jobs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from cherga.client.app import QueueTasks
from cherga.client.mishaps import tell
from cherga.rules.decide import RETRYLESS, is_retryless
from cherga.rules.notices import AGAIN, words_for
from cherga.rules.times import span
from cherga.words.job import JobState
from cherga.words.notice import Notice
from cherga.words.outcomes import Failed
from cherga.words.settlement import Settlement
from cherga.worker.assignment import Assignment
from cherga.worker.calls import Call
from cherga.worker.logs import EXPECTED, TOLD_BELOW
from cherga.worker.successes import Successes

logger = logging.getLogger("cherga.job")

_PAST = {JobState.READY: "given back", JobState.SCHEDULED: "will run again"}


class Journal:
    """Failures as warnings and errors, always one by one; ends as information."""

    def __init__(self, app: QueueTasks) -> None:
        self._app = app
        self._clock = app.clock
        self._told: set[str] = set()
        self.successes = Successes(app.clock)

    def failed(self, assignment: Assignment, outcome: Failed, error: BaseException | None = None) -> None:
        """A last failure is an error. One that will be tried again is a warning, and expected: no line shows its traceback."""
        job, again = assignment.job, comes_again(assignment, outcome)
        shown = None if outcome.explained else error
        below = shown is not None and not again
        assignment.told = True
        tell(
            self._find_logger(),
            "job %s (%s): %s: %s",
            job.id,
            job.task,
            _words_for(assignment, outcome, again),
            _told(outcome, below),
            error=shown,
            extra={
                "action": "job.failed",
                "job_id": str(job.id),
                "task_name": job.task,
                "attempt": job.attempt,
                EXPECTED: again,
                **_told_below(outcome, below),
            },
            level=logging.WARNING if again else logging.ERROR,
        )

    def call_failed(self, call: Call, members: Sequence[Assignment], outcome: Failed, error: BaseException | None) -> None:
        """Log one failure of many jobs in one line."""
        again = [comes_again(each, outcome) for each in members]
        shown = None if outcome.explained else error
        below = shown is not None and not all(again)
        tell(
            self._find_logger(),
            "a call of %s for %d jobs failed, %d of them will be tried again: %s",
            call.job.task,
            len(members),
            sum(again),
            _told(outcome, below),
            error=shown,
            extra={
                "action": "batch.failed",
                "job_ids": [str(each.job.id) for each in members],
                "task_name": call.job.task,
                EXPECTED: all(again),
                **_told_below(outcome, below),
            },
            level=logging.WARNING if all(again) else logging.ERROR,
        )

        for each in (call, *members):
            each.told = True

    def changed(self, assignment: Assignment, change: Exception) -> None:
        """A result that will not come back as it was: once for each task, for it is the code that can be mended."""
        job = assignment.job

        if job.task not in self._told:
            self._told.add(job.task)
            self._find_logger().warning(
                "job %s (%s): its result: %s",
                job.id,
                job.task,
                change,
                extra={"action": "job.result_changed", "job_id": str(job.id), "task_name": job.task},
            )

    def ended(self, assignment: Assignment, settlement: Settlement) -> None:
        """The end of the attempt, and the time it took, unless that is told as a failure."""
        if assignment.told or not logger.isEnabledFor(logging.INFO):
            return

        job = assignment.job

        if settlement.to is JobState.SUCCEEDED:
            self.successes.note(job, 0.0 if self.successes.many else self._seconds(assignment))
            return

        logger.info(
            "%s %s %s in %.3f s",
            job.task,
            job.id,
            _PAST.get(settlement.to, settlement.to.value),
            self._seconds(assignment),
            extra={
                "action": f"job.{settlement.to.value}",
                "job_id": str(job.id),
                "task_name": job.task,
                "attempt": job.attempt,
            },
        )

    def _seconds(self, assignment: Assignment) -> float:
        return self._clock.monotonic() - assignment.started if assignment.context else 0.0

    def noticed(self, notice: Notice) -> None:
        """The action of the broker on a job by itself, and what comes next."""
        again = notice.state in AGAIN
        level = logging.WARNING if again else logging.ERROR if notice.state is JobState.FAILED else logging.INFO
        fields = {"job_id": str(notice.id), "task_name": notice.task, "attempt": notice.attempt}
        tell(
            self._find_logger(),
            "job %s (%s) %s",
            notice.id,
            notice.task,
            words_for(notice, self._app.settings.broker.crash_cap),
            error=None,
            level=level,
            extra={"action": "job.crashed" if again else f"job.{notice.state.value}", **fields},
        )

    def _find_logger(self) -> logging.Logger:
        """The application's own logger, where somebody listens to it."""
        own = self._app.job_logger
        return own if own.hasHandlers() and not own.disabled else logger


def comes_again(assignment: Assignment, outcome: Failed) -> bool:
    """True when there is another attempt after this failure."""
    return outcome.retryable and assignment.job.attempt <= assignment.policy.retry.max


def _words_for(assignment: Assignment, outcome: Failed, again: bool) -> str:
    """``attempt 1 of 6 failed, tries again in 2 s``."""
    attempt, most = assignment.job.attempt, assignment.policy.retry.max + 1

    if most == attempt == 1:
        return f"failed ({RETRYLESS})" if is_retryless(outcome, assignment.policy) else "failed"

    failed = f"attempt {attempt} of {max(attempt, most)} failed"

    if again:
        return f"{failed}, tries again {f'in {span(outcome.delay)}' if outcome.delay else 'at once'}"

    return failed if attempt >= most else f"{failed}, and none follows"


def _told(outcome: Failed, below: bool) -> str:
    """``ConnectionError: the server is away``; the class alone where the traceback ``below`` ends with the same words."""
    error = outcome.error
    return error.type if below or not error.message else f"{error.type}: {error.message}"


def _told_below(outcome: Failed, below: bool) -> dict[str, str]:
    return {TOLD_BELOW: outcome.error.message} if below else {}
