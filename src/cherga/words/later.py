"""Modules of Python that take long to load, and that an application which declares tasks has no use for yet.

``from cherga.words.later import asyncio`` gives what behaves as the module, and loads it at the first look into it. So such a
module is of no use where a class or a constant is made of it at import.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any


class Later(ModuleType):
    """A module that is loaded when somebody looks into it."""

    _module: ModuleType | None = None

    def __getattr__(self, name: str) -> Any:
        if self._module is None:
            self._module = import_module(self.__name__)

        value = getattr(self._module, name)
        setattr(self, name, value)  # further looks come no way round
        return value


if TYPE_CHECKING:
    import asyncio as asyncio
    import dataclasses as dataclasses
    import difflib as difflib
    import hashlib as hashlib
    import inspect as inspect
    import shlex as shlex
    from concurrent import futures as futures
else:
    asyncio = Later("asyncio")
    dataclasses = Later("dataclasses")
    difflib = Later("difflib")
    futures = Later("concurrent.futures")
    hashlib = Later("hashlib")
    inspect = Later("inspect")
    shlex = Later("shlex")
