"""For tests of applications and brokers. ``cherga.testing.contract`` is what every broker must pass."""

from cherga.testing.clock import FakeClock
from cherga.testing.waiting import wait_until

__all__ = ["FakeClock", "wait_until"]
