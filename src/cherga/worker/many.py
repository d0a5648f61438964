"""Many jobs in one call: what the executor does otherwise for a batch than for a job, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import UUID

from msgspec import Struct

from cherga.client.batches import Batch
from cherga.words.errors import InvalidArguments
from cherga.words.outcomes import Failed, Outcome
from cherga.worker.assignment import Assignment, Running
from cherga.worker.calls import BatchContext, Call, Verdicts, misfit
from cherga.worker.failure import UNFED, UNREADABLE, unencodable, unfed, unreadable
from cherga.worker.journal import Journal
from cherga.worker.settler import Settler
from cherga.worker.slots import SlotTable


class Steps(Struct, frozen=True):
    """The executor's steps for one job."""

    feed: Callable[[Assignment, UUID], None]
    returned: Callable[[object], Outcome]
    raised: Callable[[Assignment, BaseException], Outcome]
    put_down: Callable[[Assignment, Outcome], None]


class Many:
    """The same steps for calls, which stand for many jobs."""

    def __init__(self, slots: SlotTable, settler: Settler, running: Running, journal: Journal, steps: Steps) -> None:
        self._slots = slots
        self._settler = settler
        self._running = running
        self._journal = journal
        self._steps = steps

    @property
    def places_left(self) -> int:
        """Jobs that may still be put into calls."""
        return self._slots.batches.left

    def call_for(self, members: Sequence[Assignment]) -> Call:
        """One call of a batch task for all these jobs."""
        return Call(members, self._slots.batches.take(len(members)))

    # --- during

    def begin(self, call: Call) -> None:
        """User code is about to begin for all of them."""
        context = cast(BatchContext, call.context)
        context.jobs = [member.job for member in call.members]
        self._slots.batches.begin(call.places, [job.token for job in context.jobs])
        self._running.calls[call.job.token] = call

        for member in call.members:
            member.context, member.started = context, call.started

    def feed(self, call: Call) -> None:
        """Give each the result that it waits for. One that cannot be fed ends alone."""
        for member in call.members:
            try:
                if member.feed is not None:
                    self._steps.feed(member, member.feed)
            except UNREADABLE as error:
                call.outcomes[member.job.token] = unreadable(error)
            except UNFED as error:
                call.outcomes[member.job.token] = unfed(error)

    def arguments(self, call: Call, filled: Sequence[str]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The batch, and the context in the parameters named so. Raises ``InvalidArguments`` when nothing can be read."""
        batch = Batch(self._values(call), [member.job for member in call.present], self._verdicts(call))

        if not batch:
            raise InvalidArguments(f"task {call.task.name}: expected a batch with a value in it")

        return call.task.fill((batch,), {}, dict.fromkeys(filled, call.context)) if filled else ((batch,), {})

    def _values(self, call: Call) -> list[Any]:
        """The values that can be read; of the others each job ends alone."""
        unpack, values = call.task.signature.unpack, []

        for member in call.undecided():
            try:
                values.append(unpack(member.job.payload)[0][0])
                call.present.append(member)
            except UNREADABLE as error:
                call.outcomes[member.job.token] = unreadable(error)

        return values

    # --- after

    def returned(self, call: Call, value: object) -> Outcome:
        """Each job gets its own of what the batch returned; the outcome is that of the others."""
        if value is None:
            return self._steps.returned(None)

        if (wrong := misfit(value, len(call.present))) is not None:
            return unencodable(TypeError(wrong), value)

        if call.verdict is None:
            self._verdicts(call).share(cast(Sequence[object], value))

        return self._steps.returned(None)

    def raised(self, call: Call, outcome: Outcome, error: BaseException) -> None:
        """All that nothing was said of end so."""
        for member in call.undecided():
            if member.wishes is not None:
                member.wishes.error = error

        self._log(call, outcome, error)

    def end(self, call: Call) -> None:
        """The function has ended, and the jobs are put down: until then they have to count as begun."""
        self._running.calls.pop(call.job.token, None)
        self._slots.batches.end(call.places, call.once())

    def put_down(self, call: Call, outcome: Outcome) -> None:
        """Each of its jobs by itself."""
        if call.slot < 0:
            self._slots.batches.end(call.places)

        if call.context is not None and call.context.events:
            self._settler.flush(call.context)

        self._log(call, outcome)

        for member in call.members:
            if call.take(member):
                self._steps.put_down(member, call.end_of(member, outcome))

    def abandon(self, call: Call, member: Assignment) -> None:
        """Settle one job of a call that goes on, by its verdict."""
        if member.verdict is not None and call.take(member):
            self._steps.put_down(member, member.verdict)

    def _verdicts(self, call: Call) -> Verdicts:
        return Verdicts(call, self._steps.returned, self._steps.raised)

    def _log(self, call: Call, outcome: Outcome, error: BaseException | None = None) -> None:
        """One failure of many jobs is one line in the log."""
        members = call.undecided()

        if type(outcome) is not Failed or call.told or not members:
            return

        self._journal.call_failed(call, members, outcome, error)
