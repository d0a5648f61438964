"""The proof at the start of a worker: what it can show before its first claim, within a time, and what is said of the rest."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from cherga.client.app import QueueTasks
from cherga.client.proving import prove
from cherga.words.proof import Finding, Plan
from cherga.worker.turns import start_thread

logger = logging.getLogger("cherga.worker")

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


def problems(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that speak against the start."""
    return [finding for finding in findings if not finding.proven]


def tell(findings: Iterable[Finding]) -> None:
    """A warning for each problem."""
    for finding in problems(findings):
        logger.warning("%s", finding.text, extra={"action": "worker.unproven", "proof": finding.name})
