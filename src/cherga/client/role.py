"""Roles: what this process does with the application, so that its own start-up code can ask."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """The part that this process plays for the application."""

    CLIENT = "client"
    """The process enqueues and looks: a web server, a script, a shell, a command; also where a worker is embedded."""
    WORKER = "worker"
    """The process is one of ``cherga worker``, and runs jobs."""


_role = Role.CLIENT


def current_role() -> Role:
    """The role of this process, ``client`` or ``worker``; known before the application is imported."""
    return _role


def take_role(role: Role) -> None:
    """Play this role from now on, in this process."""
    global _role
    _role = role
