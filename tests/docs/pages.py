"""Reading the documentation: pages, their code blocks and their tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"(<!-- not run: [^>]+ -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block. ``run`` is False under the comment ``<!-- not run: reason -->``."""

    page: Path
    line: int
    language: str
    text: str
    run: bool

    @property
    def place(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def pages() -> list[Path]:
    """Every page that users read."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name_of(page: Path) -> str:
    """The page as seen from the root of the checkout."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[Block]:
    """The page's blocks in this language, in order."""
    text = page.read_text(encoding="utf-8")
    found = [_block(page, text, match) for match in FENCE.finditer(text)]
    return [block for block in found if block.language == language]


def rows(page: Path) -> list[list[str]]:
    """The cells of all table rows on the page, without the heads."""
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    heads = {number - 1 for number, line in enumerate(lines) if set(line) <= set("|- :")}
    body = [line for number, line in enumerate(lines) if number not in heads and not set(line) <= set("|- :")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] for line in body]


def code(cell: str) -> str:
    """The text between a cell's backticks."""
    return cell.strip("`")


def _block(page: Path, text: str, match: re.Match[str]) -> Block:
    line = text.count("\n", 0, match.start(2)) + 1
    return Block(page, line, match[2], match[3], run=match[1] is None)
