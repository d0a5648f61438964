"""The banner of a worker that starts: what runs, for whom, from where, how much at once, and what was found to be in
order; what was not is told beside it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from cherga.rules.urls import located
from cherga.version import __version__
from cherga.words.proof import Finding
from cherga.worker.logs import Facts, count_of
from cherga.worker.options import WorkerOptions
from cherga.worker.wire import Hello

logger = logging.getLogger("cherga.worker")


MOST_TOLD = 6
"""Tasks that are named."""


def banner(options: WorkerOptions, hello: Hello) -> dict[str, Any]:
    """The extra fields of the log line; the broker's password is in none of them."""
    return {
        "action": "worker.start",
        "version": __version__,
        "application": hello.application,
        "target": options.app,
        "broker": located(hello.broker_url),
        "tasks": hello.tasks,
        "queues": list(options.queues),
        "processes": options.processes,
        "threads": options.threads,
        "concurrency": options.concurrency,
        "proven": _proven(hello),
        "facts": _facts(options, hello),
    }


def _facts(options: WorkerOptions, hello: Hello) -> Facts:
    at_once = f"{count_of(options.threads, 'thread')} and {count_of(options.concurrency, 'coroutine')}"
    one = options.processes == 1

    return Facts(
        {
            "application": f"{hello.application}, {_origin(options.app)}",
            "broker": located(hello.broker_url),
            **_proven(hello),
            "tasks": _tasks(hello),
            "queues": _queues(options),
            "processes": f"{options.processes}{', with' if one else ', each with'} {at_once}",
        }
    )


def _origin(target: str) -> str:
    """The place where the application, or the factory that made it, was found."""
    place = target.removeprefix("flask:")
    return f"from {place}" if place else "found by Flask"


def _proven(hello: Hello) -> dict[str, str]:
    """The things that were found to be in order, by its name; findings of one name stand in one line."""
    found: dict[str, str] = {}

    for finding in hello.findings:
        if finding.proven:
            found[finding.name] = "; ".join(filter(None, (found.get(finding.name), finding.text)))

    return found


def _tasks(hello: Hello) -> str:
    """``2: mail, sort``; of many the first ones."""
    more = ", …" if hello.tasks > len(hello.task_names) else ""
    return f"{hello.tasks}: {', '.join(hello.task_names)}{more}" if hello.task_names else str(hello.tasks)


def _queues(options: WorkerOptions) -> str:
    if options.weights:
        return ", ".join(f"{name}={weight}" for name, weight in zip(options.queues, options.weights, strict=True))

    return ", then ".join(options.queues) or "all"


def problems(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that speak against the start."""
    return [finding for finding in findings if not finding.proven]


def tell(findings: Iterable[Finding]) -> None:
    """A warning for each problem."""
    for finding in problems(findings):
        logger.warning("%s", finding.text, extra={"action": "worker.unproven", "proof": finding.name})
