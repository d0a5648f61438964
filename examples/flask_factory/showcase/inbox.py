"""The inbox of one person, filled without a browser."""

from __future__ import annotations

from flask import Flask
from library.extensions import db
from library.models import Item, Person
from library.places import inbox_file


class Inbox:
    """A new person's inbox."""

    def __init__(self, app: Flask, name: str = "Olena") -> None:
        self.app = app

        with app.app_context():
            person = Person(name=name)
            db.session.add(person)
            db.session.commit()
            self.person_id = person.id

    def put(self, name: str, content: bytes) -> int:
        """Put a file there; gives the id of its item."""
        with self.app.app_context():
            item = Item(person_id=self.person_id, name=name)
            db.session.add(item)
            db.session.commit()
            inbox_file(item).parent.mkdir(parents=True, exist_ok=True)
            inbox_file(item).write_bytes(content)
            return item.id
