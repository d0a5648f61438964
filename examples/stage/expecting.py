"""What a check expects of a demonstration, said line by line as it is found."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 30.0
POLL = 0.1

T = TypeVar("T")


class Failed(Exception):
    """Something was not as expected; the message says what."""


def expect(truth: bool, what: str) -> None:
    """Say what was found; raises ``Failed`` where it was not."""
    if not truth:
        raise Failed(what)

    print(f"ok      {what}", flush=True)


def until(look: Callable[[], T], fits: Callable[[T], bool], what: str) -> T:
    """Look again and again until it fits; raises ``Failed`` when that takes too long."""
    deadline = time.monotonic() + PATIENCE

    while not fits(found := look()):
        if time.monotonic() > deadline:
            raise Failed(f"{what} (waited {PATIENCE:.0f} s)")

        time.sleep(POLL)

    expect(True, what)
    return found


def run_through(*parts: Callable[[], None]) -> bool:
    """Run the parts of a check one after the other; whether all was as expected."""
    started = time.monotonic()

    try:
        for part in parts:
            part()
    except Failed as failure:
        print(f"FAILED  {failure}", flush=True)
        return False

    print(f"All is well, in {time.monotonic() - started:.1f} s.", flush=True)
    return True
