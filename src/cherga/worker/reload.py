"""Noticing that source files have changed, for ``--reload``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class Files:
    """The files and when each was last changed."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def watch(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._seen.setdefault(path, changed_at(path))

    def changed(self) -> list[str]:
        """Files that were changed since the last call."""
        now = {path: changed_at(path) for path in self._seen}
        changed = [path for path, when in now.items() if when != self._seen[path]]
        self._seen = now
        return changed


def changed_at(path: str) -> int:
    """Nanoseconds; 0 for a file that is not there."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0
