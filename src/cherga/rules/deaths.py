"""Deaths: what that of a worker process means for a job that it had in hand. One rule for every broker. Pure."""

from __future__ import annotations

from msgspec import Struct

from cherga.rules.attempts import Counters, losses_in
from cherga.rules.settings import BrokerSettings
from cherga.words.job import Attempt, JobError, JobState, Reason
from cherga.words.push import JobHead, OnCrash
from cherga.words.session import Death
from cherga.words.settlement import Charge

CRASHED = JobError("Crashed", "the worker process died while the job ran")
LOST = JobError("Lost", "the worker vanished while the job ran")
INTERRUPTED = JobError("Interrupted", "the worker was stopped while the job ran")
FREE_LOSSES = 2
"""Whole workers that may vanish under a job before it is suspected like one whose process died."""
MUST_NOT_RUN_TWICE = "its process ended under it, and it must not run twice"


class Victim(Struct, frozen=True):
    """A running job of a session that has ended."""

    counters: Counters
    began: bool
    """True when its user code had begun, or may have."""
    orderly: bool
    """The session was ended by a stop of the worker."""
    lost: bool
    """The session ended unseen."""
    company: int
    """The number of jobs of the session that had begun."""
    suspect: int
    """The number of suspects that might run together with it; 0: it was none."""
    cancelling: bool
    """Somebody has asked to cancel it."""
    once: bool
    """The job must not run twice."""
    worker: str
    started_at: float | None
    history: bytes | None

    @property
    def charge(self) -> Charge:
        """The cost of the death for the job: a crash for the first one, and for each that it is alone with."""
        if not self.began:
            return Charge.REFUND

        if self.orderly:
            return Charge.INTERRUPTION

        return Charge.CRASH if not self.is_spared and (self.was_alone or not self.suspect) else Charge.LOSS

    @property
    def is_spared(self) -> bool:
        """A worker vanished whole: no reason to suspect its jobs, unless that happens to one again and again."""
        return self.lost and losses_in(self.history) < FREE_LOSSES

    @property
    def was_alone(self) -> bool:
        """True when nothing else can have done it."""
        return self.suspect == 1 or self.company <= 1

    @property
    def suspicion(self) -> int:
        """The number of suspects that may run together with it from now on: half as many as before, and in the end it alone."""
        if not self.began or self.orderly or self.is_spared:
            return self.suspect

        return 1 if self.was_alone else halved(min(self.company, self.suspect or self.company))


def halved(number: int) -> int:
    """The largest power of two below a number of two or more, so that there are few sizes."""
    return 1 << (number - 1).bit_length() - 1


class Fate(Struct, frozen=True, kw_only=True):
    """The move of the job. ``delay`` is for ``to`` = scheduled; ``attempt`` is added to its history."""

    to: JobState
    counters: Counters
    charge: Charge
    suspect: int
    reason: Reason | None = None
    message: str | None = None
    """The words that are kept; None leaves those of whoever asked to cancel it."""
    delay: float = 0.0
    attempt: Attempt | None = None


def may_take_suspects(workers: int, occupied: int) -> bool:
    """True when one worker more may be kept for suspects: the others go on with fresh jobs meanwhile."""
    return occupied < max(1, workers // 2)


def runs_once(token: int | None, head: JobHead, death: Death) -> bool:
    """True when this job must not run again: by what its worker has noted, else by what the job itself says."""
    if death.once is not None:
        return token in death.once

    return head.overrides is not None and head.overrides.on_crash is OnCrash.FAIL


def fate_of(victim: Victim, settings: BrokerSettings, now: float) -> Fate:
    """Jobs that never began go back uncharged; another one is charged, and ends or comes again."""
    charge, counters = victim.charge, victim.counters.charged(victim.charge)

    if charge is Charge.REFUND:
        to, reason = (JobState.CANCELLED, Reason.ASKED) if victim.cancelling else (JobState.READY, None)
        return Fate(to=to, counters=counters, charge=charge, suspect=victim.suspect, reason=reason)

    reason = _reason(victim)
    attempt = _attempt(victim, reason, now)
    to, reason, message = _next(victim, counters, reason, settings)
    delay = backoff(settings, counters.crashes) if to is JobState.READY and charge is Charge.CRASH else 0.0
    to = JobState.SCHEDULED if delay > 0 else to
    return Fate(
        to=to,
        counters=counters,
        charge=charge,
        suspect=victim.suspicion,
        reason=reason,
        message=message,
        delay=delay,
        attempt=attempt,
    )


def backoff(settings: BrokerSettings, crashes: int) -> float:
    """The wait after this many crashes; the last one repeats."""
    waits = settings.crash_backoff
    return waits[min(crashes, len(waits)) - 1] if waits else 0.0


def _next(victim: Victim, counters: Counters, reason: Reason, settings: BrokerSettings) -> tuple[JobState, Reason, str | None]:
    if victim.cancelling:
        return JobState.CANCELLED, Reason.ASKED, None

    if victim.once:
        return JobState.FAILED, reason, MUST_NOT_RUN_TWICE

    if victim.charge is Charge.CRASH and victim.was_alone and counters.crashes >= settings.crash_cap:
        return JobState.FAILED, Reason.POISON, _died(counters.crashes)

    return JobState.READY, reason, None


def _reason(victim: Victim) -> Reason:
    if victim.orderly:
        return Reason.INTERRUPTED

    return Reason.LOST if victim.is_spared and not victim.once else Reason.CRASHED


def _died(crashes: int) -> str:
    return "its process died under it" if crashes == 1 else f"its process died under it {crashes} times"


def _attempt(victim: Victim, reason: Reason, now: float) -> Attempt:
    error = {Reason.CRASHED: CRASHED, Reason.LOST: LOST, Reason.INTERRUPTED: INTERRUPTED}[reason]
    started = now if victim.started_at is None else victim.started_at
    return Attempt(victim.counters.attempt, victim.worker, started, now, reason, error)
