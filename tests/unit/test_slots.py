"""The table in shared memory: written by a worker process, read by its supervisor even after its death."""

from __future__ import annotations

import os
import subprocess
import sys

from cherga.doors.black_box import read_box
from cherga.words.session import Begun
from cherga.worker.slots import Pulse, SlotTable, most_in_hand, shared_memory

LARGEST = 2**63 - 1


def begun(table: SlotTable) -> frozenset[int]:
    found = table.begun()
    assert found is not None
    return found.tokens


def test_an_empty_table_says_that_nothing_runs() -> None:
    table = SlotTable.private(3)

    assert (table.begun(), table.ticks, table.lease_until) == (Begun(), (0, 0, 0), 0.0)


def test_a_token_stands_in_its_slot_until_the_next_begins_there_or_it_does_not_begin_after_all() -> None:
    table = SlotTable.private(3)
    table.begin(0, 7)
    table.begin(2, LARGEST)

    assert begun(table) == {7, LARGEST}
    table.take_back(0)
    assert begun(table) == {LARGEST}
    table.begin(2, 9)
    assert begun(table) == {9}


def test_tokens_may_have_any_sign() -> None:
    table = SlotTable.private(2)
    table.begin(0, -LARGEST)
    table.once.keep((-5,))

    assert table.begun() == Begun(frozenset({-LARGEST, -5}), frozenset({-5}))


def test_slots_lease_and_tick_do_not_touch_each_other() -> None:
    table = SlotTable.private(2)
    table.begin(0, 1)
    table.begin(1, 2)
    table.lease_until = 123.5
    table.beat(Pulse.DEADLINES)
    table.beat(Pulse.SETTLER)
    table.beat(Pulse.SETTLER)

    assert (begun(table), table.lease_until, table.ticks) == (frozenset({1, 2}), 123.5, (0, 2, 1))


def test_another_process_sees_what_a_killed_one_left() -> None:
    fd = shared_memory(4)
    program = (
        "import os, signal, sys; from cherga.worker.slots import *; table = SlotTable.shared(int(sys.argv[1]), 4); "
        "table.note_in(None); table.begin(1, 11); table.begin(3, 33); table.take_back(1); table.once.keep((5,)); "
        "table.beat(Pulse.SETTLER); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(fd)], pass_fds=[fd], timeout=30, check=False)
    table = SlotTable.shared(fd, 4)
    os.close(fd)

    assert ended.returncode == -9
    assert (table.begun(), table.ticks) == (Begun(frozenset({33, 5}), frozenset({5})), (0, 1, 0))


def test_a_table_on_which_nothing_is_noted_tells_nothing() -> None:
    fd = shared_memory(1)
    table = SlotTable.shared(fd, 1)
    os.close(fd)
    assert table.begun() is None


def test_what_is_noted_in_the_black_box_of_a_broker_does_not_stand_in_the_table() -> None:
    fd = shared_memory(1)
    ours, theirs = SlotTable.shared(fd, 1), SlotTable.shared(fd, 1)
    os.close(fd)
    box = bytearray(ours.box_bytes)
    theirs.note_in(box)
    theirs.begin(0, 7)

    assert ours.begun() is None
    assert theirs.begun() == read_box(box) == Begun(frozenset({7}))


def test_what_must_not_run_twice_stands_until_it_is_written() -> None:
    table = SlotTable.private(1)
    table.once.keep((7,))
    table.begin(0, 7)
    table.begin(0, 8)

    assert table.begun() == Begun(frozenset({7, 8}), frozenset({7}))
    table.once.let_go((7, 9))
    assert table.begun() == Begun(frozenset({8}))


def test_all_that_a_process_can_have_in_hand_is_remembered_and_no_more_begins() -> None:
    table = SlotTable.private(1)
    tokens = range(1, most_in_hand(1) + 1)

    assert all(table.once.keep((token,)) for token in tokens)
    assert not table.once.keep((-1,))
    assert begun(table) == frozenset(tokens)

    table.once.let_go((5,))
    assert not table.once.keep((-1, -2))
    assert table.once.keep((-3,))
    assert begun(table) == frozenset({*tokens, -3}) - {5}


def test_places_in_batches_are_given_back() -> None:
    table = SlotTable.private(1)
    places = table.batches.take(3)
    table.batches.begin(places, [1, 2, 3])

    assert begun(table) == {1, 2, 3}
    table.batches.end(places)
    assert begun(table) == frozenset()
