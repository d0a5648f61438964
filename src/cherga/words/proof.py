"""Proofs: what a worker looks at before its first claim, and what it found."""

from __future__ import annotations

from msgspec import Struct


class Plan(Struct, frozen=True, kw_only=True):
    """The work that a worker is about to do."""

    threads: int
    """``def`` tasks that will run side by side."""
    concurrency: int
    """``async def`` tasks that will run side by side."""
    target: str = ""
    """The application as it was named on the command line; empty in embedded mode."""


class Finding(Struct, frozen=True):
    """A thing that was looked at: what it is called, and what is so, in one line.

    What is not ``proven`` says what was expected, what is there instead, and what to do.
    """

    name: str
    text: str
    proven: bool = True
    unknown_task: str = ""
    """The task that it is about, where nobody declared it."""
