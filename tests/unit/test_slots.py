"""The table in shared memory: written by a worker process, read by its supervisor even after its death."""

from __future__ import annotations

import os
import subprocess
import sys

from cherga.worker.slots import REMEMBERED, Pulse, SlotTable, shared_memory

LARGEST = 2**63 - 1


def test_an_empty_table_says_that_nothing_runs() -> None:
    table = SlotTable.private(3)

    assert (table.started(), table.ticks, table.lease_until) == (frozenset(), (0, 0, 0), 0.0)


def test_a_token_stands_in_its_slot_while_user_code_runs() -> None:
    table = SlotTable.private(3)
    table.begin(0, 7)
    table.begin(2, LARGEST)

    assert table.started() == {7, LARGEST}
    table.end(0)
    assert table.started() == {LARGEST}
    table.begin(2, 9)
    assert table.started() == {9}


def test_slots_lease_and_tick_do_not_touch_each_other() -> None:
    table = SlotTable.private(2)
    table.begin(0, 1)
    table.begin(1, 2)
    table.lease_until = 123.5
    table.beat(Pulse.DEADLINES)
    table.beat(Pulse.SETTLER)
    table.beat(Pulse.SETTLER)

    assert (table.started(), table.lease_until, table.ticks) == (frozenset({1, 2}), 123.5, (0, 2, 1))


def test_another_process_sees_what_a_killed_one_left() -> None:
    fd = shared_memory(4)
    program = (
        "import os, signal, sys; from cherga.worker.slots import *; table = SlotTable.shared(int(sys.argv[1]), 4); "
        "table.begin(1, 11); table.begin(3, 33); table.end(1); table.beat(Pulse.SETTLER); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(fd)], pass_fds=[fd], timeout=30, check=False)
    table = SlotTable.shared(fd, 4)
    os.close(fd)

    assert ended.returncode == -9
    assert (table.started(), table.ticks) == (frozenset({33}), (0, 1, 0))


def test_what_must_not_run_twice_is_remembered_after_its_end() -> None:
    table = SlotTable.private(1)
    table.begin(0, 7)
    table.remember(7)
    table.end(0)
    table.begin(0, 8)

    assert table.started() == {7, 8}


def test_only_the_latest_ends_are_remembered() -> None:
    table = SlotTable.private(1)

    for token in range(1, REMEMBERED + 2):
        table.remember(token)

    assert table.started() == frozenset(range(2, REMEMBERED + 2))
