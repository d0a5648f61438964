"""The folder beside the file in which living processes keep their locks and their doorbells."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from cherga.brokers.sqlite.place import shows_later_changes

LONGEST_SOCKET_PATH = 100
"""A socket's path must fit 108 bytes on Linux and 104 elsewhere."""


class Listing(Struct, frozen=True):
    """The names in the folder when it was last changed at ``changed_at``."""

    names: tuple[str, ...]
    changed_at: int
    lasting: bool
    """Any later change shows in the folder's time."""


class LiveFolder:
    """``<file>-live``, made private; ``usable`` is False where it cannot be made, and then nothing in it is offered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._name = str(path)
        self._descriptor: int | None = None
        self._seen = Listing((), 0, lasting=False)

        with suppress(OSError):
            path.mkdir(mode=0o700, exist_ok=True)

        self.usable = os.access(path, os.W_OK | os.X_OK)

    def names(self) -> list[str]:
        """The names in it now."""
        try:
            return os.listdir(self.path)
        except OSError:
            return []

    def listing(self) -> Listing:
        """The names in it now: the same object as before while nothing has been added or removed."""
        try:
            changed_at = os.stat(self._name).st_mtime_ns
        except OSError:
            return Listing((), 0, lasting=False)

        if not self._seen.lasting or self._seen.changed_at != changed_at:
            lasting = shows_later_changes(changed_at)
            names = tuple(self.names())
            self._seen = self._seen if not lasting and self._seen.names == names else Listing(names, changed_at, lasting)

        return self._seen

    def join(self, name: str) -> str:
        """The full path of ``name``."""
        return f"{self._name}{os.sep}{name}"

    def remove(self, name: str) -> None:
        """Unlink ``name``, unless it is gone."""
        with suppress(OSError):
            Path(self.join(name)).unlink()

    def socket_path(self, name: str) -> str:
        """A path to ``name`` that is short enough for a socket: by way of a descriptor where the full one is too long."""
        path = self.join(name)

        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
            return path

        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))

        return f"/proc/self/fd/{self._descriptor}/{name}"

    def close(self) -> None:
        """Give the descriptor back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
