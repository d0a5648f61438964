"""The table of state changes: what is in it, what must never be in it, and what is made from it."""

from __future__ import annotations

import pytest

from cherga.rules.lifecycle import MOVES, Move, allowed, diagram, sources
from cherga.words.job import FINAL_STATES, JobState

S = JobState

PAIRS = {pair for pairs in MOVES.values() for pair in pairs}


def _entered_by(state: JobState) -> set[Move]:
    return {move for move, pairs in MOVES.items() if any(after is state for _, after in pairs)}


def _left_by(state: JobState) -> set[Move]:
    return {move for move, pairs in MOVES.items() if any(before is state for before, _ in pairs)}


def _reachable(starts: set[JobState], pairs: set[tuple[JobState | None, JobState]]) -> set[JobState]:
    reached = set(starts)

    while further := {after for before, after in pairs if before in reached} - reached:
        reached |= further

    return reached


def test_every_move_leads_somewhere() -> None:
    assert set(MOVES) == set(Move)
    assert all(MOVES.values())


def test_only_a_push_begins_a_job() -> None:
    assert {move for move, pairs in MOVES.items() if any(before is None for before, _ in pairs)} == {Move.PUSH}
    assert all(before is None for before, _ in MOVES[Move.PUSH])


def test_no_move_leads_from_a_state_to_itself() -> None:
    assert [pair for pair in PAIRS if pair[0] is pair[1]] == []


def test_only_a_claim_starts_a_job() -> None:
    assert _entered_by(S.RUNNING) == {Move.CLAIM}
    assert sources(Move.CLAIM) == {S.READY}


def test_a_running_job_is_left_to_its_worker_and_to_the_reaper() -> None:
    assert _left_by(S.RUNNING) == {Move.SETTLE, Move.REAP}


def test_a_worker_writes_only_about_running_jobs() -> None:
    assert sources(Move.SETTLE) == sources(Move.REAP) == {S.RUNNING}


def test_only_a_worker_makes_a_job_succeed_that_it_runs() -> None:
    assert {move for move in _entered_by(S.SUCCEEDED) if S.RUNNING in sources(move)} == {Move.SETTLE}


def test_what_needs_no_worker_succeeds_when_it_is_pushed_or_released() -> None:
    assert _entered_by(S.SUCCEEDED) - {Move.SETTLE} == {Move.PUSH, Move.RELEASE}
    assert allowed(Move.PUSH, None, S.SUCCEEDED)
    assert allowed(Move.RELEASE, S.BLOCKED, S.SUCCEEDED)


def test_a_replacement_moves_what_waits_for_no_other_job() -> None:
    assert MOVES[Move.REPLACE] == {(S.READY, S.SCHEDULED), (S.SCHEDULED, S.READY)}


def test_the_reaper_never_makes_a_job_succeed() -> None:
    assert not allowed(Move.REAP, S.RUNNING, S.SUCCEEDED)


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
def test_only_a_person_takes_a_job_out_of_a_final_state(state: JobState) -> None:
    assert state.final
    assert _left_by(state) == {Move.RETRY}


def test_a_job_is_blocked_from_its_push_or_never() -> None:
    assert _entered_by(S.BLOCKED) == {Move.PUSH}


def test_a_retry_by_a_person_leads_to_ready_alone() -> None:
    assert {after for _, after in MOVES[Move.RETRY]} == {S.READY}


@pytest.mark.parametrize("move", [Move.CANCEL, Move.EXPIRE])
def test_what_never_ran_can_be_cancelled_at_once(move: Move) -> None:
    assert MOVES[move] == {(state, S.CANCELLED) for state in (S.READY, S.SCHEDULED, S.BLOCKED)}


def test_every_state_can_be_reached() -> None:
    born = {after for _, after in MOVES[Move.PUSH]}
    assert _reachable(born, PAIRS) == set(JobState)


@pytest.mark.parametrize("state", [*JobState])
def test_every_state_leads_to_every_end(state: JobState) -> None:
    assert _reachable({state}, PAIRS) >= FINAL_STATES


def test_no_unfinished_state_is_a_dead_end_without_a_person() -> None:
    by_themselves = {pair for move, pairs in MOVES.items() if move not in {Move.CANCEL, Move.RETRY} for pair in pairs}

    for state in set(JobState) - FINAL_STATES:
        assert _reachable({state}, by_themselves) & FINAL_STATES, state


@pytest.mark.parametrize("move", [*Move])
def test_allowed_says_what_the_table_says(move: Move) -> None:
    every_pair = {(before, after) for before in (None, *JobState) for after in JobState}
    assert {pair for pair in every_pair if allowed(move, *pair)} == MOVES[move]


def test_sources_leave_out_the_beginning() -> None:
    assert sources(Move.PUSH) == frozenset()
    assert sources(Move.RELEASE) == {S.BLOCKED}


def test_the_diagram_names_every_change_once() -> None:
    head, *lines = diagram().splitlines()
    drawn = [line.split(":")[0].strip() for line in lines]
    assert head == "stateDiagram-v2"
    assert sorted(drawn) == sorted(f"{before or '[*]'} --> {after}" for before, after in PAIRS)


def test_the_diagram_names_the_moves_of_a_change() -> None:
    (line,) = [line for line in diagram().splitlines() if "scheduled --> ready" in line]
    assert set(line.partition(": ")[2].split(", ")) == {Move.PROMOTE, Move.REPLACE, Move.RETRY}
