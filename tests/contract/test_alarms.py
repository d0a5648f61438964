"""A suite that no fault can turn red says nothing: every broken broker must fail the case that stands guard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from cherga.brokers.memory import MemoryBroker
from cherga.testing.contract import BrokerContract, Stage
from cherga.words.job import JobState
from tests.contract import broken
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
