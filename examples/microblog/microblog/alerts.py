"""The coloured bars under the navigation: what the signed-in user's jobs are doing, on every page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from flask import Flask, g, session
from flask_login import current_user

from cherga import Job
from microblog.extensions import cherga
from microblog.models import utc_now

REMEMBERED = timedelta(days=1)


def init_app(app: Flask) -> None:
    app.jinja_env.globals["jobs_to_show"] = jobs_to_show
    app.jinja_env.globals["is_exporting"] = is_exporting


def jobs_to_show() -> list[Job[Any]]:
    """The user's unfinished jobs; and the newest of all, when it has ended and the user has not yet put it aside."""
    if "jobs_to_show" not in g:
        g.jobs_to_show = _pick(_recent_jobs())

    return list(g.jobs_to_show)


def is_exporting() -> bool:
    return any(job.task_name == "export_posts" and not job.status.final for job in jobs_to_show())


def put_aside(job_id: str) -> None:
    """Show this job, which has ended, no more."""
    session["put_aside"] = job_id


def _recent_jobs() -> list[Job[Any]]:
    if not current_user.is_authenticated:
        return []

    return cherga.page_jobs(owner=current_user.owner, limit=20)


def _pick(newest_first: Sequence[Job[Any]]) -> list[Job[Any]]:
    ended = [job for job in newest_first[:1] if _ended_lately(job) and session.get("put_aside") != str(job.id)]
    return ended + [job for job in newest_first if not job.status.final]


def _ended_lately(job: Job[Any]) -> bool:
    return job.status.final and job.finished_at is not None and utc_now() - job.finished_at < REMEMBERED
