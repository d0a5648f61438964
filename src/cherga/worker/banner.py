"""The banner of a worker that starts: what runs, for whom, from where, and how much at once."""

from __future__ import annotations

from typing import Any

from cherga.rules.urls import masked
from cherga.version import __version__
from cherga.worker.logs import Facts, count_of
from cherga.worker.options import WorkerOptions
from cherga.worker.wire import Hello


def banner(options: WorkerOptions, hello: Hello) -> dict[str, Any]:
    """The extra fields of the log line; the broker's password is in none of them."""
    return {
        "action": "worker.start",
        "version": __version__,
        "application": hello.application,
        "broker": masked(hello.broker_url),
        "tasks": hello.tasks,
        "queues": list(options.queues),
        "processes": options.processes,
        "threads": options.threads,
        "concurrency": options.concurrency,
        "facts": _facts(options, hello),
    }


def _facts(options: WorkerOptions, hello: Hello) -> Facts:
    at_once = f"{count_of(options.threads, 'thread')} and {count_of(options.concurrency, 'coroutine')}"
    one = options.processes == 1

    return Facts(
        broker=masked(hello.broker_url),
        tasks=hello.tasks,
        queues=_queues(options),
        processes=f"{options.processes}{', with' if one else ', each with'} {at_once}",
    )


def _queues(options: WorkerOptions) -> str:
    if options.weights:
        return ", ".join(f"{name}={weight}" for name, weight in zip(options.queues, options.weights, strict=True))

    return ", then ".join(options.queues) or "all"
