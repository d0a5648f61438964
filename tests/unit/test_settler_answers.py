"""Who waits for the end of a job hears, once, whether it was stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

import pytest

from cherga.doors.broker import Broker
from cherga.testing import FakeClock
from cherga.words.job import JobState
from cherga.words.settlement import Settled, Settlement
from cherga.worker.settler import Settler
from cherga.worker.slots import SlotTable


class Answering:
    """A broker that takes settlements of odd tokens, refuses those of even ones, and chokes on token 0."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        if any(each.token == 0 for each in settlements):
            raise ValueError("what is this?")

        return [Settled.WRITTEN if each.token % 2 else Settled.REFUSED for each in settlements]


def settlement(token: int) -> Settlement:
    return Settlement(UUID(int=token), token, token, JobState.SUCCEEDED)


@pytest.mark.parametrize("tokens", [[1], [2], [1, 2, 3], [0], [1, 0, 2], [0, 1, 2, 3]])
def test_everybody_hears_of_their_own_settlement(tokens: list[int]) -> None:
    heard: dict[int, list[bool]] = {token: [] for token in tokens}
    settler = Settler(cast(Broker, Answering()), FakeClock(), 0.1, SlotTable.private(1), lambda reports: None)

    for token in tokens:
        settler.expect(token, cast(Any, heard[token].append))
        settler.settle(settlement(token))

    settler.start()

    assert settler.stop(10)
    assert heard == {token: [token % 2 == 1] for token in tokens}


def test_who_expects_nothing_hears_nothing() -> None:
    heard: list[bool] = []
    settler = Settler(cast(Broker, Answering()), FakeClock(), 0.1, SlotTable.private(1), lambda reports: None)
    settler.expect(7, heard.append)
    settler.settle(settlement(9))
    settler.start()

    assert settler.stop(10)
    assert heard == []
