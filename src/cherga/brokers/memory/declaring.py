"""Declarations of workers, and their effect on the times of schedules."""

from __future__ import annotations

from cherga.brokers.memory.store import Store
from cherga.doors.broker import Topic
from cherga.words.schedule import SCHEDULE
from cherga.words.shared import Definition


def define(store: Store, definition: Definition) -> None:
    """Keep it unless its version is lower. What is taken back stays, without data, for its version."""
    key = (definition.kind, definition.name)
    kept = store.definitions.get(key)

    if kept is not None and definition.version < kept.version:
        return

    store.definitions[key] = definition

    if definition.kind == SCHEDULE:
        store.bells.strike(Topic.DUE)

        if _is_another(kept, definition):
            store.schedules.pop(definition.name, None)


def _is_another(kept: Definition | None, definition: Definition) -> bool:
    return not definition.data or (kept is not None and kept.stamp != definition.stamp)
