"""Many jobs in one call: the steps of a batch, which end each of its jobs by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from cherga.client.app import QueueTasks
from cherga.client.batches import Batch
from cherga.words.errors import InvalidArguments
from cherga.words.outcomes import Failed, Outcome
from cherga.worker.assignment import Assignment, Running
from cherga.worker.calls import BatchContext, Call, Verdicts, misfit
from cherga.worker.failure import UNFED, UNREADABLE, unencodable, unfed, unreadable
from cherga.worker.host import WorkerHost
from cherga.worker.journal import Journal
from cherga.worker.one import One, outcome_for
from cherga.worker.settler import Settler
from cherga.worker.slots import SlotTable


class Many:
    """The steps for a call that stands for many jobs."""

    def __init__(
        self, app: QueueTasks, host: WorkerHost, settler: Settler, slots: SlotTable, running: Running, one: One
    ) -> None:
        self._clock = app.clock
        self._host = host
        self._settler = settler
        self._slots = slots
        self._running = running
        self._one = one
        self._wrapped = bool(app.middlewares)
        self._journal = Journal(app)

    def places_left(self) -> int:
        """Jobs that may still be put into calls. What has ended counts until it is written; if that is too much, it rings."""
        left = self._slots.batches.left - self._settler.backlog
        self._settler.awaited = self._settler.awaited or left <= 0
        return left

    def call_for(self, members: Sequence[Assignment]) -> Call:
        """The call of a batch task for all these jobs."""
        call = Call(members, self._slots.batches.take(len(members)))
        call.steps = self
        return call

    # --- during

    def begin(self, call: Call, deadline: float | None) -> None:
        """The call begins, and all of its jobs with it."""
        context = call.context = BatchContext(call.job, self._clock, self._settler, deadline, self._host)
        context.jobs = call.jobs
        self._running.add(call)
        self._slots.batches.begin(call.places, [job.token for job in context.jobs])
        self._running.calls[call.job.token] = call

        for member in call.members:
            member.context, member.started = context, call.started

    def feed(self, call: Call, feed: UUID) -> None:
        """Give each the result that it waits for. One that cannot be fed ends alone."""
        for member in call.members:
            try:
                if member.feed is not None:
                    self._one.feed(member, member.feed)
            except UNREADABLE as error:
                call.outcomes[member.job.token] = unreadable(error)
            except UNFED as error:
                call.outcomes[member.job.token] = unfed(error)

    def arguments(self, call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The batch, and the context in the parameters for it. Raises ``InvalidArguments`` when nothing can be read."""
        task = call.task
        batch = Batch(self._values(call), [member.job for member in call.present], Verdicts(call, self._one))

        if not batch:
            raise InvalidArguments(f"task {task.name}: expected a batch with a value in it")

        if task.injected and task.plain and not self._wrapped:
            return task.fill((batch,), {}, dict.fromkeys(task.injected, call.context))

        return (batch,), {}

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
            return self._one.returned(call, None)

        if (wrong := misfit(value, len(call.present))) is not None:
            return unencodable(TypeError(wrong), value)

        if call.verdict is None:
            Verdicts(call, self._one).share(cast(Sequence[object], value))

        return self._one.returned(call, None)

    def raised(self, call: Call, error: BaseException) -> Outcome:
        """End so all jobs that nothing was said of."""
        self._one.tell_raised(call, error)
        outcome = outcome_for(call, error)
        outcome = self._one.explained(outcome, error) if type(outcome) is Failed else outcome
        self._log(call, outcome, error)
        return outcome

    def end(self, call: Call, outcome: Outcome) -> None:
        """The function has ended: put down the jobs, which count as begun until then."""
        if self._running.take(call):
            self.put_down(call, call.verdict or outcome)

        self._running.calls.pop(call.job.token, None)
        self._slots.batches.end(call.places)

    def put_down(self, call: Call, outcome: Outcome) -> None:
        """Each of its jobs by itself."""
        if call.slot < 0:
            self._slots.batches.end(call.places)

        if call.context is not None and call.context.events:
            self._settler.flush(call.context)

        self._log(call, outcome)

        for member in call.members:
            if call.take(member):
                self._one.put_down(member, call.end_of(member, outcome))

    def abandon(self, call: Call, member: Assignment) -> None:
        """Settle one job of a call that goes on, by its verdict."""
        if member.verdict is not None and call.take(member):
            self._one.put_down(member, member.verdict)

    def _log(self, call: Call, outcome: Outcome, error: BaseException | None = None) -> None:
        """Log one failure of many jobs in one line."""
        members = call.undecided()

        if type(outcome) is not Failed or call.told or not members:
            return

        self._journal.call_failed(call, members, outcome, error)
