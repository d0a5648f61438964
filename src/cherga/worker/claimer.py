"""The claimer: keeps the runners supplied, with as few claims as will do, and sleeps while there is nothing to do."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from math import inf

from msgspec import Struct

from cherga.client.app import QueueTasks
from cherga.client.task import Task
from cherga.doors.broker import Broker, Topic
from cherga.words.claim import ClaimAnswer, ClaimWish
from cherga.words.clock import Clock
from cherga.words.errors import BrokerError
from cherga.worker.breakage import Breakage
from cherga.worker.executor import Executor
from cherga.worker.pace import Pace
from cherga.worker.runners import NOT_WAITED_FOR, Runner
from cherga.worker.settler import Settler
from cherga.worker.slots import MOST_AHEAD, Pulse, SlotTable
from cherga.worker.solitude import Solitude

logger = logging.getLogger("cherga.worker")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
HOARD_LOOK = 0.25
"""Seconds without a start after which jobs that were claimed ahead are given back."""
LOOK_PATIENCE = 1.0
"""Seconds that somebody waits who asks for a look now."""
FEWEST = 100
"""Jobs that may have ended and not yet be written, and that may be ahead of a runner that is quick enough, however slowly
they are written."""
WRITTEN_AHEAD = 2
"""Lookaheads of jobs ahead, at most, at the pace at which they are written: that pace comes and goes with the batches."""
LEASE_LOOK = 0.2
"""Seconds between two looks whether a lapsed lease has been renewed."""


class Lane(Struct, frozen=True):
    """A runner and the names of the tasks that it runs."""

    runner: Runner
    names: Callable[[], frozenset[str]]
    """Looked at anew for each claim: modules that are imported late may declare more."""


class ClaimPlan(Struct, frozen=True, kw_only=True):
    """The queues to claim from, and the number at once."""

    queues: tuple[str, ...]
    weights: tuple[int, ...]
    limit: int
    poll_interval: float
    lookahead: float
    clock: Clock


class Claimer:
    """The thread that claims. ``session`` names who claims; it may be replaced while the thread runs."""

    def __init__(
        self,
        broker: Broker,
        lanes: list[Lane],
        executor: Executor,
        settler: Settler,
        slots: SlotTable,
        plan: ClaimPlan,
        more: Callable[[], list[Lane]] = list,
    ) -> None:
        self.session = ""
        self._broker = broker
        self.lanes = lanes
        self._more = more
        self._served = lanes[-1]
        self._executor = executor
        self._settler = settler
        self._written = Pace(plan.limit, WRITTEN_AHEAD * plan.lookahead, MOST_AHEAD, plan.clock)
        settler.ring, settler.note_written = self.wake, self._written.ended_together
        self._slots = slots
        self._plan = plan
        self._listener = broker.listen([Topic.READY])
        self._stopping = False
        self._solitude = Solitude()
        self._fresh_first = False
        """Suspects have just run here: others have their turn before further ones."""
        self._clock = plan.clock
        self.breakage = Breakage(plan.clock)
        self.told: set[str] = set()
        """Unknown tasks that were named in the log."""
        self.taken = 0
        """Jobs claimed so far."""
        self._turned = threading.Condition()
        self._begun = self._ended = 0
        """Rounds, counted from 1."""
        self._idle = True
        """There was nothing to do."""
        self._dry = False
        """The last round found nothing to take."""
        self._again_in = inf
        """Seconds until a rate that held a job up lets it go, as the last round found."""
        self._thread = threading.Thread(target=self._run, name="cherga-claimer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Look again now."""
        self._listener.wake()

    def stop(self) -> None:
        """Claim nothing more; returns when a claim under way has been taken in."""
        self._stopping = True
        self.wake()

        if self._thread.ident is not None:
            self._thread.join()

        self._listener.close()

    def in_hand(self) -> int:
        """Jobs that run or wait in this process."""
        return sum(lane.runner.in_hand() for lane in self.lanes)

    def active(self) -> int:
        """The same without those that wait for other jobs, which may be jobs that have to run alone."""
        return sum(lane.runner.in_hand() - lane.runner.lent for lane in self.lanes)

    @property
    def again_in(self) -> float | None:
        """Seconds until a rate that held a job up lets it go, as the last look found; None when none did."""
        return None if self._again_in == inf else self._again_in

    def dried_up(self, patient: bool = True) -> bool:
        """Look once more now: whether there is nothing to take, no suspect to wait for, and, if ``patient``, no rate."""
        with self._turned:
            begun = self._begun
            self.wake()
            looked = self._turned.wait_for(lambda: self._ended > begun, LOOK_PATIENCE)
            return looked and self._dry and not (patient and self._again_in < inf)

    def _run(self) -> None:
        pause = FIRST_PAUSE

        while not self._stopping:
            self._slots.beat(Pulse.CLAIMER)

            try:
                if self._lease_lapsed():
                    self._listener.wait(LEASE_LOOK)
                elif not self._round():
                    self._wait()

                pause = FIRST_PAUSE
                self.breakage.heal()
            except BrokerError as error:
                logger.warning("nothing can be claimed: %s", error, extra={"action": "claim.retry"})
                self.breakage.note(error)
                self._listener.wait(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
            except Exception:
                logger.exception("a claim failed", extra={"action": "claim.retry"})
                self._listener.wait(pause)
                pause = min(LONGEST_PAUSE, pause * 2)

    def _lease_lapsed(self) -> bool:
        """Somebody else may hold this session's jobs by now."""
        return self._clock.uptime() > self._slots.lease_until

    def _round(self) -> bool:
        """Claim once for each lane with room. True when it is worth looking again at once."""
        self._begun += 1
        self._dry = False

        try:
            return self._look()
        finally:
            with self._turned:
                self._ended = self._begun
                self._turned.notify_all()

    def _look(self) -> bool:
        if self._solitude.asked and not self._may_go_on():
            return False

        self._again_in = inf
        before = self.taken
        self.lanes = self._in_turn()
        hungry = [lane for lane in self.lanes if self._supply(lane)]
        fresh_first, self._fresh_first = self._fresh_first, False
        self._ask_for_room(hungry)

        if self._solitude.asked:
            return self._may_go_on()

        if fresh_first and self.taken == before:
            return True

        self._idle = self._idle or (self.taken == before and not self.in_hand() and not self._settler.backlog)
        self._dry = self.taken == before and self._again_in > 0.0 and all(lane.runner.room() > 0 for lane in self.lanes)

        # They may have finished before they knew that they should ring.
        return any(self._wants_more(lane.runner) for lane in hungry)

    def _wants_more(self, runner: Runner) -> bool:
        """True when a slot is idle, or a quarter of what it has ahead is gone.

        To claim a few costs as much as to claim many, and what is left has to last for the time of a claim.
        """
        return self._room(runner) > self._ahead(runner) // 4

    def _in_turn(self) -> list[Lane]:
        """The lanes, new ones too. Some share slots: the one that got some last comes last."""
        lanes = [*self.lanes, *self._more()]

        if self._served in lanes:
            lanes.remove(self._served)
            lanes.append(self._served)

        return lanes

    def _supply(self, lane: Lane) -> bool:
        """Claim what the lane has room for. True when more may be ready than fit."""
        if self._solitude.asked:
            return False

        room = min(self._room(lane.runner), self._plan.limit)
        count = self._claim(lane, room) if room > 0 else 0

        return count == room or room <= 0

    def _room(self, runner: Runner) -> int:
        """The number to claim: jobs that have ended and are not written are in hand, too, beyond what is usual at this pace."""
        room = runner.room()

        if runner.ahead is None:
            return room

        room -= runner.ahead - self._ahead(runner)

        if 0 < room <= self._late():
            self._settler.awaited = True  # before the next look: it rings when it has written

        return room - self._late()

    def _late(self) -> int:
        usual = max(FEWEST, *(self._ahead(lane.runner) // 2 for lane in self.lanes))
        return max(0, self._settler.backlog - usual)

    def _ahead(self, runner: Runner) -> int:
        """The number to have ahead: what the runner wants, though not much more than is worked off, to the last write."""
        return min(runner.ahead or 0, max(FEWEST, self._written.ahead(busy=False)))

    def _ask_for_room(self, hungry: list[Lane]) -> None:
        """The runners ring when these want more; several may share one."""
        for lane in self.lanes:
            lane.runner.refill_below = NOT_WAITED_FOR

        for lane in hungry:
            lane.runner.refill_below = self._ahead(lane.runner) * 3 // 4

    def _may_go_on(self) -> bool:
        """Before suspects start, and while they run, nothing else is claimed."""
        for lane in self.lanes:
            lane.runner.refill_below = 0
            lane.runner.hurry()

        if self.active() and self._solitude.lasts(self._clock.monotonic(), self._suspect_waits):
            return False

        self._fresh_first = self._solitude.kept
        self._solitude.end(self._clock.monotonic())
        return True

    def _suspect_waits(self) -> bool:
        """True when a suspect is still there; another worker may have taken it."""
        return any(self._broker.claim(self._wish(lane, 0, alone=False)).suspects for lane in self.lanes)

    def _claim(self, lane: Lane, limit: int) -> int:
        if not lane.names():
            return 0

        alone = not self.active() and not self._fresh_first
        wish = self._wish(lane, limit, alone)
        answer = self._ask(wish)
        self._tell_unknown(answer)

        if answer.again_in is not None:
            self._again_in = min(self._again_in, answer.again_in)

        if any(job.crashes for job in answer.jobs):
            self._solitude.begin_with_suspects()
        elif answer.suspects and not alone:
            self._solitude.begin(self._clock.monotonic())

        if answer.jobs:
            if self._idle:
                self._idle = False
                self._written.resume()

            self.taken += len(answer.jobs)
            self._served = lane
            prepare = self._executor.prepare
            lane.runner.submit([ready for job in answer.jobs if (ready := prepare(job, wish.session)) is not None])

        return len(answer.jobs)

    def _ask(self, wish: ClaimWish) -> ClaimAnswer:
        """The broker's answer, before anything else is written that has not begun: runners without jobs stand still."""
        self._settler.may_write.clear()

        try:
            return self._broker.claim(wish)
        finally:
            self._settler.may_write.set()

    def _wish(self, lane: Lane, limit: int, alone: bool) -> ClaimWish:
        return ClaimWish(
            session=self.session,
            limit=limit,
            tasks=lane.names(),
            queues=self._plan.queues,
            weights=self._plan.weights,
            alone=alone,
        )

    def _wait(self) -> None:
        """Until something rings. Jobs that nothing touches meanwhile do not start soon: another worker may have them."""
        waiting = [lane.runner.waiting() for lane in self.lanes]

        if not any(waiting):
            self._listener.wait(min(self._plan.poll_interval, self._solitude.patience, self._again_in))
        elif not self._listener.wait(HOARD_LOOK) and waiting == [lane.runner.waiting() for lane in self.lanes]:
            self._give_back()

    def _give_back(self) -> None:
        for lane in self.lanes:
            for assignment in lane.runner.let_go():
                self._executor.give_back(assignment)

    def _tell_unknown(self, answer: ClaimAnswer) -> None:
        known = frozenset[str]().union(*(lane.names() for lane in self.lanes))

        for name in answer.unknown - known - self.told:
            self.told.add(name)
            logger.warning(
                "jobs of task %r are ready, but this worker has no task of that name; it leaves them alone",
                name,
                extra={"action": "claim.unknown_task", "task_name": name},
            )


class Names:
    """The names of the tasks of one kind, aliases too, as they are now; batch tasks have lanes of their own."""

    def __init__(self, app: QueueTasks, is_async: bool) -> None:
        self._app = app
        self._is_async = is_async
        self._counted = (0, 0)
        self._names: frozenset[str] = frozenset()

    def __call__(self) -> frozenset[str]:
        tasks, aliases = self._app.tasks, self._app.aliases

        if (counted := (len(tasks), len(aliases))) != self._counted:
            names = {name for name, task in list(tasks.items()) if self._means(task)}
            self._names = frozenset(names | {alias for alias, name in list(aliases.items()) if name in names})
            self._counted = counted

        return self._names

    def _means(self, task: Task[..., object]) -> bool:
        return task.is_async is self._is_async and task.features.batch is None
