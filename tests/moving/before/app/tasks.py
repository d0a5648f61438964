import json
import sys
import time

from rq import get_current_job

from app import create_app, db
from app.mail import send_email
from app.models import Post, Task, User

app = create_app()
app.app_context().push()


def _set_task_progress(progress):
    job = get_current_job()
    if job:
        job.meta["progress"] = progress
        job.save_meta()
        task = db.session.get(Task, job.get_id())
        task.user.add_notification("task_progress", {"task_id": job.get_id(), "progress": progress})
        if progress >= 100:
            task.complete = True
        db.session.commit()


def export_posts(user_id):
    try:
        user = db.session.get(User, user_id)
        _set_task_progress(0)
        data = []
        posts = db.session.scalars(user.posts.select().order_by(Post.id)).all()
        for post in posts:
            data.append({"body": post.body})
            time.sleep(app.config["POST_DELAY"])
            _set_task_progress(100 * len(data) // len(posts))
        send_email("Your blog posts", user.username, json.dumps({"posts": data}))
    except Exception:
        _set_task_progress(100)
        app.logger.error("Unhandled exception", exc_info=sys.exc_info())
    finally:
        _set_task_progress(100)
