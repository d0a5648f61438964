import sqlalchemy as sa
from flask import Blueprint, jsonify

from app import db
from app.models import User

bp = Blueprint("main", __name__)


@bp.post("/<username>/export_posts")
def export_posts(username):
    user = db.one_or_404(sa.select(User).where(User.username == username))
    if user.get_task_in_progress("export_posts"):
        return "An export task is currently in progress", 409
    user.launch_task("export_posts", "Exporting posts...")
    db.session.commit()
    return "Exporting posts..."


@bp.get("/<username>/tasks")
def tasks(username):
    user = db.one_or_404(sa.select(User).where(User.username == username))
    return jsonify([{"description": task.description, "progress": task.get_progress()} for task in user.get_tasks_in_progress()])
