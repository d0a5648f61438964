"""Makes ``docs/reference/api.md`` from the docstrings: ``python -m tests.docs.api_page``."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Container, Iterator
from functools import cache
from itertools import pairwise
from textwrap import dedent
from typing import Any, NamedTuple

from cherga import Chain, Context, Group, GroupJob, Job, QueueTasks, Step, Task, chain, group
from cherga.client.public import internal_names
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "reference" / "api.md"
HEAD = """# API

What can be done with an application, its tasks, its jobs and the context inside a job. Import all of it from `cherga`.
Names that are not here are internal and may change; `dir(app)`, and so completion in IPython, leaves them out.

Where a method has an async twin, the twin is named beside it: it takes the same arguments, and is awaited.

This page is made from the docstrings.
"""


class Section(NamedTuple):
    """A class on the page, or a function."""

    title: str
    thing: Any
    beside: type = object
    """A class that is told elsewhere: what is the same in it is not told again."""


SECTIONS = (
    Section("`QueueTasks`: the application", QueueTasks),
    Section("`Task`: a declared function", Task),
    Section("`Job`: the handle on one job", Job),
    Section("`GroupJob`: the handle on a group", GroupJob, beside=Job),
    Section("`ctx`: inside a job", Context),
    Section("`chain`: one after the other", chain),
    Section("`group`: side by side", group),
    Section("`Step`, `Chain` and `Group`: made by `task.s`, `chain` and `group`", Step),
)
CLASSES = (QueueTasks, Task, Job, GroupJob, Context, Step, Chain, Group)


class AsWritten(NamedTuple):
    """An annotation that shows as it stands in the code."""

    text: str

    def __repr__(self) -> str:
        return self.text


class Member(NamedTuple):
    """A public name of a class with what it says of itself."""

    name: str
    shown: str
    text: str


def render() -> str:
    """The page as it should be."""
    return "\n".join([HEAD, *(line for section in SECTIONS for line in _section(section))])


def _section(section: Section) -> Iterator[str]:
    yield f"## {section.title}\n"

    if inspect.isfunction(section.thing):
        yield f"**`{_call(section.title.split('`')[1], section.thing)}`**\n"

    yield f"{_markdown(inspect.getdoc(section.thing) or '')}\n"

    if inspect.isclass(section.thing):
        yield from _members(section)


def _members(section: Section) -> Iterator[str]:
    told = {member.name: member for member in members(section.thing)}
    known = set(members(section.beside)) if section.beside is not object else set()

    for member in told.values():
        if member not in known and not _is_twin(member.name, told):
            twin = f" · `a{member.name}`" if f"a{member.name}" in told else ""
            yield f"**`{member.shown}`**{twin}\n"
            yield f"{_markdown(member.text)}\n"


def _is_twin(name: str, told: Container[str]) -> bool:
    return name.startswith("a") and name[1:] in told


def members(kind: type) -> list[Member]:
    """The public names of this class and of its instances, sorted."""
    described = _attributes(kind)
    names = {*dir(kind), *described} - internal_names(kind)
    return [_member(kind, name, described) for name in sorted(names) if not name.startswith("_")]


def undescribed(kind: type) -> list[str]:
    """The names that users see and the page cannot tell anything about."""
    return [member.name for member in members(kind) if not member.text]


def _member(kind: type, name: str, described: dict[str, str]) -> Member:
    value = inspect.getattr_static(kind, name, None)
    call = value.__func__ if isinstance(value, classmethod | staticmethod) else value

    if inspect.isfunction(call):
        return Member(name, _call(name, call), inspect.getdoc(call) or "")

    return Member(name, name, described.get(name) or (inspect.getdoc(value) or "" if isinstance(value, property) else ""))


def _call(name: str, function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    given = [it for it in signature.parameters.values() if it.name not in ("self", "cls")]
    shown = [it.replace(annotation=AsWritten(it.annotation)) for it in given if it.annotation is not it.empty]
    assert len(shown) == len(given), f"{name}: a parameter has no type"
    returned = signature.return_annotation
    return f"{name}{inspect.Signature(shown, return_annotation=AsWritten(returned))}"


@cache
def _attributes(kind: type) -> dict[str, str]:
    """The texts below attributes, which only the source has."""
    found: dict[str, str] = {}

    for each in reversed(kind.__mro__):
        if each.__module__.startswith("cherga."):
            found |= dict(_texts_below(ast.parse(dedent(inspect.getsource(each)))))

    return found


def _texts_below(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)

        if isinstance(body, list):
            for statement, below in pairwise(body):
                if (name := _assigned(statement)) and (text := _text(below)):
                    yield name, text


def _assigned(statement: ast.AST) -> str | None:
    target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
    return target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else None


def _text(statement: ast.AST) -> str | None:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return inspect.cleandoc(value.value) if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def _markdown(text: str) -> str:
    return text.replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
