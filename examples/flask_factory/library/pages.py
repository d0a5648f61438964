"""What all pages share: who looks at them, what that person's jobs are doing, and pages for errors."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import Flask, current_app, g, redirect, render_template, session, url_for
from werkzeug import Response
from werkzeug.exceptions import HTTPException

from cherga import ChergaError, Job
from library.extensions import cherga, db
from library.models import Item, Person


def init_app(app: Flask) -> None:
    app.jinja_env.filters["day"] = day
    app.jinja_env.globals.update(visitor=visitor, running_jobs=running_jobs)
    app.register_error_handler(HTTPException, show_error)


def visitor() -> Person | None:
    """The person who looks at the page."""
    if "visitor" not in g:
        g.visitor = db.session.get(Person, session["person_id"]) if "person_id" in session else None

    found: Person | None = g.visitor
    return found


def welcome(name: str) -> Person:
    """The person of that name, from now on the visitor; made at the first visit."""
    person = db.session.scalar(sa.select(Person).where(Person.name == name))

    if person is None:
        person = Person(name=name)
        db.session.add(person)
        db.session.commit()

    session["person_id"] = person.id
    return person


def running_jobs() -> list[Job[Any]]:
    """What the visitor's jobs are doing; nothing while the queue cannot be read, and the page is shown without it."""
    person = visitor()

    try:
        return list(cherga.jobs(owner=person.owner, unfinished=True)) if person else []
    except ChergaError:
        current_app.logger.exception("the jobs cannot be read; the page is shown without them")
        return []


def albums_of(person: Person) -> dict[str, list[Item]]:
    """The albums, the newest first, each with what is in it."""
    query = sa.select(Item).where(Item.person_id == person.id, Item.sorted_at.is_not(None))
    albums: dict[str, list[Item]] = {}

    for item in db.session.scalars(query.order_by(Item.album.desc(), Item.taken_at, Item.id)):
        albums.setdefault(item.album or "", []).append(item)

    return albums


def count_waiting(person: Person) -> int:
    """How many files are in the inbox."""
    query = sa.select(sa.func.count(Item.id)).where(Item.person_id == person.id, Item.sorted_at.is_(None))
    return db.session.scalar(query) or 0


def day(moment: datetime) -> str:
    """``7 May 2024``."""
    return f"{moment.day} {moment:%B %Y}"


def show_error(error: HTTPException) -> tuple[str, int] | Response:
    if error.code is None or error.code < 400:
        return error.get_response()

    return render_template("error.html", error=error), error.code


def home() -> Response:
    return redirect(url_for("index"))
