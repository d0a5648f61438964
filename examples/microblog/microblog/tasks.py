"""What takes too long for a request. A worker runs it, inside an application context like that of a request."""

from __future__ import annotations

import json

from flask import current_app, render_template
from flask_babel import force_locale, gettext

from cherga import ctx
from microblog.extensions import cherga, db
from microblog.mail import Attachment, send_mail
from microblog.models import Post, User


@cherga.task(unique=True, max_time=600)
def export_posts(user_id: int) -> int:
    """Mail all posts of a user to that user, oldest first; return how many there were."""
    user = db.session.get_one(User, user_id)
    posts = db.session.scalars(user.posts.select().order_by(Post.created_at, Post.id)).all()
    rows = [_row(post) for post in ctx.track(posts)]

    with force_locale(user.locale or "en"):
        _send(user, rows)

    return len(rows)


def _row(post: Post) -> dict[str, str]:
    ctx.sleep(current_app.config["EXPORT_DELAY"])  # 0 unless somebody wants to watch
    return {"body": post.body, "timestamp": post.created_at.isoformat().replace("+00:00", "Z")}


def _send(user: User, rows: list[dict[str, str]]) -> None:
    send_mail(
        to=user.email,
        subject=gettext("Your posts"),
        text=render_template("email/export_posts.txt", user=user, count=len(rows)),
        html=render_template("email/export_posts.html", user=user, count=len(rows)),
        attachments=[Attachment("posts.json", "application/json", _as_json({"posts": rows}))],
    )


def _as_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode()
