"""A short storm. ``python -m tests.chaos.storm`` lets longer ones pass."""

from __future__ import annotations

import pytest

from tests.chaos.storm.course import run
from tests.saboteur import seeds
from tests.workers import Workplace


@pytest.mark.parametrize("seed", seeds(8))
def test_every_promise_holds_in_a_storm(place: Workplace, seed: int) -> None:
    outcome = run(place, seed, jobs=150, workers=2, producers=2)

    assert not outcome.violations, outcome.report()
    assert len(outcome.evidence.rows) > 100
