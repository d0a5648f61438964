"""What a worker is started with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cherga import ConfigError
from cherga.worker.options import Exit, WorkerOptions, parse_queues

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "exit-codes.md"


@pytest.mark.parametrize(
    ("texts", "names", "weights"),
    [
        ((), (), ()),
        (("a",), ("a",), ()),
        (("a,b",), ("a", "b"), ()),
        (("a", "b,c"), ("a", "b", "c"), ()),
        ((" a , b ",), ("a", "b"), ()),
        (("a,,b",), ("a", "b"), ()),
        (("a=3,b=1",), ("a", "b"), (3, 1)),
        (("a=3", "b=1"), ("a", "b"), (3, 1)),
    ],
)
def test_queues_are_in_strict_order_or_weighted(
    texts: tuple[str, ...], names: tuple[str, ...], weights: tuple[int, ...]
) -> None:
    assert parse_queues(texts) == (names, weights)


@pytest.mark.parametrize("text", ["a=3,b", "a,b=1", "a=0", "a=-1", "a=1.5", "a=", "a=x", "a=1=2", "=3", "two words"])
def test_queues_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        parse_queues((text,))


@pytest.mark.parametrize("name", ["processes", "threads", "concurrency"])
def test_a_worker_does_something(name: str) -> None:
    options: dict[str, Any] = {name: 0}

    with pytest.raises(ConfigError, match=f"expected {name} to be 1 or more, got 0"):
        WorkerOptions(app="shop:app", **options)


def test_every_exit_code_is_told_in_the_reference() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert [code for code in Exit if code is not Exit.EXHAUSTED and f"| `{code.value}` |" not in page] == []


@pytest.mark.parametrize("grace", [-1, float("nan"), float("inf"), True])
def test_a_grace_time_that_is_none_is_refused(grace: Any) -> None:
    with pytest.raises(ConfigError, match="expected grace to be seconds"):
        WorkerOptions(app="shop:app", grace=grace)


def test_no_grace_time_is_one_too() -> None:
    assert WorkerOptions(app="shop:app", grace=0).grace == 0
