"""How many streams are open, and which server bears any."""

from __future__ import annotations

import gc
from typing import Any
from uuid import UUID

import pytest

from cherga import ConfigError
from cherga.web.seats import Seats
from cherga.web.settings import DEFAULT_STREAMS, LiveSettings, Mode, check, count_streams

ONE, OTHER = UUID(int=1), UUID(int=2)

WERKZEUG = {"wsgi.multithread": True, "werkzeug.socket": object()}
POOL = {"wsgi.multithread": True}
ONE_THREAD = {"wsgi.multithread": False}


def test_seats_are_given_up_to_the_limit() -> None:
    seats = Seats(per_job=9)
    held = [seats.take(ONE, 2), seats.take(OTHER, 2)]

    assert all(held)
    assert seats.take(ONE, 2) is None
    assert len(seats) == 2


def test_one_job_takes_no_more_than_its_share() -> None:
    seats = Seats(per_job=1)
    held = seats.take(ONE, 20)

    assert seats.take(ONE, 20) is None
    assert seats.take(OTHER, 20) is not None
    assert held is not None


def test_a_seat_that_was_left_twice_is_one_free_seat() -> None:
    seats = Seats(per_job=9)
    first, second = seats.take(ONE, 2), seats.take(ONE, 2)
    assert first is not None

    first.leave()
    first.leave()

    assert len(seats) == 1
    assert second is not None


def test_a_seat_that_nobody_holds_any_more_is_free() -> None:
    seats = Seats(per_job=9)
    seat = seats.take(ONE, 1)
    assert not seats.any_left(ONE, 1)

    del seat
    gc.collect()

    assert seats.any_left(ONE, 1)


@pytest.mark.parametrize(
    ("mode", "given", "environ", "expected"),
    [
        (Mode.AUTO, None, WERKZEUG, DEFAULT_STREAMS),
        (Mode.AUTO, None, POOL, 0),
        (Mode.AUTO, 4, POOL, 4),
        (Mode.AUTO, 4, WERKZEUG, 4),
        (Mode.AUTO, 4, ONE_THREAD, 0),
        (Mode.AUTO, None, {}, 0),
        (Mode.STREAM, None, ONE_THREAD, DEFAULT_STREAMS),
        (Mode.STREAM, 3, POOL, 3),
        (Mode.POLL, 50, WERKZEUG, 0),
    ],
)
def test_streams_are_only_for_servers_that_bear_them(
    mode: Mode, given: int | None, environ: dict[str, Any], expected: int
) -> None:
    assert count_streams(LiveSettings(mode=mode, max_streams=given), environ) == expected


def test_a_negative_limit_is_refused_with_its_name() -> None:
    with pytest.raises(ConfigError, match=r"live\.max_streams"):
        check(LiveSettings(max_streams=-1))
