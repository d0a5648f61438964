"""Names of limits and pauses, for people and on the command line. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from cherga.rules.pausing import read_arguments
from cherga.words.later import shlex
from cherga.words.shared import PauseScope

EVERY_VALUE = "*"
"""Names the rule for all values of a key."""


def limit_parts(name: str) -> dict[str, str]:
    """A limit's name as options: ``queue``, or ``task``, or ``task`` and ``key``; empty for a name of another form."""
    kind, _, rest = name.partition(":")
    task, found, value = rest.partition("|")

    if kind == "key":
        return {"task": task, "key": value if found else EVERY_VALUE}

    return {kind: rest} if kind in {"queue", "task"} else {}


def describe_limit(name: str) -> str:
    """``queue mail``, ``task export``, ``task export, key 7``, ``task export, each key``."""
    parts = limit_parts(name)
    words = [f"{kind} {parts[kind]}" for kind in ("queue", "task") if kind in parts]

    if "key" in parts:
        words.append("each key" if parts["key"] == EVERY_VALUE else f"key {parts['key']}")

    return ", ".join(words) or name


def limit_options(name: str) -> str:
    """The options that name the limit on a command line: ``--task export --key 7``."""
    return _joined(word for kind, value in limit_parts(name).items() for word in (f"--{kind}", value))


def describe_scope(scope: PauseScope) -> str:
    """``everything``, ``queue mail``, ``task send in queue mail``, ``task send with user_id=7``."""
    given = scope_arguments(scope)
    task = f"task {scope.task}" if scope.task else ""
    queue = f"queue {scope.queue}" if scope.queue else ""
    words = [" in ".join(word for word in (task, queue) if word) or "everything"]
    return " with ".join([*words, ", ".join(f"{name}={_text(value)}" for name, value in given.items())] if given else words)


def scope_options(scope: PauseScope) -> str:
    """The words that name the scope on a command line: ``mail --task send --arg user_id=7``."""
    words = [scope.queue] if scope.queue else []
    words += ["--task", scope.task] if scope.task else []
    words += [word for name, value in scope_arguments(scope).items() for word in ("--arg", f"{name}={_text(value)}")]
    return _joined(words) or "--all"


def scope_arguments(scope: PauseScope) -> dict[str, Any]:
    """The arguments that jobs of this scope have; empty where it means all jobs."""
    return dict(read_arguments(scope.arguments)) if scope.arguments else {}


def _text(value: Any) -> str:
    """A value as ``--arg`` takes it: text bare, unless it would be read as JSON."""
    if isinstance(value, str) and not _is_json(value):
        return value

    return msgspec.json.encode(value).decode()


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False

    return True


def _joined(words: Iterable[str]) -> str:
    return " ".join(shlex.quote(word) for word in words)
