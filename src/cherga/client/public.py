"""Public names: what users may build on is listed by ``dir()``, and so by completion; the rest is for Cherga itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class Listed:
    """A class whose instances list their public names alone. ``_internal`` names the others."""

    __slots__ = ()
    _internal: ClassVar[str] = ""

    def __dir__(self) -> Iterable[str]:
        hidden = internal_names(type(self))
        return [name for name in super().__dir__() if name not in hidden]


def internal_names(kind: type) -> frozenset[str]:
    """The names without an underscore that this class, or one that it is made of, keeps for Cherga itself."""
    return frozenset(name for each in kind.__mro__ for name in vars(each).get("_internal", "").split())


def public_names(kind: type) -> list[str]:
    """The names of a class that users may build on, sorted."""
    return sorted(name for name in set(dir(kind)) - internal_names(kind) if not name.startswith("_"))
