"""What takes too long for a request. A worker runs it, inside an application context like that of a request."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Annotated, Any, cast

import sqlalchemy as sa
from flask import Flask, current_app
from library import filing, matching
from library.extensions import cherga, db
from library.listening import listener
from library.models import Item, Person, utc_now
from library.places import file_of, question_file
from msgspec import Struct

from cherga import Depends, ctx, get_current_job


class Sorted(Struct):
    """What came of sorting: how many files of each kind were filed."""

    photos: int = 0
    sounds: int = 0
    others: int = 0


class Answer(Struct):
    """What was heard in a spoken question, and the sound notes that fit it, the best one first."""

    heard: str
    notes: list[int]


def _this_app() -> Flask:
    """The application that the worker has loaded."""
    return cast(Flask, cast(Any, current_app)._get_current_object())


ThisApp = Annotated[Flask | None, Depends(_this_app)]
"""Filled in by the worker. Who calls the function without one, from a script or a test, may give an application."""


@cherga.task(unique=True, on_conflict="latest", max_time=1800, retry=3)
def background_sort_task(person_id: int, flask_app: ThisApp = None) -> Sorted:
    """File what waits in a person's inbox into albums, by date and kind.

    Each file is committed by itself, so that a worker that dies loses none and the next one goes on where it stopped. One at a
    time for each person; files that come while one runs are sorted by one more behind it.
    """
    with _inside(flask_app):
        done = Sorted()

        for item_id in _track(_waiting(person_id)):
            item = db.session.get_one(Item, item_id)
            _file(item)
            db.session.commit()
            _count(done, item)

        return done


@cherga.task(max_time=120)
def voice_search_task(person_id: int, question_id: str, flask_app: ThisApp = None) -> Answer:
    """Hear a spoken question, and find the sound notes of that person that fit it."""
    with _inside(flask_app):
        notes = matching.notes_of(person_id)
        recording = question_file(question_id)
        heard = listener.hear_question(recording, matching.vocabulary(notes))

        with suppress(FileNotFoundError):
            os.remove(recording)

        return Answer(heard, matching.rank(notes, heard))


def _inside(flask_app: Flask | None) -> AbstractContextManager[Any]:
    """The context that the worker has made, or one of the application that was given."""
    is_running_there = flask_app is None or (current_app and _this_app() is flask_app)
    return nullcontext() if is_running_there or flask_app is None else flask_app.app_context()


def _track(ids: Sequence[int]) -> Iterable[int]:
    """The ids, one after the other; where a job runs, it reports how far it is."""
    return ctx.track(ids) if get_current_job() else ids


def _waiting(person_id: int) -> Sequence[int]:
    query = sa.select(Item.id).join(Person).where(Person.id == person_id, Item.sorted_at.is_(None)).order_by(Item.id)
    return db.session.scalars(query).all()


def _file(item: Item) -> None:
    """Look at one file, move it into its album, and note both; all that may be done again is done again alike."""
    found = filing.look_at(filing.where_is(item))
    item.kind, item.problem, item.taken_at = found.kind, found.problem, found.taken_at
    item.album = filing.album_of(found, item.uploaded_at)
    filing.move(item)

    if found.kind == "photo" and not found.problem:
        filing.make_thumbnail(item)

    if found.kind == "sound":
        item.words = matching.words_of(item.title, listener.hear(file_of(item)))

    item.sorted_at = utc_now()


def _count(done: Sorted, item: Item) -> None:
    match item.kind:
        case "photo":
            done.photos += 1
        case "sound":
            done.sounds += 1
        case _:
            done.others += 1
