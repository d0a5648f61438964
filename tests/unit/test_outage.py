"""While the broker is away one request tries, and the others go on without it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cherga import BrokerUnavailable, JobNotFound
from cherga.testing.clock import FakeClock
from cherga.web.outage import PAUSE, Outage


class Stage:
    """An outage, its clock, and a broker that may be away; ``asked`` counts the questions that reach it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.outage = Outage(lambda: self.clock)
        self.away = True
        self.asked = 0

    def ask(self, meanwhile: Callable[[], object] = lambda: None) -> str:
        def question() -> str:
            self.asked += 1
            meanwhile()

            if self.away:
                raise BrokerUnavailable("nobody answers")

            return "an answer"

        return self.outage.ask(question, "nothing")


def test_after_a_broker_that_could_not_be_used_nobody_asks_for_a_moment() -> None:
    stage = Stage()
    assert [stage.ask() for _ in range(4)] == ["nothing"] * 4
    assert stage.asked == 1

    stage.clock.advance(PAUSE)
    assert [stage.ask() for _ in range(4)] == ["nothing"] * 4
    assert stage.asked == 2


def test_while_one_waits_for_a_broker_that_is_late_the_others_do_not() -> None:
    stage = Stage()
    stage.ask()
    stage.clock.advance(PAUSE)
    others: list[str] = []
    stage.ask(meanwhile=lambda: others.extend(stage.ask() for _ in range(3)))

    assert others == ["nothing"] * 3
    assert stage.asked == 2


def test_the_first_answer_ends_it_and_then_all_ask() -> None:
    stage = Stage()
    stage.ask()
    stage.away = False
    assert stage.ask() == "nothing"

    stage.clock.advance(PAUSE)
    assert [stage.ask() for _ in range(3)] == ["an answer"] * 3


def test_the_log_is_told_at_the_beginning_and_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()

    for _ in range(3):
        stage.ask()
        stage.clock.advance(PAUSE)

    stage.away = False
    stage.ask()
    stage.ask()

    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_another_error_is_raised_and_holds_nobody_up() -> None:
    stage = Stage()
    stage.ask()

    def missing() -> str:
        raise JobNotFound("no job")

    for _ in range(2):
        stage.clock.advance(PAUSE)

        with pytest.raises(JobNotFound):
            stage.outage.ask(missing, "nothing")


def test_a_coroutine_that_is_cancelled_holds_nobody_up() -> None:
    stage = Stage()
    stage.ask()
    stage.clock.advance(PAUSE)
    stage.away = False

    async def late() -> str:
        await asyncio.Event().wait()
        return "never"

    async def give_up() -> str:
        task = asyncio.ensure_future(stage.outage.aask(late, "nothing"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return stage.ask()

    assert asyncio.run(give_up()) == "an answer"
