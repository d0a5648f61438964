"""Results: what a task returns, stored so that ``job.result()`` gives it back."""

from __future__ import annotations

from typing import Any

from cherga.rules.annotations import OPEN, kind_of
from cherga.rules.codec import SCALARS, encode, kept_plain
from cherga.rules.kinds import MISFITS, Changed

EVERY_FLOAT = 1 << 53
"""Up to this one, each whole number is equal to a float."""
_LEAST = -EVERY_FLOAT


class Results:
    """Packs and unpacks what one task returns. ``annotation`` is what it says about it; it is not held to that."""

    def __init__(self, annotation: Any = Any) -> None:
        self._kind = kind_of(annotation)

    def pack(self, value: Any) -> bytes:
        """The bytes of a result. Raises ``Changed`` when it would come back as something else, else what encoding raises."""
        kind = type(value)

        if kind in SCALARS and (kind is not int or _LEAST <= value <= EVERY_FLOAT):
            return encode(value)

        try:
            return self._kind.pack(value)
        except MISFITS as error:
            return self._pack_as_it_is(value, error)

    def _pack_as_it_is(self, value: Any, error: Exception) -> bytes:
        """A task may return something else than it says."""
        encode(value)

        if self._kind is OPEN:
            raise _changed(error)

        try:
            data = OPEN.pack(value)
        except MISFITS as change:
            raise (error if isinstance(error, Changed) else _changed(change)) from None

        return kept_plain(data) if isinstance(error, Changed) else data

    def unpack(self, data: bytes) -> Any:
        """The result as it was returned; plain data where it is not of the type that the task says."""
        try:
            return self._kind.unpack(data)
        except Exception:  # the code may have changed since, and its classes may raise anything
            return OPEN.unpack(data)


def _changed(error: Exception) -> Changed:
    """The value can be stored, if only as plain data."""
    return error if isinstance(error, Changed) else Changed(str(error))


UNKNOWN = Results()
"""The results of a task that is not declared here."""
