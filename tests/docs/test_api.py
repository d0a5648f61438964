"""The API page is what the docstrings say, and completion shows what stands on it."""

from __future__ import annotations

import inspect

import pytest

import cherga
from cherga import Chain, Context, Group, GroupJob, Job, QueueTasks, Step, chain, ctx, group
from cherga.client.public import internal_names
from tests.docs.api_page import CLASSES, PAGE, members, render, undescribed

NO_NOUNS = frozenset(
    [
        "All",
        "As",
        "Both",
        "Everything",
        "How",
        "It",
        "Nobody",
        "None",
        "Nothing",
        "One",
        "That",
        "These",
        "They",
        "This",
        "Those",
        "What",
        "Whatever",
        "When",
        "Where",
        "Whether",
        "Which",
        "Who",
        "Whoever",
    ]
)


def test_the_page_is_made_from_the_docstrings() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "make it anew: python -m tests.docs.api_page"


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_public_name_says_what_it_is(kind: type) -> None:
    assert not undescribed(kind)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_what_is_said_of_a_public_name_begins_with_a_noun_or_a_verb(kind: type) -> None:
    """A reader who meets the page in the middle knows what it, one or all of them stand for."""
    assert [f"{each.name}: {each.text}" for each in members(kind) if _first_word(each.text) in NO_NOUNS] == []


def test_so_do_the_docstrings_of_all_that_can_be_imported() -> None:
    texts = {name: inspect.getdoc(getattr(cherga, name)) or "" for name in cherga.__all__ if name != "__version__"}
    assert {name: text for name, text in texts.items() if _first_word(text) in NO_NOUNS} == {}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_name_that_is_kept_internal_exists(kind: type) -> None:
    """A name that was taken away is taken out of the list too."""
    code = {name for each in kind.__mro__ for it in vars(each).values() for name in _names_in(it)}

    assert internal_names(kind) <= code | set(dir(kind))


def test_completion_shows_the_names_of_the_page() -> None:
    app = QueueTasks("shop", "memory://")

    @app.task
    def pack() -> None: ...

    job = pack.enqueue()

    assert _seen(app) == {member.name for member in members(QueueTasks)}
    assert _seen(pack) == {member.name for member in members(type(pack))}
    assert _seen(job) == {member.name for member in members(Job)}
    assert _seen(pack.s()) == {member.name for member in members(Step)}
    assert _seen(chain(pack.s())) == {member.name for member in members(Chain)}
    assert _seen(group(pack.s())) == {member.name for member in members(Group)}
    assert _seen(group(pack.s()).enqueue()) == {member.name for member in members(GroupJob)}
    assert _seen(ctx) == {member.name for member in members(Context)}


def _first_word(text: str) -> str:
    return text.split(maxsplit=1)[0].strip("`,.;:") if text else ""


def _seen(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def _names_in(value: object) -> tuple[str, ...]:
    code = getattr(value, "__code__", None)
    return code.co_names if code else ()
