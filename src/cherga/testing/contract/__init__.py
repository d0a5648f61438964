"""The contract suite: what every broker must do, written against ``cherga.doors.broker`` alone.

To run it on a broker of your own, write a harness and a class whose name begins with ``Test``::

    import pytest
    from cherga.testing.contract import BrokerContract

    class MyHarness:
        corruptible = ("payload", "head")

        def __init__(self, place): ...                  # an empty store
        def connect(self, settings): ...                # one more broker object on it, not yet opened
        def corrupt(self, id, field): ...               # spoil one stored field of one job

    class TestMyBroker(BrokerContract):
        @pytest.fixture
        def harness(self, tmp_path):
            return MyHarness(tmp_path)

``BrokerHarness`` says what the three are to do. Each case gets a harness, and so a store, of its own. Time moves by
``time_offset`` alone; no case waits for a lease. A part can be run by itself: ``pytest -k "TestMyBroker and unique"``. A
broker is finished when all of it is green.
"""

import pytest

THEMES = (
    "black_boxes",
    "cancelling",
    "capping",
    "claiming",
    "crowds",
    "dependants",
    "families",
    "following",
    "groups",
    "histories",
    "inspecting",
    "keeping",
    "limits",
    "lives",
    "malformed",
    "model",
    "noticing",
    "ordering",
    "pausing",
    "pruning",
    "pushing",
    "rates",
    "replacing",
    "scheduling",
    "sessions",
    "settling",
    "sharing",
    "slots",
    "stage",
    "suspects",
    "turns",
    "uniqueness",
    "waking",
)

pytest.register_assert_rewrite(*(f"{__name__}.{theme}" for theme in THEMES))  # before they are imported

from cherga.testing.contract.harness import BrokerHarness  # noqa: E402
from cherga.testing.contract.stage import Stage  # noqa: E402
from cherga.testing.contract.suite import BrokerContract  # noqa: E402

__all__ = ["BrokerContract", "BrokerHarness", "Stage"]
