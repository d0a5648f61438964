"""What the memory broker keeps of limits that are over, and what they cost where there are none."""

from __future__ import annotations

from cherga.testing.contract import Stage
from cherga.testing.contract.limits import set_limit
from cherga.testing.contract.stage import new_jobs
from cherga.words.limits import Rate
from cherga.words.shared import PauseScope
from tests.contract.memory_harness import MemoryHarness


def test_no_slot_turn_or_start_is_kept_of_what_is_over() -> None:
    harness = MemoryHarness()
    stage = Stage(harness)
    set_limit(stage, "key:user", max_running=10, rate=Rate(10, 60))
    paused = PauseScope(None, "export", '{"user":7}')
    stage.broker.pause(paused, True)

    for number in range(5):
        stage.push_each(*new_jobs(2, limit_keys=(f"key:user|{number}",), payload=b"\x81\xa4user\x07" if number else b"\x90"))

    for _ in range(2):
        for job in stage.claim():
            stage.write(job, keep=1)

        stage.broker.pause(paused, False)

    stage.pass_time(61)
    assert stage.broker.prune() == 10
    book = harness.store.book
    assert (book._slots, book._running, book._starts, book._lanes, book.turns) == ({}, {}, {}, {}, {})


def test_the_turns_of_a_key_with_jobs_are_kept() -> None:
    harness = MemoryHarness()
    stage = Stage(harness)
    set_limit(stage, "key:user", max_running=1)
    stage.push_each(*new_jobs(2, limit_keys=("key:user|ready",)), *new_jobs(1, limit_keys=("key:user|running",)))
    stage.claim(2)
    stage.broker.prune()
    assert {key.limit_keys[0] for key in harness.store.book.turns} == {"key:user|ready", "key:user|running"}
