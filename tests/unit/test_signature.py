"""Arguments are bound and checked when the job is enqueued, and arrive in the worker as they were given."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import msgspec
import pytest

from cherga import InvalidArguments, TaskError
from cherga.rules.codec import encode
from cherga.rules.signature import Signature, pack_unbound

if TYPE_CHECKING:
    from somewhere_else import Ghost  # type: ignore[import-not-found]

NOT_GIVEN = object()


class Shelf:
    """Cannot be stored."""


class Mood(Enum):
    GOOD = "good"


@dataclass(frozen=True)
class Point:
    x: int


class Grumpy:
    """Cannot even be looked at."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("nobody is at home")

    def __repr__(self) -> str:
        raise RuntimeError("nobody is at home")


def received(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the function gets when a worker calls it with arguments that a sender packed."""
    signature = Signature(function, "task")
    positional, named = signature.unpack(signature.pack(args, kwargs))
    return function(*positional, **named)


def refusal(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The message for arguments that are refused."""
    with pytest.raises(InvalidArguments) as caught:
        Signature(function, "task").pack(args, kwargs)

    return str(caught.value)


# --- binding


def plain(a: int, b: int = 2) -> tuple[Any, ...]:
    return a, b


def with_positional_only(a: int, b: int = 2, /, c: int = 3) -> tuple[Any, ...]:
    return a, b, c


def with_keyword_only(a: int, *, b: int, c: int = 3) -> tuple[Any, ...]:
    return a, b, c


def with_everything(a: int, /, b: int = 2, *rest: int, c: int = 3, **extra: int) -> tuple[Any, ...]:
    return a, b, rest, c, extra


def with_clashing_names(args: int, *rest: int, **kwargs: int) -> tuple[Any, ...]:
    return args, rest, kwargs


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (plain, (1,), {}),
        (plain, (1, 5), {}),
        (plain, (), {"b": 5, "a": 1}),
        (with_positional_only, (1,), {}),
        (with_positional_only, (1, 5), {"c": 6}),
        (with_keyword_only, (1,), {"b": 5}),
        (with_keyword_only, (), {"a": 1, "b": 5, "c": 6}),
        (with_everything, (1,), {}),
        (with_everything, (1, 5, 6, 7), {"c": 8, "d": 9}),
        (with_everything, (1,), {"b": 5, "a": 6}),
        (with_clashing_names, (1, 2), {"rest": 3, "kwargs": 4}),
    ],
)
def test_the_function_gets_what_a_direct_call_would_give_it(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    assert received(function, *args, **kwargs) == function(*args, **kwargs)


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "words"),
    [
        (plain, (), {}, "missing a required argument: 'a'"),
        (plain, (1, 2, 3), {}, "too many positional arguments"),
        (plain, (1,), {"c": 3}, "got an unexpected keyword argument 'c'"),
        (plain, (1,), {"a": 1}, "multiple values for argument 'a'"),
        (with_positional_only, (), {"a": 1}, "'a'"),
        (with_keyword_only, (1,), {}, "missing a required (keyword-only )?argument: 'b'"),
        (with_keyword_only, (1, 2), {}, "too many positional arguments"),
        (plain, ("one",), {}, "argument 'a': Expected `int`, got `str`; got 'one'"),
        (plain, (1, None), {}, "argument 'b': Expected `int`, got `None`"),
        (with_keyword_only, (1,), {"b": 1.5}, "argument 'b': Expected `int`, got `float`"),
        (with_everything, (1, 2, "x"), {}, "argument 'rest': Expected `int`, got `str`"),
        (with_everything, (1,), {"d": "x"}, "argument 'extra': Expected `int`, got `str`"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], words: str
) -> None:
    message = refusal(function, *args, **kwargs)

    assert re.search(words, message)
    assert message.startswith("task task(")


def test_injected_parameters_are_neither_stored_nor_accepted() -> None:
    signature = Signature(plain, "task", injected=frozenset({"b"}))

    assert signature.unpack(signature.pack((1,), {})) == ((1,), {})
    assert signature.names == ("a",)

    with pytest.raises(InvalidArguments, match="unexpected keyword argument 'b'"):
        signature.pack((1,), {"b": 2})


def test_injected_parameters_are_filled_in_where_they_stand() -> None:
    def function(here: Any, a: int, /, there: Any, *rest: int, last: Any, **extra: int) -> tuple[Any, ...]:
        return here, a, there, rest, last, extra

    injected = frozenset({"here", "there", "last"})
    signature = Signature(function, "task", injected=injected)
    positional, named = signature.unpack(signature.pack((1, 2, 3), {"x": 4}), dict.fromkeys(injected, "filled"))

    assert function(*positional, **named) == ("filled", 1, "filled", (2, 3), "filled", {"x": 4})


# --- what cannot be stored


def anything(x: Any) -> Any:
    return x


def nested_lists(depth: int) -> list[Any]:
    value: list[Any] = []

    for _ in range(depth):
        value = [value]

    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Shelf(), "a Shelf cannot be stored in a job; pass its id or plain data instead"),
        (print, "cannot be stored in a job"),
        (Grumpy(), "a Grumpy cannot be stored in a job"),
        (2**70, "cannot be encoded"),
        (-(2**63) - 1, "cannot be encoded"),
        ("half a \ud83d", "cannot be encoded"),
        ({"\ud83d": 1}, "cannot be encoded"),
        (nested_lists(100_000), "recursion"),
        ([Shelf()], "a Shelf cannot be stored"),
    ],
    ids=["object", "function", "hostile", "2**70", "-2**63-1", "surrogate", "surrogate key", "too deep", "object in a list"],
)
def test_a_value_that_cannot_be_stored_is_refused_by_name(value: Any, words: str) -> None:
    message = refusal(anything, value)

    assert "argument 'x'" in message
    assert words in message


def test_a_cycle_is_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)

    assert "argument 'x' cannot be encoded" in refusal(anything, cycle)


def test_the_value_in_the_message_is_short() -> None:
    assert len(refusal(plain, "long" * 10_000)) < 300


def test_the_last_integers_that_fit_do_fit() -> None:
    for number in (2**64 - 1, -(2**63)):
        assert received(anything, number) == number


# --- defaults


def test_defaults_are_frozen_when_the_job_is_enqueued() -> None:
    def before(a: int, b: int = 2) -> tuple[int, int]:
        return a, b

    def after(a: int, b: int = 200) -> tuple[int, int]:
        return a, b

    payload = Signature(before, "task").pack((1,), {})

    assert Signature(after, "task").unpack(payload) == ((1, 2), {})


def test_a_parameter_that_came_later_takes_its_default() -> None:
    def before(a: int) -> None: ...

    def after(a: int, added: str = "new") -> None: ...

    assert Signature(after, "task").unpack(Signature(before, "task").pack((1,), {})) == ((1, "new"), {})


def test_parameters_may_be_put_in_another_order_while_jobs_wait() -> None:
    def before(a: int, b: str) -> None: ...

    def after(b: str, a: int) -> None: ...

    assert Signature(after, "task").unpack(Signature(before, "task").pack((1, "x"), {})) == (("x", 1), {})


def test_a_parameter_that_is_gone_is_refused_by_the_worker() -> None:
    def before(a: int, b: str) -> None: ...

    def after(a: int) -> None: ...

    payload = Signature(before, "task").pack((1, "x"), {})

    with pytest.raises(InvalidArguments, match="`b`"):
        Signature(after, "task").unpack(payload)


def test_a_default_that_cannot_be_stored_stays_the_functions_own() -> None:
    def function(a: int, b: Any = NOT_GIVEN, c: int = 3) -> tuple[Any, ...]:
        return a, b, c

    assert received(function, 1) == (1, NOT_GIVEN, 3)
    assert received(function, 1, c=4) == (1, NOT_GIVEN, 4)
    assert received(function, 1, 2) == (1, 2, 3)


def test_a_default_that_cannot_be_stored_may_stand_anywhere() -> None:
    def positional(a: Any = NOT_GIVEN, b: int = 2, /, c: Any = NOT_GIVEN, *rest: int, d: Any = NOT_GIVEN) -> tuple[Any, ...]:
        return a, b, c, rest, d

    assert received(positional) == (NOT_GIVEN, 2, NOT_GIVEN, (), NOT_GIVEN)
    assert received(positional, 1) == (1, 2, NOT_GIVEN, (), NOT_GIVEN)
    assert received(positional, 1, 2, 3, 4, d=5) == (1, 2, 3, (4,), 5)


def test_a_type_is_still_checked_beside_a_default_that_cannot_be_stored() -> None:
    def function(a: int = NOT_GIVEN) -> None:  # type: ignore[assignment]
        """Its default says "not given"."""

    assert "argument 'a': Expected `int`, got `str`" in refusal(function, "x")


def test_none_is_a_fine_default_for_any_type() -> None:
    def function(a: int = None) -> int | None:  # type: ignore[assignment]  # noqa: RUF013
        return a

    assert received(function) is None
    assert received(function, None) is None
    assert received(function, 3) == 3
    assert "argument 'a'" in refusal(function, "x")


def test_a_default_of_another_type_is_allowed_beside_the_annotation() -> None:
    def function(a: int = "auto") -> Any:  # type: ignore[assignment]
        return a

    assert received(function) == "auto"
    assert received(function, "auto") == "auto"
    assert received(function, 3) == 3
    assert "argument 'a': Expected `int`, got `str`" in refusal(function, "other")


@pytest.mark.parametrize("default", [(1, 2), {1}, date(2030, 1, 1), UUID(int=1), Decimal("1.50"), Mood.GOOD, Point(1)])
def test_a_default_without_an_annotation_arrives_as_itself(default: Any) -> None:
    def function(a, b=default):  # type: ignore[no-untyped-def]
        return b

    assert received(function, 1) == default
    assert type(received(function, 1)) is type(default)


def test_an_argument_whose_comparison_raises_is_no_trouble() -> None:
    def function(a: Touchy, b: Any = NOT_GIVEN) -> Touchy:
        return a

    assert received(function, Touchy(3)).id == 3


class Touchy(msgspec.Struct, eq=False):
    """Compares itself with its own kind alone, as many classes do."""

    id: int

    def __eq__(self, other: Any) -> bool:
        return bool(self.id == other.id)

    def __hash__(self) -> int:
        return self.id


# --- annotations


def declared(function: Callable[..., Any], **annotations: Any) -> str:
    """The message for a function with these annotations, which is refused where it is declared."""
    function.__annotations__ |= annotations

    with pytest.raises(TaskError) as caught:
        Signature(function, "task")

    return str(caught.value)


def test_an_annotation_that_cannot_be_resolved_is_refused_where_it_is_declared() -> None:
    def function(a: int, ghost: Ghost) -> None: ...

    def deep(a: int, ghost: list[Ghost] | None = None) -> None: ...

    message = "task task: parameter 'ghost': expected an annotation that can be looked up where the task is declared, got "
    assert f"{message}'Ghost'; import what it names at run time too (not under TYPE_CHECKING alone)" in declared(function)
    assert message in declared(deep)


@pytest.mark.parametrize("annotation", [list["Ghost"], "1 / 0", "not a name"])
def test_an_annotation_that_raises_or_has_an_unknown_name_inside_is_refused(annotation: Any) -> None:
    assert "parameter 'x': expected an annotation that can be looked up" in declared(lambda x: None, x=annotation)


class Speaks(Protocol):
    """Nothing in the store says whether a value does."""

    def speak(self) -> str: ...


@pytest.mark.parametrize(
    ("annotation", "words"), [(5, "not supported"), (Speaks, "protocol Speaks; name the class that is meant")]
)
def test_an_annotation_that_nothing_can_be_checked_against_is_refused(annotation: Any, words: str) -> None:
    message = declared(lambda x: None, x=annotation)

    assert "parameter 'x': expected an annotation that stored values can be checked against, got" in message
    assert words in message


def test_what_the_worker_fills_in_may_be_annotated_with_anything() -> None:
    def function(a: int, ghost: Ghost) -> None: ...

    assert Signature(function, "task", injected=frozenset({"ghost"})).names == ("a",)


def test_functions_without_annotations_take_what_can_be_stored() -> None:
    assert received(lambda a, b=2: (a, b), "x") == ("x", 2)


def test_a_decorated_function_is_bound_by_what_it_wraps() -> None:
    def inner(a: int) -> int:
        return a

    def outer(*args: Any, **kwargs: Any) -> Any:
        return inner(*args, **kwargs)

    outer.__wrapped__ = inner  # type: ignore[attr-defined]
    outer.__annotations__ = inner.__annotations__

    assert received(outer, 1) == 1
    assert "argument 'a'" in refusal(outer, "x")


def test_a_builtin_without_a_signature_is_refused_at_the_declaration() -> None:
    with pytest.raises(TaskError, match="task names: expected a function whose parameters can be read"):
        Signature(vars, "names")


# --- senders that do not know the signature


def test_what_was_packed_without_the_signature_is_bound_by_the_worker() -> None:
    payload = pack_unbound("task", (1, 5, 6), {"c": 8, "d": 9})
    positional, named = Signature(with_everything, "task").unpack(payload)

    assert with_everything(*positional, **named) == (1, 5, (6,), 8, {"d": 9})


def test_a_misfit_of_a_sender_by_name_is_found_by_the_worker() -> None:
    with pytest.raises(InvalidArguments, match="argument 'a': Expected `int`, got `str`"):
        Signature(plain, "task").unpack(pack_unbound("task", ("x",), {}))

    with pytest.raises(InvalidArguments, match="missing a required argument: 'a'"):
        Signature(plain, "task").unpack(pack_unbound("task", (), {}))


@pytest.mark.parametrize(("args", "kwargs", "place"), [((1, Shelf()), {}, "2"), ((1,), {"shelf": Shelf()}, "'shelf'")])
def test_a_sender_by_name_is_told_which_argument_cannot_be_stored(
    args: tuple[Any, ...], kwargs: dict[str, Any], place: str
) -> None:
    with pytest.raises(InvalidArguments, match=rf"task far: argument {place} cannot be encoded: a Shelf"):
        pack_unbound("far", args, kwargs)


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x82\xa1a", b"\x92\x90", bytes(range(128, 256))])
def test_bytes_that_cannot_be_read_raise_a_decode_error(payload: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, InvalidArguments)):
        Signature(plain, "task").unpack(payload)


@pytest.mark.parametrize("value", [None, 7, "text", [], [1, 2], [[1]], [[1], 2], {"a": "x"}, {1: 2}])
def test_stored_values_of_another_shape_are_refused(value: Any) -> None:
    with pytest.raises((msgspec.DecodeError, InvalidArguments)):
        Signature(plain, "task").unpack(encode(value))


def test_a_class_that_refuses_its_values_does_so_with_a_sentence() -> None:
    picky = Picky(1)
    picky.size = -1

    assert "argument 'picky': too small" in refusal(takes_picky, picky)

    with pytest.raises(InvalidArguments, match="OSError: too small"):
        Signature(takes_picky, "task").unpack(encode({"picky": {"size": -1}}))


class Picky(msgspec.Struct):
    """Raises what a decoder does not expect."""

    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise OSError("too small")


def takes_picky(picky: Picky) -> None: ...


# --- what has arrived


def test_equal_arguments_arrive_alike_however_they_are_passed() -> None:
    signature = Signature(with_keyword_only, "task")
    one, other = (signature.packed(*call)[1] for call in (((1,), {"b": 2}), ((), {"c": 3, "b": 2, "a": 1})))

    assert signature.values(one) == signature.values(other) == {"a": 1, "b": 2, "c": 3}
    assert signature.values(one, ["b"]) == {"b": 2}


def test_a_call_can_be_made_again_of_what_has_arrived() -> None:
    def function(a: float, /, b: float = 2, *rest: float, c: float = 3, **extra: float) -> None: ...

    signature = Signature(function, "task")
    args, kwargs = (1, 5, 6), {"c": 7, "d": 8}

    assert signature.call(signature.packed(args, kwargs)[1], args, kwargs) == ((1.0, 5.0, 6.0), {"c": 7.0, "d": 8.0})
    assert signature.call(signature.packed((1,), {"b": 9})[1], (1,), {"b": 9}) == ((1.0,), {"b": 9.0})
