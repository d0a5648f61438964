"""The proof at the start of a worker: what it can show before its first claim, within a time."""

from __future__ import annotations

from cherga.client.app import QueueTasks
from cherga.client.proving import prove
from cherga.words.proof import Finding, Plan
from cherga.worker.turns import start_thread

PATIENCE = 10.0
"""Seconds in which a proof has to be done; a database that does not answer holds up no worker for longer."""


class Unproven(Exception):
    """A worker with ``--strict`` could not show that it can work."""


def prove_in_time(app: QueueTasks, plan: Plan, patience: float = PATIENCE) -> tuple[Finding, ...]:
    """The findings that are there in time."""
    found: list[Finding] = []

    def look() -> None:
        found.extend(prove(app, plan))

    # A thread of its own, for nothing can end a call into a driver that waits for a server.
    if (thread := start_thread(look, "cherga-proof")) is None:
        look()
    else:
        thread.join(patience)

    if thread is not None and thread.is_alive():
        return *found, Finding("proof", f"not all could be looked at within {patience:g} seconds; going on", proven=False)

    return tuple(found)
