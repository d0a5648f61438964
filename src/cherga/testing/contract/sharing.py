"""Declarations, schedules and shared values."""

from __future__ import annotations

from functools import partial

import pytest

from cherga.doors.broker import FullBroker
from cherga.testing.contract.stage import Stage, after, ids, new_job, new_jobs, together
from cherga.words.shared import Definition, Shared
from cherga.words.unique import OnConflict, Unique

NOTHING = Shared(None, 0)


class Declaring:
    """``define`` and ``definitions``."""

    def test_a_definition_is_kept(self, stage: Stage) -> None:
        definition = Definition("task", "mail", b"\x00\xff", 3)
        stage.broker.define([definition])
        assert stage.broker.definitions("task") == [definition]
        assert stage.connect().definitions("task") == [definition]

    def test_nothing_is_defined_at_first(self, stage: Stage) -> None:
        assert stage.broker.definitions("task") == []
        assert stage.broker.definitions("task", ["mail"]) == []

    def test_kinds_are_kept_apart(self, stage: Stage) -> None:
        task, schedule = Definition("task", "mail", b"t"), Definition("schedule", "mail", b"s")
        stage.broker.define([task, schedule])
        assert stage.broker.definitions("schedule") == [schedule]
        assert stage.broker.definitions("task") == [task]

    def test_definitions_can_be_asked_for_by_name(self, stage: Stage) -> None:
        stage.broker.define([Definition("task", name, b"x") for name in ("a", "b", "c")])
        assert {each.name for each in stage.broker.definitions("task", ["c", "a", "unknown"])} == {"a", "c"}
        assert {each.name for each in stage.broker.definitions("task")} == {"a", "b", "c"}

    @pytest.mark.parametrize("version", [2, 3])
    def test_a_definition_of_the_same_or_a_higher_version_replaces(self, stage: Stage, version: int) -> None:
        stage.broker.define([Definition("task", "mail", b"old", 2)])
        stage.broker.define([Definition("task", "mail", b"new", version)])
        assert stage.broker.definitions("task") == [Definition("task", "mail", b"new", version)]

    def test_a_lower_version_replaces_nothing(self, stage: Stage) -> None:
        stage.broker.define([Definition("task", "mail", b"new", 2)])
        stage.broker.define([Definition("task", "mail", b"old", 1), Definition("task", "other", b"x", 1)])
        assert stage.broker.definitions("task", ["mail"]) == [Definition("task", "mail", b"new", 2)]
        assert len(stage.broker.definitions("task")) == 2

    def test_the_highest_version_of_a_call_wins(self, stage: Stage) -> None:
        stage.broker.define([Definition("task", "mail", b"%d" % version, version) for version in (1, 3, 2)])
        assert stage.broker.definitions("task") == [Definition("task", "mail", b"3", 3)]

    def test_a_stamp_is_kept(self, stage: Stage) -> None:
        definition = Definition("schedule", "nightly", b"x", 3, "every day")
        stage.broker.define([definition])
        assert stage.broker.definitions("schedule", ["nightly"]) == [definition]

    def test_empty_data_takes_a_definition_back(self, stage: Stage) -> None:
        kept = Definition("task", "mail", b"x")
        stage.broker.define([kept, Definition("task", "export", b"x", 2)])
        stage.broker.define([Definition("task", "export", b"", 2)])
        assert stage.broker.definitions("task") == [kept]
        assert stage.broker.definitions("task", ["export"]) == []

    def test_what_was_taken_back_keeps_its_version(self, stage: Stage) -> None:
        stage.broker.define([Definition("task", "export", b"x", 1)])
        stage.broker.define([Definition("task", "export", b"", 3), Definition("task", "mail", b"", 3)])
        stage.broker.define([Definition("task", name, b"old", 2) for name in ("export", "mail")])
        assert stage.broker.definitions("task") == []
        stage.broker.define([Definition("task", "export", b"new", 3)])
        assert stage.broker.definitions("task") == [Definition("task", "export", b"new", 3)]

    def test_a_lower_version_takes_nothing_back(self, stage: Stage) -> None:
        stage.broker.define([Definition("task", "mail", b"new", 2)])
        stage.broker.define([Definition("task", "mail", b"", 1)])
        assert stage.broker.definitions("task") == [Definition("task", "mail", b"new", 2)]

    def test_defining_nothing_changes_nothing(self, stage: Stage) -> None:
        stage.broker.define([])
        assert stage.broker.definitions("task") == []


class Sharing:
    """``load`` and ``swap``."""

    def test_a_key_holds_nothing_at_first(self, stage: Stage) -> None:
        assert stage.broker.load(["k"]) == [NOTHING]

    def test_a_value_is_set_on_an_empty_key(self, stage: Stage) -> None:
        assert stage.broker.swap("k", 0, b"\x00\xff")
        (shared,) = stage.broker.load(["k"])
        assert shared.value == b"\x00\xff"
        assert shared.version > 0

    def test_values_are_loaded_in_the_order_asked_for(self, stage: Stage) -> None:
        for key in ("a", "b"):
            stage.broker.swap(key, 0, key.encode())

        assert [shared.value for shared in stage.broker.load(["b", "none", "a", "b"])] == [b"b", None, b"a", b"b"]
        assert stage.broker.load([]) == []

    def test_every_swap_makes_a_new_version(self, stage: Stage) -> None:
        versions = [0]

        for number in range(5):
            assert stage.broker.swap("k", versions[-1], b"%d" % number)
            versions.append(stage.broker.load(["k"])[0].version)

        assert len(set(versions)) == 6

    def test_an_old_version_swaps_nothing(self, stage: Stage) -> None:
        stage.broker.swap("k", 0, b"first")
        (first,) = stage.broker.load(["k"])
        stage.broker.swap("k", first.version, b"second")
        assert not stage.broker.swap("k", first.version, b"late")
        assert not stage.broker.swap("k", 0, b"late")
        assert stage.broker.load(["k"])[0].value == b"second"

    def test_a_version_from_nowhere_swaps_nothing(self, stage: Stage) -> None:
        assert not stage.broker.swap("k", 7, b"x")
        assert stage.broker.load(["k"]) == [NOTHING]

    def test_none_deletes_the_value(self, stage: Stage) -> None:
        stage.broker.swap("k", 0, b"x")
        (shared,) = stage.broker.load(["k"])
        assert not stage.broker.swap("k", shared.version + 1, None)
        assert stage.broker.swap("k", shared.version, None)
        assert stage.broker.load(["k"]) == [NOTHING]
        assert stage.broker.swap("k", 0, b"again")

    def test_a_version_from_before_a_deletion_swaps_nothing(self, stage: Stage) -> None:
        stage.broker.swap("k", 0, b"first")
        (first,) = stage.broker.load(["k"])
        stage.broker.swap("k", first.version, None)
        stage.broker.swap("k", 0, b"second")
        assert not stage.broker.swap("k", first.version, b"late")
        assert stage.broker.load(["k"])[0].value == b"second"

    def test_an_empty_value_is_a_value(self, stage: Stage) -> None:
        stage.broker.swap("k", 0, b"")
        assert stage.broker.load(["k"])[0].value == b""

    def test_values_are_shared_by_all_connections(self, stage: Stage) -> None:
        stage.connect().swap("k", 0, b"x")
        assert stage.broker.load(["k"])[0].value == b"x"

    def test_no_increment_is_lost_among_many_threads(self, stage: Stage) -> None:
        brokers = [stage.broker, stage.connect()]
        together(*[partial(_count_up, brokers[number % 2], 5) for number in range(8)])
        assert stage.broker.load(["counter"])[0].value == b"40"


class Ticking:
    """``tick``: a schedule fires once for each due time."""

    def test_the_first_to_come_pushes_the_group(self, stage: Stage) -> None:
        group = new_jobs(2)
        assert stage.broker.tick("nightly", 100.0, 200.0, group)
        assert ids(stage.claim()) == ids(group)

    def test_the_second_to_come_pushes_nothing(self, stage: Stage) -> None:
        late = new_job()
        assert stage.broker.tick("nightly", 100.0, 200.0, [])
        assert not stage.broker.tick("nightly", 100.0, 200.0, [late])
        assert not stage.is_kept(late)

    def test_the_next_firing_is_another(self, stage: Stage) -> None:
        stage.broker.tick("nightly", 100.0, 200.0, [])
        assert not stage.broker.tick("nightly", 300.0, 400.0, [])
        assert stage.broker.tick("nightly", 200.0, 300.0, [])
        assert stage.broker.tick("nightly", 300.0, 400.0, [])

    def test_a_schedule_without_a_next_time_is_over(self, stage: Stage) -> None:
        assert stage.broker.tick("once", 100.0, None, [])
        assert not stage.broker.tick("once", 100.0, None, [])
        assert not stage.broker.tick("once", 200.0, None, [])

    def test_schedules_do_not_share_their_times(self, stage: Stage) -> None:
        assert stage.broker.tick("a", 100.0, 200.0, [])
        assert stage.broker.tick("b", 100.0, 200.0, [])

    def test_times_are_compared_to_the_fraction(self, stage: Stage) -> None:
        assert stage.broker.tick("fast", 1_893_456_000.1, 1_893_456_000.2, [])
        assert stage.broker.tick("fast", 1_893_456_000.2, 1_893_456_000.3, [])

    def test_a_chain_may_be_pushed_by_a_tick(self, stage: Stage) -> None:
        parent = new_job()
        assert stage.broker.tick("nightly", 100.0, 200.0, [parent, after(parent)])
        assert ids(stage.claim()) == [parent.id]

    def test_a_schedule_outlives_the_broker(self, stage: Stage) -> None:
        stage.broker.tick("nightly", 100.0, 200.0, [])
        stage.broker.close()
        stage.broker.open()
        assert not stage.broker.tick("nightly", 100.0, 200.0, [])

    def test_ticks_tell_the_next_due_times(self, stage: Stage) -> None:
        assert stage.broker.ticks() == {}
        stage.broker.tick("nightly", 100.0, 1_893_456_000.1, [])
        stage.broker.tick("once", 100.0, None, [])
        stage.broker.tick("nightly", 1_893_456_000.1, 1_893_542_400.1, [])
        stage.broker.tick("nightly", 7.0, 8.0, [])
        assert stage.connect().ticks() == {"nightly": 1_893_542_400.1, "once": None}

    def test_a_group_that_is_refused_does_not_hold_the_schedule_up(self, stage: Stage) -> None:
        holder = stage.pushed(unique=Unique("export"))
        rival = new_job(unique=Unique("export", conflict=OnConflict.REFUSE))
        assert stage.broker.tick("nightly", 100.0, 200.0, [new_job(), rival])
        assert stage.broker.ticks() == {"nightly": 200.0}
        assert ids(stage.claim()) == [holder.id]

    def test_a_new_stamp_forgets_the_due_time(self, stage: Stage) -> None:
        stage.broker.define([_schedule("at six"), _schedule("at six", name="hourly")])
        stage.broker.tick("nightly", 100.0, 200.0, [])
        stage.broker.tick("hourly", 100.0, 200.0, [])
        stage.broker.define([_schedule("at seven", version=2)])
        assert stage.broker.ticks() == {"hourly": 200.0}
        assert stage.broker.tick("nightly", 150.0, 250.0, [])

    def test_a_new_stamp_wakes_a_schedule_that_was_over(self, stage: Stage) -> None:
        stage.broker.define([_schedule("once")])
        stage.broker.tick("nightly", 100.0, None, [])
        stage.broker.define([_schedule("daily")])
        assert stage.broker.tick("nightly", 200.0, 300.0, [])

    def test_the_same_stamp_keeps_the_due_time(self, stage: Stage) -> None:
        stage.broker.define([_schedule("at six")])
        stage.broker.tick("nightly", 100.0, 200.0, [])
        stage.broker.define([_schedule("at six", version=2, data=b"another job")])
        assert stage.broker.ticks() == {"nightly": 200.0}

    @pytest.mark.parametrize("data", [b"x", b""])
    def test_a_stamp_of_a_lower_version_forgets_nothing(self, stage: Stage, data: bytes) -> None:
        stage.broker.define([_schedule("at six", version=2)])
        stage.broker.tick("nightly", 100.0, 200.0, [])
        stage.broker.define([_schedule("at five", version=1, data=data)])
        assert stage.broker.ticks() == {"nightly": 200.0}

    @pytest.mark.parametrize("stamp", ["at six", ""])
    def test_a_schedule_that_is_taken_back_forgets_its_due_time(self, stage: Stage, stamp: str) -> None:
        stage.broker.define([_schedule("at six")])
        stage.broker.tick("nightly", 100.0, 200.0, [])
        stage.broker.define([_schedule(stamp, data=b"")])
        assert stage.broker.ticks() == {}

    def test_stamps_of_other_kinds_forget_nothing(self, stage: Stage) -> None:
        stage.broker.define([_schedule("at six"), Definition("task", "nightly", b"x", 1, "old")])
        stage.broker.tick("nightly", 100.0, 200.0, [])
        stage.broker.define([Definition("task", "nightly", b"", 1, "new")])
        assert stage.broker.ticks() == {"nightly": 200.0}

    def test_promote_tells_the_clock_that_decides_about_ticks(self, stage: Stage) -> None:
        enqueued_at = stage.row(stage.pushed()).enqueued_at
        first = stage.broker.promote().now
        stage.pass_time(5000)
        assert enqueued_at <= first < enqueued_at + 100
        assert 5000 <= stage.broker.promote().now - first < 5100

    def test_of_many_schedulers_one_fires(self, stage: Stage) -> None:
        brokers = [stage.broker, stage.connect()]

        for due in (100.0, 200.0, 300.0):
            fired = together(*[partial(_fire, brokers[number % 2], due) for number in range(20)])
            assert fired.count(True) == 1
            assert len(stage.claim()) == 1


def _schedule(stamp: str, *, name: str = "nightly", version: int = 1, data: bytes = b"x") -> Definition:
    return Definition("schedule", name, data, version, stamp)


def _fire(broker: FullBroker, due: float) -> bool:
    return broker.tick("nightly", due, due + 100.0, [new_job()])


def _count_up(broker: FullBroker, times: int) -> None:
    done = 0

    while done < times:
        (shared,) = broker.load(["counter"])
        done += broker.swap("counter", shared.version, b"%d" % (int(shared.value or b"0") + 1))
