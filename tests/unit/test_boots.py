"""Sessions of an earlier start of the machine are told from those of this one."""

from __future__ import annotations

import pytest

from cherga.brokers.sqlite.leases import LONGEST_LEASE, is_of_another_boot

DAY = 86_400.0
UPTIME, LEASE = 60.0, 30.0


@pytest.mark.parametrize(
    ("boot", "ours", "expires", "other"),
    [
        ("a", "a", UPTIME + LEASE, False),
        ("a", "a", UPTIME + DAY, False),
        ("a", "b", UPTIME + LEASE, True),
        ("", "b", UPTIME + LEASE, True),
        ("", "", UPTIME + LEASE, False),
        ("", "", UPTIME - LEASE, False),
        ("", "", UPTIME + LONGEST_LEASE, False),
        ("", "", 3 * DAY, True),
    ],
)
def test_a_session_of_an_earlier_start_is_known(boot: str, ours: str, expires: float, other: bool) -> None:
    assert is_of_another_boot(boot, expires, UPTIME, LEASE, ours) is other


def test_a_long_lease_of_this_start_is_none_of_another() -> None:
    assert not is_of_another_boot("", UPTIME + 2 * DAY, UPTIME, 2 * DAY, "")
