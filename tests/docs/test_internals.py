"""What the documentation points at exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, name_of, pages

LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
ANCHOR = re.compile(r"\]\(([^)#\s:]*\.md)?#([^)\s]+)\)")
TITLED = re.compile(r"\[([^\]]+)\]\(([^)#\s]+\.md)\)")
SOURCE = re.compile(r"`((?:src|tests|docs|examples|benchmarks)/[\w./-]+)`")


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [page.parent / link for link in LINK.findall(text) if "://" not in link]
    missing = [str(path) for path in [*links, *(ROOT / name for name in SOURCE.findall(text))] if not path.exists()]

    assert not missing


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_heading_that_a_page_links_to_exists(page: Path) -> None:
    linked = [
        (page.parent / path if path else page, anchor) for path, anchor in ANCHOR.findall(page.read_text(encoding="utf-8"))
    ]
    missing = [f"{path}#{anchor}" for path, anchor in linked if anchor not in _anchors(path)]

    assert not missing


def test_the_index_lists_every_page_by_its_title() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / path).resolve(): title for title, path in TITLED.findall(index.read_text(encoding="utf-8"))}
    wanted = [page for page in pages() if page.parent.name != "decisions" and page != index]
    missing = [name_of(page) for page in wanted if page not in listed]

    assert not missing
    assert [title for page, title in listed.items() if "howto" in page.parts and not _title(page).startswith(title)] == []


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


def _title(page: Path) -> str:
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def _named(text: str, floor: str) -> list[str]:
    table = text.partition(f"| {floor} |")[2].partition("\n\n")[0]
    return re.findall(r"`(\w+)`", table)


def _modules(folder: Path) -> list[str]:
    return sorted(each.stem for each in folder.glob("*.py") if each.stem != "__init__")
