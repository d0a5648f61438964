"""A lifespan is gone through as a server does it, whatever the application makes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cherga.client.lifespan import LifespanFailed
from cherga.web.lifespan import ASGILifespan


async def live(app: Any) -> ASGILifespan:
    lifespan = ASGILifespan(app)
    await lifespan.start()
    await lifespan.stop()
    return lifespan


def test_start_and_end_run_in_one_task_and_what_is_yielded_is_kept() -> None:
    tasks: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        tasks.append(asyncio.current_task())
        scope["state"]["pool"] = "open"
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        tasks.append(asyncio.current_task())
        await send({"type": "lifespan.shutdown.complete"})

    assert asyncio.run(live(app)).state == {"pool": "open"}
    assert tasks[0] is tasks[1]


def test_an_application_that_knows_no_lifespan_is_passed_over() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("expected http")

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        return

    asyncio.run(live(app))
    asyncio.run(live(silent))


@pytest.mark.parametrize(
    ("message", "told"),
    [({"message": "Traceback …\nOSError: no database\n"}, "OSError: no database"), ({}, "no reason was given")],
)
def test_a_start_that_fails_is_told_in_one_line(message: dict[str, str], told: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", **message})
        raise OSError("no database")

    with pytest.raises(LifespanFailed, match=f"failed at its start: {told}"):
        asyncio.run(live(app))


def test_an_application_that_ends_in_between_does_not_hold_up_the_end() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})

    asyncio.run(live(app))


def test_an_end_that_fails_is_told_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "it burns"})

    asyncio.run(live(app))
    assert "it burns" in caplog.text
