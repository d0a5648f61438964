"""What the documentation points at exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, name_of, pages

LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
SOURCE = re.compile(r"`((?:src|tests|docs|examples|benchmarks)/[\w./-]+)`")


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [page.parent / link for link in LINK.findall(text) if "://" not in link]
    missing = [str(path) for path in [*links, *(ROOT / name for name in SOURCE.findall(text))] if not path.exists()]

    assert not missing


def test_the_main_path_is_told_in_six_paragraphs() -> None:
    told = (ROOT / "docs" / "internals.md").read_text(encoding="utf-8").partition("## The main path")[2].partition("\n## ")[0]
    paragraphs = [part for part in told.split("\n\n") if part.startswith("**")]

    assert len(paragraphs) == 6
    assert all(SOURCE.search(part) for part in paragraphs)


def test_every_floor_and_every_file_of_the_two_lowest_has_a_place() -> None:
    told = (ROOT / "docs" / "internals.md").read_text(encoding="utf-8").partition("## Floors")[2]
    floors, _, files = told.partition("What the two lowest hold")
    source = ROOT / "src" / "cherga"

    assert {f"src/cherga/{each.parent.name}" for each in source.glob("*/__init__.py")} == set(SOURCE.findall(floors))
    assert sorted(_named(files, "words")) == _modules(source / "words")
    assert sorted(_named(files, "rules")) == _modules(source / "rules")


def _named(text: str, floor: str) -> list[str]:
    table = text.partition(f"| {floor} |")[2].partition("\n\n")[0]
    return re.findall(r"`(\w+)`", table)


def _modules(folder: Path) -> list[str]:
    return sorted(each.stem for each in folder.glob("*.py") if each.stem != "__init__")
