"""``State``: named values that jobs share through the broker, and change one after the other without locks.

Each change is a compare-and-set: load, change a copy, and store it if nobody was faster, else again. So every change is made to
the value as it really was, and none is lost, whichever worker or process makes it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from typing import ClassVar, Generic, Protocol, TypeVar

import msgspec
from msgspec import Struct

from cherga.client.submit import Submitter
from cherga.client.waiting import refuse_on_loop
from cherga.doors.broker import FullBroker
from cherga.rules import options as check
from cherga.rules.annotations import checked_kind
from cherga.rules.codec import ENCODE_ERRORS, check_size
from cherga.rules.hints import class_hints, raw_hint, remember_place
from cherga.rules.kinds import Kind
from cherga.rules.options import Duration
from cherga.rules.signature import unresolved
from cherga.words.clock import Clock
from cherga.words.errors import ConfigError, InvalidState, PayloadTooLarge, StateConflict
from cherga.words.later import asyncio
from cherga.words.shared import Shared

LONGEST_PAUSE = 0.05
SHORTEST_PAUSE = 0.0005

MISFIT = (msgspec.DecodeError, TypeError, ValueError)
"""The errors that decoding raises for bytes that do not fit a class."""


class State(Struct):
    """A value shared between jobs: subclass it, give each field a type and a default, and ask for ``app.state(Totals)``.

    It is stored under the name of the class, or under ``state_name`` where that is set.
    """

    state_name: ClassVar[str] = ""


S = TypeVar("S", bound=State)
D = TypeVar("D", bound=bytes | None)
Change = Callable[[S], S | None]
"""Changes the state it is given and returns None, or returns another one to store."""


class StateSource(Protocol):
    """The parts of an application that a handle needs."""

    max_payload: int

    @property
    def broker(self) -> FullBroker: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def submitter(self) -> Submitter: ...


class StateHandle(Generic[S]):
    """A shared value. A parameter annotated ``StateHandle[Totals]`` is filled in by the worker.

    What ``get`` and ``update`` give is a copy: changing it changes nothing for others.
    """

    def __init__(self, kind: type[S], source: StateSource, key: str = "") -> None:
        self.kind = kind
        self.key = check.short_text(key, "key of a state")
        self._name = f"{name_of(kind)}:{key}" if key else name_of(kind)
        self._kept = kind_of_state(kind)
        self._source = source

    def at(self, key: str) -> StateHandle[S]:
        """The value of the same class that is kept under this key."""
        return StateHandle(self.kind, self._source, key)

    def get(self) -> S:
        """The value as it is now; the defaults of the class when none was stored.

        Raises ``InvalidState`` when what is stored does not fit the class.
        """
        return self._read(self._load())

    def set(self, state: S) -> None:
        """Store this value, whatever is there. Raises ``InvalidState`` or ``StateConflict``."""
        data = self._pack(state)
        self._swap_in("set", lambda shared: data)

    def update(self, change: Change[S], timeout: Duration = 10.0) -> S:
        """Change the value atomically, and return it as it was stored.

        ``change`` gets a copy: it either changes that and returns None, or returns another one. It is called again with a fresh
        copy when somebody else was faster, so it should do nothing else. Raises what it raises, with nothing stored;
        ``InvalidState`` for a value that cannot be stored; ``StateConflict`` when others were faster for ``timeout`` seconds.
        """
        return self._read_packed(self._swap_in("update", lambda shared: self._changed(shared, change), timeout))

    def delete(self) -> None:
        """Forget the value: ``get`` gives the defaults again. Deleting nothing is no error."""
        self._swap_in("delete", lambda shared: None)

    async def aget(self) -> S:
        """The async twin of ``get``."""
        return await self._source.submitter.call(self.get)

    async def aset(self, state: S) -> None:
        """The async twin of ``set``."""
        data = self._pack(state)
        await self._aswap_in(lambda shared: data)

    async def aupdate(self, change: Change[S], timeout: Duration = 10.0) -> S:
        """The async twin of ``update``; ``change`` itself is a plain function."""
        return self._read_packed(await self._aswap_in(lambda shared: self._changed(shared, change), timeout))

    async def adelete(self) -> None:
        """The async twin of ``delete``."""
        await self._aswap_in(lambda shared: None)

    # --- compare and set

    def _swap_in(self, verb: str, make: Callable[[Shared], D], timeout: Duration = 10.0) -> D:
        refuse_on_loop(f"{verb}(…) of a state, which may have to wait for others,", f"await a{verb}(…)")
        patience = _Patience(self._source.clock, timeout, self._name)

        while True:
            shared = self._load()
            data = make(shared)

            if self._swap(shared, data):
                return data

            time.sleep(patience.pause())

    async def _aswap_in(self, make: Callable[[Shared], D], timeout: Duration = 10.0) -> D:
        patience, call = _Patience(self._source.clock, timeout, self._name), self._source.submitter.call

        while True:
            shared = await call(self._load)
            data = make(shared)

            if await call(self._swap, shared, data):
                return data

            await asyncio.sleep(patience.pause())

    def _load(self) -> Shared:
        return self._source.broker.load([f"state:{self._name}"])[0]

    def _swap(self, shared: Shared, data: bytes | None) -> bool:
        """True too where there is nothing to change: the value was this one when it was loaded."""
        return data == shared.value or self._source.broker.swap(f"state:{self._name}", shared.version, data)

    # --- values and their bytes

    def _changed(self, shared: Shared, change: Change[S]) -> bytes:
        state = self._read(shared)
        made = change(state)
        return self._pack(state if made is None else made)

    def _read(self, shared: Shared) -> S:
        return self.kind() if shared.value is None else self._read_packed(shared.value)

    def _read_packed(self, data: bytes) -> S:
        try:
            state: S = self._kept.unpack(data)
        except MISFIT as error:
            raise InvalidState(
                f"state {self._name}: what is stored does not fit {self.kind.__qualname__}: {error}; set or delete it"
            ) from error

        return state

    def _pack(self, state: S) -> bytes:
        """The bytes, which are known to be readable again."""
        what = f"state {self._name}"

        if not isinstance(state, self.kind):
            raise InvalidState(f"{what}: expected a {self.kind.__qualname__}, or None after changing it, got {state!r}")

        try:
            data = check_size(self._kept.pack(state), self._source.max_payload, what)
        except PayloadTooLarge as error:
            raise InvalidState(str(error)) from error
        except (*ENCODE_ERRORS, *MISFIT) as error:
            raise InvalidState(f"{what} cannot be stored: {error or type(error).__name__}") from error

        return data

    def __repr__(self) -> str:
        return f"<StateHandle {self._name}>"


class _Patience:
    """The pause before the next try, and the time to give up."""

    def __init__(self, clock: Clock, timeout: Duration, name: str) -> None:
        self._clock = clock
        self._timeout = check.seconds(timeout, "timeout")
        self._end = clock.monotonic() + self._timeout
        self._longest = SHORTEST_PAUSE
        self._name = name

    def pause(self) -> float:
        """Seconds, longer and longer and at random, so that those who met do not meet again. Raises ``StateConflict``."""
        if self._clock.monotonic() >= self._end:
            raise StateConflict(
                f"state {self._name}: others changed it at every try for {self._timeout:g} seconds; nothing was stored. "
                "Try again, or spread the value over several keys"
            )

        self._longest = min(LONGEST_PAUSE, self._longest * 2)
        # Not of the random module, which every client would have to load.
        return self._longest * int.from_bytes(os.urandom(4), "big") / 2**32


def name_of(kind: type[State]) -> str:
    """The name that the values of this class are stored under."""
    if not (isinstance(kind, type) and issubclass(kind, State)):
        raise ConfigError(f"expected a subclass of State, got {kind!r}")

    name = check.name(kind.state_name or kind.__name__, "a state's name")

    if ":" in name:  # it stands before the key
        raise ConfigError(f"expected a state's name to be without a colon, got {name!r}")

    return name


@cache
def kind_of_state(kind: type[State]) -> Kind:
    """The form in which values of this class are kept. Raises ``ConfigError`` for a class whose values cannot be shared."""
    name_of(kind)
    remember_place(kind)
    what = f"state {kind.__qualname__}"

    if needed := _without_default(kind):
        raise ConfigError(f"{what}: expected a default for each field, but {needed[0]!r} has none")

    if unknown := [name for name in kind.__struct_fields__ if name not in class_hints(kind)]:
        raise ConfigError(f"{what}: field {unknown[0]!r}: {unresolved(raw_hint(kind, unknown[0]))}")

    try:
        return checked_kind(kind)
    except Exception as error:  # of msgspec, or of an annotation that is no type
        raise ConfigError(f"{what} cannot be stored: {error}") from error


def _without_default(kind: type[State]) -> list[str]:
    names, defaults = kind.__struct_fields__, kind.__struct_defaults__
    given = dict(zip(names[::-1], defaults[::-1], strict=False))
    return [name for name in names if given.get(name, msgspec.NODEFAULT) is msgspec.NODEFAULT]
