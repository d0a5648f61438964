"""What a task raises becomes data, however hostile it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from cherga import InvalidArguments, JobError, Reason, Retry, RetryLater, Snooze, TaskCancelError
from cherga.rules.codec import encode
from cherga.rules.tracebacks import MESSAGE_LIMIT, NAME_LIMIT, TRACEBACK_LIMIT
from cherga.words.outcomes import Cancelled, Failed, Outcome, Snoozed
from cherga.worker.failure import describe, outcome_of, unencodable, unreadable


class Mute(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Killer(Exception):
    """Ends whoever asks for its text."""

    def __str__(self) -> str:
        raise SystemExit(3)


class Liar(Exception):
    """Its text is none."""

    def __str__(self) -> Any:
        return 7


class Lazy(RetryLater):
    """Does not call its parent, as many exceptions of users do not."""

    def __init__(self) -> None:
        pass


class Rude(BaseException):
    """Not an Exception at all."""


def raised(error: BaseException) -> BaseException:
    """The error with a traceback."""
    try:
        raise error
    except BaseException as caught:
        return caught


def cyclic() -> BaseException:
    """Two errors, each the cause of the other."""
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    return raised(first)


@pytest.mark.parametrize(
    ("error", "retry", "outcome"),
    [
        (Snooze(5), Retry(), Snoozed(5.0)),
        (Snooze(timedelta(minutes=1)), Retry(), Snoozed(60.0)),
        (Snooze(-5), Retry(), Snoozed(0.0)),
        (TaskCancelError("no longer needed"), Retry(max=3), Cancelled("no longer needed", Reason.CANCELLED)),
        (TaskCancelError(), Retry(), Cancelled("", Reason.CANCELLED)),
    ],
)
def test_a_wish_is_no_failure(error: BaseException, retry: Retry, outcome: Outcome) -> None:
    assert outcome_of(error, retry.worth) == outcome


def test_retry_later_is_a_failure_with_a_wait_of_its_own() -> None:
    outcome = outcome_of(RetryLater(7, "the other side is down"), Retry(on=(OSError,)).worth)

    assert isinstance(outcome, Failed)
    assert (outcome.delay, outcome.retryable, outcome.reason) == (7.0, True, Reason.ERROR)
    assert outcome.error.message == "the other side is down"


@pytest.mark.parametrize(("error", "retryable"), [(OSError("x"), True), (ValueError("x"), False)])
def test_the_policy_says_which_errors_are_worth_another_attempt(error: Exception, retryable: bool) -> None:
    outcome = outcome_of(error, Retry(max=3, on=(OSError,)).worth)

    assert isinstance(outcome, Failed)
    assert (outcome.retryable, outcome.delay) == (retryable, None)


SOON: Any = "soon"
HOSTILE = [
    Mute(),
    Killer(),
    Liar(),
    Rude("x"),
    SystemExit(1),
    KeyboardInterrupt(),
    GeneratorExit(),
    Lazy(),
    Snooze(SOON),
    RetryLater(SOON),
]


@pytest.mark.parametrize("error", HOSTILE, ids=lambda error: type(error).__name__)
def test_anything_raised_becomes_an_outcome(error: BaseException) -> None:
    outcome = outcome_of(raised(error), Retry().worth)

    encode(outcome)


def test_the_type_the_text_and_the_traceback_are_kept() -> None:
    error = describe(raised(ValueError("no such post")))

    assert (error.type, error.message) == ("ValueError", "no such post")
    assert error.traceback.startswith("Traceback (most recent call last):")
    assert error.traceback.endswith("ValueError: no such post\n")
    assert f'File "{__file__}"' in error.traceback


def test_a_type_of_a_module_is_named_with_it() -> None:
    assert describe(Rude("x")).type == f"{__name__}.Rude"
    assert describe(InvalidArguments("x")).type == "cherga.words.errors.InvalidArguments"


@pytest.mark.parametrize("error", [Mute(), Liar()])
def test_an_error_without_a_text_says_so(error: Exception) -> None:
    assert describe(raised(error)).message.startswith("<its text cannot be had")


def test_an_error_that_kills_whoever_reads_it_does_not_kill_the_worker() -> None:
    assert describe(raised(Killer())).message.startswith("<its text cannot be had")


def test_a_long_text_is_cut_and_the_traceback_loses_its_middle() -> None:
    error = describe(raised(ValueError("x" * 10_000_000)))

    assert len(error.message) == MESSAGE_LIMIT
    assert len(error.traceback) < TRACEBACK_LIMIT + 100
    assert error.traceback.startswith("Traceback")
    assert "\n  …\n" in error.traceback
    assert len(encode(error)) < 1 << 16


def test_a_traceback_of_many_frames_keeps_both_ends() -> None:
    def dive(depth: int) -> None:
        if not depth:
            raise ValueError("at the bottom")

        dive(depth - 1)

    with pytest.raises(ValueError, match="at the bottom") as caught:
        dive(500)

    assert "at the bottom" in describe(caught.value).traceback


def test_an_endless_recursion_is_described() -> None:
    def dive() -> None:
        dive()

    with pytest.raises(RecursionError) as caught:
        dive()

    assert describe(caught.value).type == "RecursionError"


def test_causes_are_told_even_in_a_circle() -> None:
    text = describe(cyclic()).traceback

    assert "ValueError: first" in text
    assert "KeyError: 'second'" in text


def test_a_group_of_errors_is_told_with_its_members() -> None:
    error = describe(raised(ExceptionGroup("two things", [ValueError("one"), KeyError("two")])))

    assert error.message == "two things (2 sub-exceptions)"
    assert "ValueError: one" in error.traceback


@pytest.mark.parametrize(("text", "kept"), [("half \ud83d", "half \\ud83d"), ("nul \0 end", "nul \\0 end")])
def test_what_no_broker_can_store_is_made_visible(text: str, kept: str) -> None:
    error = describe(raised(ValueError(text)))

    assert error.message == kept
    assert kept in error.traceback
    encode(error)


def test_arguments_that_do_not_fit_and_bytes_that_are_none_are_told_apart() -> None:
    misfit, broken = unreadable(InvalidArguments("argument 'x'")), unreadable(msgspec.DecodeError("truncated"))

    assert (misfit.reason, misfit.retryable, misfit.error.message) == (Reason.INVALID_ARGUMENTS, False, "argument 'x'")
    assert (broken.reason, broken.retryable) == (Reason.MALFORMED, False)


def test_a_result_that_cannot_be_stored_is_never_tried_again() -> None:
    outcome = unencodable(TypeError("a Shelf cannot be stored in a job"))

    assert outcome.error == JobError("InvalidResult", "the result cannot be encoded: a Shelf cannot be stored in a job")
    assert not outcome.retryable


def test_a_result_that_nobody_has_run_names_its_likely_cause() -> None:
    def values() -> Iterator[int]:
        yield 1

    outcome = unencodable(TypeError("a generator cannot be stored in a job"), values())

    assert "nobody has run; a decorator hides" in outcome.error.message


class Fault(Exception):
    """As proxies and SOAP faults have it: every attribute that it has not raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no field {name}")


class Closed(Exception):
    """Answers no question at all."""

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(name)


class Twisted(Exception):
    """Its text, its notes and its reduction raise."""

    __notes__ = property(lambda self: 1 / 0)

    def __str__(self) -> str:
        raise KeyError("str")

    __repr__ = __str__


@pytest.mark.parametrize("kind", [Fault, Closed, Twisted])
def test_an_error_whose_own_code_raises_keeps_its_traceback(kind: type[Exception]) -> None:
    def call() -> None:
        try:
            raise KeyError("before")
        except KeyError:
            raise kind("the server said no")  # noqa: B904

    with pytest.raises(BaseException) as caught:  # noqa: PT011
        call()

    error = describe(caught.value)

    assert error.type.endswith(kind.__name__)
    assert ", in call" in error.traceback
    assert "KeyError: 'before'" in error.traceback
    assert error.traceback.index("before") < error.traceback.index(f"{kind.__name__}:")


@pytest.mark.parametrize("kind", [Fault, Closed, Twisted])
def test_an_error_whose_own_code_raises_is_judged_by_its_class(kind: type[Exception]) -> None:
    for retry, retryable in ((Retry(on=(kind,)), True), (Retry(on=(OSError,)), False), (Retry(give_up_on=(kind,)), False)):
        outcome = outcome_of(raised(kind("no")), retry.worth)

        assert isinstance(outcome, Failed)
        assert outcome.retryable is retryable
        assert outcome.error.type.endswith(kind.__name__)


def test_a_group_with_such_an_error_keeps_what_the_group_itself_has() -> None:
    error = describe(raised(ExceptionGroup("several", [ValueError("one"), Fault("two")])))

    assert "several (2 sub-exceptions)" in error.traceback


def test_a_very_deep_stack_is_shown_from_both_ends() -> None:
    def dive(depth: int) -> None:
        return rise(depth - 1) if depth else fail()

    def rise(depth: int) -> None:
        return dive(depth)

    def fail() -> None:
        raise ValueError("the bottom")

    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)

    try:
        with pytest.raises(ValueError, match="the bottom") as caught:
            dive(5_000)

        error = describe(caught.value)
    finally:
        sys.setrecursionlimit(before)

    assert error.traceback.startswith("Traceback (most recent call last):")
    assert "test_a_very_deep_stack" in error.traceback
    assert error.traceback.rstrip().endswith("ValueError: the bottom")
    assert len(error.traceback) < TRACEBACK_LIMIT + 100


def test_a_huge_text_is_cut_before_it_is_copied() -> None:
    error = describe(raised(ValueError("\ud800" * 1_000_000)))

    assert len(error.message) == MESSAGE_LIMIT


class Boundless(Exception):
    """Its name is longer than most messages."""


Boundless.__qualname__ = "Bound\ud83dless" * 100_000


def test_the_name_of_an_error_is_bounded_and_can_be_stored() -> None:
    error = describe(Boundless("x"))

    assert error.type.startswith(f"{__name__}.Bound\\ud83dless")
    assert len(error.type) == NAME_LIMIT
    assert len(encode(error)) < 100_000
