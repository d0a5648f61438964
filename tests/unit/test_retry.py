"""When a failed attempt is worth another one, and how long that waits."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cherga import Backoff, ConfigError, Retry


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        (Backoff(), [1, 2, 4, 8, 16]),
        (Backoff(base=5, factor=3, cap=100), [5, 15, 45, 100, 100]),
        (Backoff(factor=1), [1, 1, 1, 1, 1]),
        (Backoff(base=0), [0, 0, 0, 0, 0]),
        (Backoff(base=10, cap=3), [3, 3, 3, 3, 3]),
        (Backoff(factor=0.5), [1, 0.5, 0.25, 0.125, 0.0625]),
    ],
)
def test_the_wait_grows_by_the_factor_up_to_the_cap(backoff: Backoff, waits: list[float]) -> None:
    assert [backoff.wait(attempt) for attempt in range(1, 6)] == waits


@given(st.floats(0, 1e300), st.floats(0, 1e300), st.floats(0, 1e300), st.integers(1, 10_000))
def test_no_attempt_waits_longer_than_the_cap(base: float, factor: float, cap: float, attempt: int) -> None:
    assert 0 <= Backoff(base, factor, cap).wait(attempt) <= cap


def test_waits_never_shrink_with_a_factor_above_one() -> None:
    waits = [Backoff().wait(attempt) for attempt in range(1, 2000)]

    assert all(shorter <= longer for shorter, longer in pairwise(waits))


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 3.0), (0.5, 4.0), (1.0, 5.0)])
def test_jitter_takes_away_or_adds_its_share(chance: float, wait: float) -> None:
    assert Retry(max=5, jitter=0.25).wait(3, chance) == wait


def test_a_number_of_seconds_is_the_same_after_each_attempt() -> None:
    assert [Retry(max=5, backoff=7, jitter=0).wait(attempt, 0.9) for attempt in (1, 2, 9)] == [7.0, 7.0, 7.0]


@pytest.mark.parametrize(
    ("retry", "error", "worth"),
    [
        (Retry(), ValueError(), True),
        (Retry(on=(OSError,)), ConnectionError(), True),
        (Retry(on=(OSError,)), ValueError(), False),
        (Retry(give_up_on=(ValueError,)), ValueError(), False),
        (Retry(give_up_on=(ValueError,)), UnicodeDecodeError("utf-8", b"", 0, 1, "x"), False),
        (Retry(give_up_on=(ValueError,)), OSError(), True),
        (Retry(on=(OSError,), give_up_on=(PermissionError,)), PermissionError(), False),
        (Retry(on=(OSError,), give_up_on=(PermissionError,)), TimeoutError(), True),
        (Retry(on=(Exception,)), SystemExit(), False),
    ],
)
def test_only_errors_that_are_listed_are_worth_another_attempt(retry: Retry, error: BaseException, worth: bool) -> None:
    assert retry.worth(error) is worth


def test_one_class_or_any_list_of_them_will_do() -> None:
    assert Retry(on=ValueError).on == (ValueError,)  # type: ignore[arg-type]
    assert Retry(give_up_on=[ValueError, OSError]).give_up_on == (ValueError, OSError)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max": -1}, "expected max of Retry to be a whole number, 0 or more, got -1"),
        ({"max": "3"}, "expected max of Retry to be a whole number, 0 or more, got '3'"),
        ({"jitter": 1.5}, "expected jitter of Retry to be a number from 0 to 1, got 1.5"),
        ({"backoff": -1}, "expected backoff of Retry to be a number, 0 or more, got -1"),
        ({"backoff": math.nan}, "expected backoff of Retry to be a number"),
        ({"backoff": "1"}, "expected backoff of Retry to be a number"),
        ({"on": ("ValueError",)}, "expected on of Retry to hold exception classes, got 'ValueError'"),
        ({"on": [ValueError()]}, "expected on of Retry to hold exception classes, got ValueError()"),
        ({"give_up_on": (int,)}, "expected give_up_on of Retry to hold exception classes, got <class 'int'>"),
    ],
)
def test_a_wrong_retry_is_refused_where_it_is_written(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Retry(**options)

    assert words in str(caught.value)


@pytest.mark.parametrize("field", ["base", "factor", "cap"])
@pytest.mark.parametrize("value", [-1, math.inf, math.nan, "1", True])
def test_a_wrong_backoff_is_refused_where_it_is_written(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"expected {field} of Backoff to be a number, 0 or more"):
        Backoff(**{field: value})
