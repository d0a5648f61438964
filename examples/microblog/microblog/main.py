"""Posts, profiles, and the export."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from flask import Blueprint, current_app, flash, redirect, render_template, request, session, url_for
from flask_babel import gettext, refresh
from flask_login import current_user, login_required
from flask_sqlalchemy.pagination import Pagination
from sqlalchemy.orm import joinedload
from werkzeug import Response

from cherga import ChergaError
from microblog import alerts
from microblog.extensions import db
from microblog.languages import LANGUAGES
from microblog.models import ABOUT_LENGTH, POST_LENGTH, Post, User
from microblog.pages import safe_path
from microblog.tasks import export_posts

bp = Blueprint("main", __name__)


@bp.get("/")
def index() -> str:
    return render_template("index.html", page=_page_of(sa.select(Post)))


@bp.post("/posts")
@login_required
def write_post() -> Response | tuple[str, int]:
    body = request.form.get("body", "").replace("\r\n", "\n").strip()

    if not 0 < len(body) <= POST_LENGTH:
        error = gettext("Please write between 1 and %(count)s characters.", count=POST_LENGTH)
        return render_template("index.html", page=_page_of(sa.select(Post)), draft=body, error=error), 422

    db.session.add(Post(body=body, author=current_user))
    db.session.commit()
    flash(gettext("Your post is online."))

    return redirect(url_for("main.index"))


@bp.get("/user/<username>")
def user(username: str) -> str:
    somebody = db.one_or_404(sa.select(User).where(User.username == username))
    page = _page_of(sa.select(Post).where(Post.author_id == somebody.id))

    return render_template("user.html", user=somebody, page=page)


@bp.get("/profile")
@login_required
def edit_profile() -> str:
    return render_template("edit_profile.html", about=current_user.about)


@bp.post("/profile")
@login_required
def save_profile() -> Response:
    current_user.about = request.form.get("about", "").strip()[:ABOUT_LENGTH]
    db.session.commit()
    flash(gettext("Your changes have been saved."))

    return _to_own_profile()


@bp.post("/export")
@login_required
def export() -> Response:
    try:
        job = export_posts.using(owner=current_user.owner, description=gettext("Exporting posts…")).enqueue(current_user.id)
    except ChergaError:
        current_app.logger.exception("the export of %s could not be enqueued", current_user.owner)
        flash(gettext("The export could not be started. Please try again in a minute."))
    else:
        if job.existing:
            flash(gettext("An export task is currently in progress"))

    return _to_own_profile()


@bp.post("/jobs/<uuid:job_id>/dismiss")
@login_required
def dismiss(job_id: str) -> Response:
    alerts.put_aside(str(job_id))
    return redirect(safe_path(request.form.get("next")) or url_for("main.index"))


@bp.post("/language")
def switch_language() -> Response:
    language = request.form.get("language", "")

    if language in LANGUAGES:
        session["language"] = language

        if current_user.is_authenticated:
            current_user.locale = language
            db.session.commit()

        refresh()

    return redirect(safe_path(request.form.get("next")) or url_for("main.index"))


def _page_of(posts: sa.Select[Any]) -> Pagination:
    newest_first = posts.options(joinedload(Post.author)).order_by(Post.created_at.desc(), Post.id.desc())
    return db.paginate(newest_first, per_page=current_app.config["POSTS_PER_PAGE"], max_per_page=100)


def _to_own_profile() -> Response:
    return redirect(url_for("main.user", username=current_user.username))
