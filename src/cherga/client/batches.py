"""Batches: tasks of which one call receives the values of many jobs, and may succeed and fail them one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableSequence, Sequence
from typing import Annotated, Any, Protocol, TypeVar, get_args, get_origin
from uuid import UUID

from msgspec import Struct

from cherga.rules import options as check
from cherga.rules.hints import hints_of
from cherga.rules.signature import unresolved
from cherga.words.claim import ClaimedJob
from cherga.words.errors import ConfigError
from cherga.words.later import inspect

T = TypeVar("T")

MOST_JOBS = 10_000
LONGEST_WAIT = 60.0
DEFAULT_WAIT = 0.1


class BatchJob(Struct, frozen=True):
    """A job of a batch."""

    id: UUID
    attempt: int
    """1 for the first try."""
    fence: int
    """Grows with every claim of this job."""
    owner: str | None
    queue: str
    priority: int


class Judge(Protocol):
    """Hears what becomes of the jobs of a batch, by their places."""

    def succeed(self, place: int, result: object) -> None: ...
    def fail(self, place: int, error: BaseException) -> None: ...


class Batch(list[T]):
    """The list that a batch task is given, with the value of each job.

    ``Batch([a, b])`` is one without jobs, for unit tests; its ``verdicts`` say what the function made of each value.
    """

    __slots__ = ("_claimed", "_judge", "_size", "verdicts")

    def __init__(self, values: Iterable[T] = (), claimed: Sequence[ClaimedJob] = (), judge: Judge | None = None) -> None:
        super().__init__(values)
        self.verdicts: dict[int, object] = {}
        """Results and errors, by place, that were told one by one."""
        self._claimed = claimed
        self._judge = judge
        self._size = len(self)

    @property
    def jobs(self) -> tuple[BatchJob, ...]:
        """The job behind each value."""
        return tuple(BatchJob(job.id, job.attempt, job.claims, job.owner, job.queue, job.priority) for job in self._claimed)

    def succeed(self, i: int, result: object = None) -> None:
        """The job at this place succeeds with this result, whatever the call ends as. Raises ``IndexError``."""
        place = self._place(i)
        self.verdicts[place] = result

        if self._judge is not None:
            self._judge.succeed(place, result)

    def fail(self, i: int, error: BaseException) -> None:
        """The job at this place ends as if its attempt had raised this, by its own retry policy.

        Raises ``IndexError``, and ``TypeError`` for what is no exception.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"expected fail({i}, …) to be given an exception, got {error!r}")

        place = self._place(i)
        self.verdicts[place] = error

        if self._judge is not None:
            self._judge.fail(place, error)

    def _place(self, i: int) -> int:
        try:
            return range(self._size)[i]
        except IndexError:
            raise IndexError(f"expected a place in a batch of {self._size}, got {i}") from None


class Batching(Struct, frozen=True):
    """The number of jobs that one call receives at most, and the seconds for which the first of them waits for more."""

    most: int
    wait: float


def batching_of(options: Mapping[str, Any]) -> Batching | None:
    """The values of ``batch`` and ``batch_wait``. Raises ``ConfigError``."""
    if "batch" not in options:
        if "batch_wait" in options:
            raise ConfigError("expected batch together with batch_wait")

        return None

    most = options["batch"]

    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= MOST_JOBS:
        raise ConfigError(f"expected batch to be a whole number from 1 to {MOST_JOBS}, got {most!r}")

    return Batching(most, _wait(options.get("batch_wait", DEFAULT_WAIT)))


def element_of(function: Callable[..., Any], filled: Iterable[str]) -> Callable[..., Any]:
    """A function that takes what one job gives to the batch; ``filled`` names parameters that the worker fills in.

    Raises ``ConfigError`` when the function does not take one list.
    """
    parameter = _list_parameter(function, frozenset(filled))
    hints = hints_of(function)

    if parameter.name not in hints and parameter.annotation is not parameter.empty:
        raise ConfigError(f"parameter {parameter.name!r}: {unresolved(parameter.annotation)}")

    hint = hints.get(parameter.name, Any)
    kind = _element_kind(hint)

    if kind is None:
        raise ConfigError(
            f"expected the parameter {parameter.name!r} to be a list for batch=…, such as list[int], "
            f"got {inspect.formatannotation(hint)}"
        )

    def element() -> None: ...

    stand_in: Any = element
    single = parameter.replace(kind=parameter.POSITIONAL_ONLY, default=parameter.empty, annotation=kind)
    stand_in.__signature__ = inspect.Signature([single])
    stand_in.__annotations__ = {parameter.name: kind}
    return element


def element_result(hint: Any) -> Any:
    """The result of a job whose whole call returns this."""
    if get_origin(hint) is list:
        return next(iter(get_args(hint)), Any)

    return hint if hint is type(None) else Any


def _wait(value: Any) -> float:
    wait = check.seconds(value, "batch_wait")

    if wait > LONGEST_WAIT:
        raise ConfigError(f"expected batch_wait to be from 0 to {LONGEST_WAIT:g} seconds, got {value!r}")

    return wait


def _list_parameter(function: Callable[..., Any], filled: frozenset[str]) -> inspect.Parameter:
    """The only one that is not the worker's to fill in."""
    signature = inspect.signature(function)
    found = [each for each in signature.parameters.values() if each.name not in filled]

    if len(found) != 1 or found[0].kind not in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
        name = getattr(function, "__name__", "function")
        raise ConfigError(f"expected a function of one parameter, a list, for batch=…, got {name}{signature}")

    return found[0]


_LISTS = (list, Batch, MutableSequence, Sequence, Iterable)


def _element_kind(hint: Any) -> Any:
    """The type of the elements of a list; None for what is no list."""
    if hint is Any or hint in _LISTS:
        return Any

    origin = get_origin(hint)

    if origin is Annotated:
        return _element_kind(get_args(hint)[0])

    return get_args(hint)[0] if origin in _LISTS else None
