"""A suite that no fault can turn red says nothing: every broken broker must fail the case that stands guard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from cherga.brokers.memory import MemoryBroker
from cherga.testing.contract import BrokerContract, Stage
from cherga.testing.contract.replacing import REPLACE
from cherga.words.job import JobState
from cherga.words.unique import OnConflict
from tests.contract import broken, broken_flow, broken_limits
from tests.contract.memory_harness import MemoryHarness
from tests.contract.test_memory import TestMemory as Suite

Case = Callable[..., None]

ALARMS: list[tuple[type[MemoryBroker], Case, dict[str, Any]]] = [
    (broken.WithoutFence, Suite.test_a_settlement_with_an_old_token_is_refused, {}),
    (broken.WithoutFence, Suite.test_a_report_with_an_old_token_is_refused, {}),
    (broken.CountingAtSettle, Suite.test_a_claim_counts_the_attempt_at_once, {}),
    (broken.CountingAtSettle, Suite.test_the_attempt_of_a_crash_was_counted_at_the_claim, {}),
    (broken.CountingAtSettle, Suite.test_a_random_run_goes_as_the_model_says, {"seed": 2}),
    (broken.Unfair, Suite.test_at_one_priority_the_older_goes_first, {"priority": 0}),
    (broken.Unfair, Suite.test_pages_follow_the_order, {}),
    (broken.Unfair, Suite.test_a_random_run_goes_as_the_model_says, {"seed": 2}),
    (broken.LosingReleases, Suite.test_many_dependants_go_in_pages, {}),
    (broken.LosingReleases, Suite.test_a_failure_cancels_the_rest_of_the_chain, {}),
    (broken.ForgettingDependants, Suite.test_success_releases_the_dependant, {}),
    (broken.ForgettingDependants, Suite.test_a_random_run_goes_as_the_model_says, {"seed": 2}),
    (broken.HandingOutTwice, Suite.test_a_job_is_handed_out_once, {}),
    (broken.StoringHalves, Suite.test_a_refused_group_stores_none_of_its_jobs, {}),
    (broken.WithoutKeys, Suite.test_a_second_job_is_answered_by_the_holder, {}),
    (broken.WithoutKeys, Suite.test_fifty_rivals_store_one_job, {}),
    (broken.ForgivingCrashes, Suite.test_a_job_that_had_begun_is_charged_a_crash, {}),
    (broken.ForgivingCrashes, Suite.test_at_the_crash_cap_the_job_fails, {}),
    (broken.WithoutGrace, Suite.test_after_an_outage_no_lease_is_taken_for_expired, {}),
    (broken.Deaf, Suite.test_nothing_is_missed_between_listen_and_wait, {}),
    (broken.Deaf, Suite.test_each_job_that_changes_is_named, {}),
    (broken.TickingTwice, Suite.test_the_second_to_come_pushes_nothing, {}),
    (broken.TickingTwice, Suite.test_of_many_schedulers_one_fires, {}),
    (broken.SwappingBlindly, Suite.test_an_old_version_swaps_nothing, {}),
    (broken.ReusingVersions, Suite.test_a_version_from_before_a_deletion_swaps_nothing, {}),
    (broken.PruningParents, Suite.test_a_parent_is_kept_while_a_dependant_waits_for_it, {}),
    (broken.PushingChildrenFirst, Suite.test_children_of_a_refused_settlement_are_dropped, {}),
    (broken.Early, Suite.test_a_job_is_not_promoted_early, {}),
    (broken.IgnoringCancels, Suite.test_the_heartbeat_tells_the_worker, {}),
    (broken.IgnoringCancels, Suite.test_a_job_to_be_cancelled_does_not_run_again, {"to": JobState.READY}),
    (broken.RepeatingSettlements, Suite.test_a_repeated_settlement_is_answered_as_written, {"to": JobState.SUCCEEDED}),
    (broken.MixingSuspects, Suite.test_a_suspect_is_not_claimed_beside_others, {}),
    (broken_limits.Limitless, Suite.test_a_claim_takes_no_more_than_the_limit_allows, {"name": "queue:q"}),
    (broken_limits.Limitless, Suite.test_so_many_start_and_then_none, {"name": "task:export"}),
    (broken_limits.KeepingSlots, Suite.test_a_settlement_gives_the_slot_back, {"to": JobState.FAILED, "fields": {}}),
    (broken_limits.KeepingSlots, Suite.test_a_dead_session_gives_its_slots_back, {"started": None, "orderly": False}),
    (broken_limits.CountingEachClaim, Suite.test_slots_over_several_claims_add_up, {}),
    (broken_limits.CountingEachClaim, Suite.test_rivals_never_exceed_a_limit_together, {}),
    (broken_limits.CountingEachClaim, Suite.test_a_random_run_keeps_every_limit, {"seed": 0}),
    (broken_limits.KeepingSlots, Suite.test_a_random_run_keeps_every_limit, {"seed": 0}),
    (broken_limits.LumpingValues, Suite.test_a_claim_fills_the_slots_of_every_value, {}),
    (broken_limits.PreferringCode, Suite.test_an_override_goes_before_the_code, {}),
    (broken_limits.StoppingAtTheFirstClosed, Suite.test_a_limit_that_is_reached_hides_no_other_job, {}),
    (broken_limits.ForgettingTurns, Suite.test_a_rare_key_comes_second_at_the_latest, {}),
    (broken_limits.ForgettingTurns, Suite.test_keys_take_turns_over_several_claims, {}),
    (broken_limits.LettingNewcomersAhead, Suite.test_a_key_that_comes_again_and_again_does_not_push_ahead, {}),
    (broken_limits.SilentAboutSlots, Suite.test_a_slot_wakes_also_a_job_of_another_task, {}),
    (broken_limits.PruningStarts, Suite.test_a_prune_forgets_no_start_that_still_counts, {}),
    (broken_limits.CountingWhatNeverBegan, Suite.test_a_job_given_back_unstarted_takes_its_start_back, {}),
    (broken_limits.CountingWhatNeverBegan, Suite.test_what_never_began_in_a_dead_session_takes_its_start_back, {}),
    (broken_limits.TakingTheLastStartBack, Suite.test_a_start_taken_back_leaves_the_others_where_they_were, {}),
    (broken_limits.IgnoringArguments, Suite.test_jobs_with_these_arguments_are_passed_over, {}),
    (broken_limits.HoldingForEver, Suite.test_a_held_job_is_held_again_by_the_same_pause, {}),
    (broken_limits.WithoutCaps, Suite.test_a_full_queue_refuses_one_job_more, {}),
    (broken_limits.WithoutCaps, Suite.test_the_oldest_is_dropped_for_the_newest, {}),
    (broken_limits.DroppingTheNewest, Suite.test_the_first_that_came_is_dropped_whatever_its_priority_and_time, {}),
    (broken_flow.ReplacingNothing, Suite.test_a_job_that_waits_takes_over_what_is_new, {"unique": REPLACE}),
    (broken_flow.ReplacingNothing, Suite.test_every_replacement_puts_the_time_off, {}),
    (broken_flow.ReplacingNothing, Suite.test_a_random_run_goes_as_the_model_says, {"seed": 2}),
    (broken_flow.PushingToTheBack, Suite.test_it_keeps_its_place_in_the_order_of_pushes, {"unique": REPLACE}),
    (broken_flow.WithoutSuccessors, Suite.test_behind_a_job_that_runs_the_new_one_is_blocked, {}),
    (
        broken_flow.ManySuccessors,
        Suite.test_there_is_one_successor_and_it_takes_over_what_is_newer,
        {"conflict": OnConflict.LATEST},
    ),
    (broken_flow.LosingKeys, Suite.test_a_key_passes_at_once_also_behind_many_dependants, {}),
    (broken_flow.RunningGroups, Suite.test_a_group_of_nobody_has_succeeded, {}),
    (broken_flow.RunningGroups, Suite.test_a_group_succeeds_with_its_last_member, {}),
    (broken.PruningParents, Suite.test_members_are_kept_while_their_group_is, {}),
    (broken.PruningParents, Suite.test_over_the_cap_members_are_kept_too, {}),
    (broken.PruningParents, Suite.test_a_parent_is_kept_until_its_dependant_has_ended, {}),
    (broken_flow.SparingSiblings, Suite.test_any_other_end_cancels_those_that_wait, {"end": JobState.FAILED}),
    (broken_flow.SparingSiblings, Suite.test_members_that_run_are_told_to_stop, {}),
    (broken_flow.SparingSiblings, Suite.test_a_random_run_goes_as_the_model_says, {"seed": 2}),
    (broken_flow.LosingOrphans, Suite.test_many_members_are_cancelled_in_pages, {}),
    (broken_flow.LosingOrphans, Suite.test_a_large_family_goes_in_pages, {}),
    (broken_flow.SparingGrandchildren, Suite.test_children_of_children_are_cancelled_too, {}),
    (
        broken_flow.SparingChildrenOfTheDead,
        Suite.test_a_parent_that_has_ended_does_not_save_its_children,
        {"end": JobState.FAILED},
    ),
    (broken_flow.WithoutParents, Suite.test_the_parent_is_kept, {}),
    (broken_flow.WithoutParents, Suite.test_a_family_counts_where_its_children_stand, {}),
    (broken_flow.CountingEndsAlone, Suite.test_what_runs_counts_by_its_progress, {}),
    (broken_flow.ForgettingVersions, Suite.test_what_was_taken_back_keeps_its_version, {}),
    (broken_flow.HidingNothing, Suite.test_empty_data_takes_a_definition_back, {}),
    (broken_flow.KeepingDueTimes, Suite.test_a_new_stamp_forgets_the_due_time, {}),
    (broken_flow.KeepingDueTimes, Suite.test_a_schedule_that_is_taken_back_forgets_its_due_time, {"stamp": ""}),
    (broken_flow.ForgettingDueTimes, Suite.test_the_same_stamp_keeps_the_due_time, {}),
    (broken_flow.ByAnotherClock, Suite.test_promote_tells_the_clock_that_decides_about_ticks, {}),
    (broken_flow.HeldUp, Suite.test_a_group_that_is_refused_does_not_hold_the_schedule_up, {}),
]


def _name(value: object) -> str:
    return getattr(value, "__name__", "")


@pytest.mark.parametrize(("kind", "case", "arguments"), ALARMS, ids=_name)
def test_a_broken_broker_fails(kind: type[MemoryBroker], case: Case, arguments: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        case(Suite(), Stage(MemoryHarness(kind)), **arguments)


def test_no_case_hides_another_of_the_same_name() -> None:
    names = Counter(name for theme in BrokerContract.__mro__ for name in vars(theme) if name.startswith("test_"))
    assert [name for name, count in names.items() if count > 1] == []
    assert len(names) > 150
