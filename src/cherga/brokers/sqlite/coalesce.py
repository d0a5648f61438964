"""Group commit: callers that push at the same time share one transaction, and with it one sync of the disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from cherga.brokers.sqlite.turns import Turn
from cherga.words.errors import BrokerError, BrokerUnavailable
from cherga.words.push import NewJob, PushAnswer

Groups = Sequence[Sequence[NewJob]]
PushAll = Callable[[Groups, float], list[PushAnswer]]


class Order:
    """The order of one caller: the jobs to push, and the answer."""

    __slots__ = ("answers", "error", "groups", "withdrawn")

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self.answers: list[PushAnswer] | None = None
        self.error: Exception | None = None
        self.withdrawn = False
        """True when its caller has gone away: nobody shall store it for him later."""

    @property
    def open(self) -> bool:
        """True when somebody still has to carry it out."""
        return self.answers is None and self.error is None and not self.withdrawn


class Coalescer:
    """The thread that gets the turn to write carries out the orders of all that wait for it.

    The line is only a hint: who gets the turn and finds its own order open carries it out, whatever has become of the line. So
    a caller that is stopped at any point takes nobody's order along, and leaves none behind.
    """

    def __init__(self, push_all: PushAll) -> None:
        self._push_all = push_all
        self._line: deque[Order] = deque()

    def push(self, turn: Turn, groups: Groups, deadline: float) -> list[PushAnswer]:
        """Push, perhaps together with others; return when it is stored. ``apsw.BusyError`` when others write until then."""
        order = Order(groups)

        try:
            self._line.append(order)
            turn.hold(lambda: self._carry_out(order, deadline), deadline)
        except BaseException:
            order.withdrawn = True
            raise

        if order.error is not None:
            raise order.error

        return order.answers or []

    def _carry_out(self, own: Order, deadline: float) -> None:
        if own.open:
            self._push([own, *self._others(own)], deadline)

    def _others(self, own: Order) -> list[Order]:
        line, others = self._line, list[Order]()

        while True:
            try:
                order = line.popleft()
            except IndexError:
                return others

            if order.open and order is not own:
                others.append(order)

    def _push(self, orders: Sequence[Order], deadline: float) -> None:
        groups = orders[0].groups if len(orders) == 1 else [group for order in orders for group in order.groups]

        try:
            answers = self._push_all(groups, deadline)
        except Exception as error:
            self._fail(orders, error, deadline)
        else:
            given = 0

            for order in orders:
                order.answers = answers[given : given + len(order.groups)]
                given += len(order.groups)

    def _fail(self, orders: Sequence[Order], error: Exception, deadline: float) -> None:
        """A fault of the broker itself holds for all; any other is the fault of one order, whose caller alone gets it.

        When the patience of the first is at an end, that of the others may not be: they try for themselves.
        """
        if len(orders) == 1 or isinstance(error, BrokerUnavailable):
            orders[0].error = error
        elif isinstance(error, BrokerError):
            for order in orders:
                order.error = type(error)(*error.args)
        else:
            for order in orders:
                self._push([order], deadline)
