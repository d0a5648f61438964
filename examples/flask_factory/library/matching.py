"""Which notes fit the words of a question."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import sqlalchemy as sa

from library.extensions import db
from library.models import Item

WORD = re.compile(r"[^\W\d_]+")
SMALL_WORDS = frozenset(
    [
        "a",
        "about",
        "all",
        "and",
        "any",
        "did",
        "for",
        "from",
        "i",
        "in",
        "is",
        "it",
        "me",
        "my",
        "note",
        "notes",
        "of",
        "on",
        "say",
        "show",
        "that",
        "the",
        "to",
        "was",
        "where",
        "with",
    ]
)


def words_of(*texts: str) -> str:
    """The words of some texts, each once, in small letters."""
    return " ".join(dict.fromkeys(WORD.findall(" ".join(texts).lower())))


def notes_of(person_id: int) -> Sequence[Item]:
    """The sound notes of a person."""
    return db.session.scalars(sa.select(Item).where(Item.person_id == person_id, Item.kind == "sound")).all()


def vocabulary(notes: Sequence[Item]) -> Collection[str]:
    """The words that tell notes apart."""
    return sorted({word for note in notes for word in WORD.findall(note.title.lower())} - SMALL_WORDS)


def rank(notes: Sequence[Item], heard: str) -> list[int]:
    """The notes that share a word with what was heard, those with the most first, and of these the newest."""
    asked = set(WORD.findall(heard.lower())) - SMALL_WORDS
    shared = {note.id: len(asked.intersection(note.words.split())) for note in notes}
    return sorted((id for id, count in shared.items() if count), key=lambda id: (-shared[id], -id))
