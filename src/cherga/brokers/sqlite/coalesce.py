"""Group commit: callers that push at the same time share one transaction, and with it one sync of the disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from cherga.words.errors import BrokerError
from cherga.words.push import NewJob, PushAnswer

Groups = Sequence[Sequence[NewJob]]
PushAll = Callable[[Groups], list[PushAnswer]]


class Order:
    """What one caller pushes, and what came of it."""

    __slots__ = ("answers", "error", "groups")

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self.answers: list[PushAnswer] | None = None
        self.error: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether somebody has carried it out."""
        return self.answers is not None or self.error is not None


class Coalescer:
    """Who gets the turn to write carries out the orders of all who wait for it."""

    def __init__(self, push_all: PushAll) -> None:
        self._push_all = push_all
        self._waiting: deque[Order] = deque()

    def push(self, turn: AbstractContextManager[object], groups: Groups) -> list[PushAnswer]:
        """Push, perhaps together with others; return when it is stored."""
        order = Order(groups)
        self._waiting.append(order)

        with turn:
            if not order.done:
                self._carry_out([self._waiting.popleft() for _ in range(len(self._waiting))])

        if order.error is not None:
            raise order.error

        return order.answers or []

    def _carry_out(self, orders: Sequence[Order]) -> None:
        try:
            answers = iter(self._push_all([group for order in orders for group in order.groups]))
        except Exception as error:
            self._fail(orders, error)
        except BaseException:
            self._waiting.extend(orders)  # this thread is told to stop: the others do it themselves when they get the turn
            raise
        else:
            for order in orders:
                order.answers = [next(answers) for _ in order.groups]

    def _fail(self, orders: Sequence[Order], error: Exception) -> None:
        """What the broker itself cannot do holds for all; anything else is the fault of one, who alone shall have it."""
        if isinstance(error, BrokerError):
            for order in orders:
                order.error = type(error)(*error.args)
        elif len(orders) == 1:
            orders[0].error = error
        else:
            for order in orders:
                self._carry_out([order])
