"""The server: the application and its routes. ``flask --app server run``, or any WSGI server with ``server:app``."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from app_factory import create_app
from flask import Response as FlaskResponse
from flask import abort, flash, render_template, request, send_file, session
from library.extensions import cherga, db
from library.models import NAME_LENGTH, Item, Person
from library.pages import albums_of, count_waiting, home, visitor, welcome
from library.places import file_of, inbox_file, question_file, thumbnail_of
from tasks import Answer, background_sort_task, voice_search_task
from werkzeug import Response
from werkzeug.datastructures import FileStorage
from werkzeug.utils import secure_filename

from cherga import ChergaError

app = create_app()


@app.get("/")
def index() -> str:
    person = visitor()

    if person is None:
        return render_template("welcome.html", NAME_LENGTH=NAME_LENGTH)

    return render_template("index.html", albums=albums_of(person), waiting=count_waiting(person))


@app.post("/welcome")
def come_in() -> Response:
    name = " ".join(request.form.get("name", "").split())

    if not 0 < len(name) <= NAME_LENGTH:
        flash(f"Please give a name of 1 to {NAME_LENGTH} characters.")
    else:
        welcome(name)

    return home()


@app.post("/goodbye")
def leave() -> Response:
    session.clear()
    return home()


# --- photos and sound notes


@app.post("/files")
def upload() -> Response:
    """Keep what was uploaded, and have it sorted."""
    person = _visitor()
    uploads = [upload for upload in request.files.getlist("files") if upload.filename]

    if not uploads:
        flash("Please choose files first.")
        return home()

    for upload in uploads:
        _keep(upload, person)

    _sort(person)
    db.session.commit()  # the job leaves with the rows that it needs, and not before
    return home()


@app.post("/sort")
def sort() -> Response:
    _sort(_visitor())
    return home()


def _keep(upload: FileStorage, person: Person) -> None:
    item = Item(person_id=person.id, name=secure_filename(upload.filename or "")[-120:] or "file")
    db.session.add(item)
    db.session.flush()
    place = inbox_file(item)
    place.parent.mkdir(parents=True, exist_ok=True)
    upload.save(place)


def _sort(person: Person) -> None:
    try:
        background_sort_task.using(owner=person.owner, description="Sorting your files").enqueue(person.id)
    except ChergaError:
        app.logger.exception("the files of %s are kept, but sorting them could not be enqueued", person.owner)
        flash("Your files are kept, but cannot be sorted just now. Please press “Sort” in a minute.")


@app.get("/files/<int:item_id>")
def show(item_id: int) -> FlaskResponse:
    item = _item(item_id)
    return send_file(file_of(item), download_name=item.name, as_attachment=item.kind == "other")


@app.get("/files/<int:item_id>/thumbnail")
def thumbnail(item_id: int) -> FlaskResponse:
    place = thumbnail_of(_item(item_id))
    return send_file(place, max_age=86_400) if place.exists() else abort(404)


def _item(item_id: int) -> Item:
    item = db.session.get(Item, item_id)
    return item if item and item.person_id == _visitor().id and item.sorted_at else abort(404)


# --- questions


@app.post("/questions")
def ask() -> Response:
    """Take a spoken question, and have it answered."""
    person, recording = _visitor(), request.files.get("recording")

    if recording is None or not recording.filename:
        flash("Please record a question first, or choose a WAV file.")
        return home()

    question_id = str(uuid4())
    place = question_file(question_id)
    place.parent.mkdir(parents=True, exist_ok=True)
    recording.save(place)

    try:
        job = voice_search_task.using(owner=person.owner, description="Listening").enqueue(person.id, question_id)
    except ChergaError:
        app.logger.exception("the question of %s could not be enqueued", person.owner)
        flash("Nobody can listen just now. Please ask again in a minute.")
        return home()

    response = home()
    response.location = f"/questions/{job.id}"
    return response


@app.get("/questions/<uuid:job_id>")
def answer(job_id: Any) -> str:
    job = cherga.get(job_id)

    if job is None or job.task_name != voice_search_task.name or job.owner != _visitor().owner:
        abort(404)

    found: Answer | None = job.result(timeout=0) if job.is_succeeded else None
    notes = [db.session.get(Item, note) for note in found.notes] if found else []
    return render_template("answer.html", job=job, answer=found, notes=[note for note in notes if note])


# --- for other sites


@app.get("/api/counts")
def counts() -> dict[str, int]:
    """How much is kept here; the sites in ``FRIENDS`` may read it."""
    return {kind: db.session.query(Item).filter_by(kind=kind).count() for kind in ("photo", "sound", "other")}


def _visitor() -> Person:
    return visitor() or abort(401, "Please say who you are first.")


if __name__ == "__main__":
    app.run()
