"""The tasks: what they file, also when they are stopped in the middle, and how they are called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from uuid import uuid4

import pytest
from flask import Flask
from library import filing
from library.extensions import cherga, db
from library.models import Item
from library.places import file_of, inbox_file, question_file, thumbnail_of
from showcase.inbox import Inbox
from showcase.samples import NOTES, QUESTION, photo, speech, why_silent
from tasks import Answer, Sorted, background_sort_task, voice_search_task

from cherga.testing.kit import Kit

MAY = datetime(2024, 5, 4, 11, 30)

speaking = pytest.mark.skipif(bool(why_silent()), reason=why_silent())


@pytest.fixture
def kit(app: Flask) -> Iterator[Kit]:
    with cherga.testing() as kit:
        yield kit


def sort(kit: Kit, inbox: Inbox) -> Sorted:
    job = background_sort_task.enqueue(inbox.person_id)
    kit.drain(raise_errors=True)
    return job.result(timeout=0)


def test_everything_in_the_inbox_is_filed(kit: Kit, inbox: Inbox) -> None:
    photos = [inbox.put("hills.jpg", photo(1, MAY)), inbox.put("hills.jpg", photo(2, MAY))]
    letter = inbox.put("letter.txt", b"Dear library,")

    assert sort(kit, inbox) == Sorted(photos=2, others=1)

    with inbox.app.app_context():
        first, second, other = (db.session.get_one(Item, id) for id in (*photos, letter))
        assert (first.album, first.taken_at, other.album) == ("Photos 2024-05", MAY, "Other files")
        assert file_of(first).read_bytes() == photo(1, MAY)
        assert file_of(second).read_bytes() == photo(2, MAY)
        assert thumbnail_of(first).exists()
        assert not inbox_file(first).exists()


def test_a_worker_that_died_after_moving_a_file_loses_nothing(kit: Kit, inbox: Inbox) -> None:
    id = inbox.put("hills.jpg", photo(1, MAY))

    with inbox.app.app_context():
        item = db.session.get_one(Item, id)
        item.album = "Photos 2024-05"
        filing.move(item)
        db.session.rollback()

    assert sort(kit, inbox) == Sorted(photos=1)

    with inbox.app.app_context():
        item = db.session.get_one(Item, id)
        assert item.sorted_at is not None
        assert file_of(item).read_bytes() == photo(1, MAY)


def test_a_job_that_failed_goes_on_behind_what_it_had_filed(kit: Kit, inbox: Inbox) -> None:
    inbox.put("hills.jpg", photo(1, MAY))
    lost = inbox.put("lost.jpg", photo(2, MAY))

    with inbox.app.app_context():
        place = inbox_file(db.session.get_one(Item, lost))
        os.rename(place, place.with_suffix(".away"))

    job = background_sort_task.using(retry=0).enqueue(inbox.person_id)
    kit.drain()
    assert job.refresh().is_failed
    os.rename(place.with_suffix(".away"), place)

    assert sort(kit, inbox) == Sorted(photos=1)


def test_a_second_click_while_it_waits_makes_no_second_job(kit: Kit, inbox: Inbox) -> None:
    first = background_sort_task.enqueue(inbox.person_id)
    assert background_sort_task.enqueue(inbox.person_id).id == first.id


def test_a_script_may_call_it_with_an_application(inbox: Inbox) -> None:
    inbox.put("letter.txt", b"Dear library,")

    assert background_sort_task(inbox.person_id, flask_app=inbox.app) == Sorted(others=1)


def test_the_task_is_called_in_a_context_that_is_there_already(inbox: Inbox) -> None:
    inbox.put("letter.txt", b"Dear library,")

    with inbox.app.app_context():
        assert background_sort_task(inbox.person_id) == Sorted(others=1)
        assert background_sort_task(inbox.person_id, flask_app=inbox.app) == Sorted()


@speaking
def test_a_spoken_question_finds_the_note_it_is_about(kit: Kit, inbox: Inbox) -> None:
    notes = {name: inbox.put(name, speech(text)) for name, text in NOTES.items()}
    assert sort(kit, inbox) == Sorted(sounds=3)
    question = str(uuid4())

    with inbox.app.app_context():
        question_file(question).parent.mkdir(parents=True, exist_ok=True)
        question_file(question).write_bytes(speech(QUESTION))
        left = question_file(question)

    job = voice_search_task.enqueue(inbox.person_id, question)
    kit.drain(raise_errors=True)
    answer = job.result(timeout=0)
    assert "garden" in answer.heard
    assert answer.notes[0] == notes["garden.wav"]
    assert not left.exists()


def test_a_question_about_an_empty_library_finds_nothing(kit: Kit, inbox: Inbox) -> None:
    question = str(uuid4())

    with inbox.app.app_context():
        question_file(question).parent.mkdir(parents=True, exist_ok=True)
        question_file(question).write_bytes(b"RIFF....WAVE")

    job = voice_search_task.enqueue(inbox.person_id, question)
    kit.drain(raise_errors=True)
    assert job.result(timeout=0) == Answer("", [])
