"""The page about tasks says what the code says: every option, every attribute of ``self`` and of ``ctx``."""

from __future__ import annotations

from cherga import Context, SyncTask, TaskExecutor
from cherga.client.declare import TaskOptions
from cherga.client.order import UsingOptions
from cherga.client.pipeline import STEPS
from cherga.client.public import public_names
from cherga.client.signals import Signals
from tests.docs.pages import ROOT, code, rows

PAGE = ROOT / "docs" / "reference" / "tasks.md"


def names(section: str) -> set[str]:
    """The first cells of the section's table, without parameters."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}")[2].partition("\n## ")[0]
    return {code(row[0]).partition("(")[0] for row in rows(PAGE) if f"| {row[0]} |" in text}


def test_every_option_stands_there() -> None:
    assert names("Options") == {*TaskOptions.__annotations__, "name"}


def test_every_option_of_using_is_named() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in UsingOptions.__annotations__ if f"`{name}`" not in text] == []


def test_every_attribute_of_self_stands_there() -> None:
    assert names("`self`") == {name for name in dir(SyncTask) if not name.startswith("_")} | {"task"}


def test_every_attribute_of_ctx_stands_there() -> None:
    assert names("`self.ctx`") == set(public_names(Context))


def test_every_step_of_an_executor_stands_on_its_page() -> None:
    steps = {code(row[0]).partition("(")[0] for row in rows(ROOT / "docs" / "howto" / "executor.md")}

    assert steps == set(STEPS)
    assert all(hasattr(TaskExecutor, step) for step in steps)


def test_every_signal_stands_on_its_page() -> None:
    told = {name.strip().strip("`") for row in rows(ROOT / "docs" / "howto" / "signals.md") for name in row[0].split(",")}

    assert told == set(vars(Signals()))
