"""Explainers: errors whose cause lies elsewhere than in the task, said in one line that names it and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cherga.rules.tracebacks import text_of

Explainer = Callable[[BaseException], str | None]
"""The function that gives one line on an error that a job has met: its cause and what to do; None where it knows none."""

OUTSIDE_APPLICATION = "Working outside of application context"
"""The words with which Flask begins to say it."""


def explain(explainers: Iterable[Explainer], error: BaseException) -> str | None:
    """The first explanation. An explainer that fails has none."""
    for explainer in explainers:
        try:
            if (why := explainer(error)) is not None:
                return why
        except Exception:
            continue

    return None


def without_flask(error: BaseException) -> str | None:
    """A task that needs Flask's application, of an application that knows nothing of it."""
    if type(error) is not RuntimeError or not text_of(error).startswith(OUTSIDE_APPLICATION):
        return None

    return (
        "the task needs Flask's application context, which a plain QueueTasks knows nothing of; make it a "
        "cherga.contrib.flask.Cherga, bind it with init_app(app), and start the worker with -A module:create_app"
    )
